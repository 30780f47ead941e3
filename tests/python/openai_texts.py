"""The OpenAI SDK for Python, unmodified: legacy completions, embeddings (base64 unless told otherwise), moderations."""

import asyncio
import json
import os
import struct

import openai

BASE_URL = os.environ["PENSTOCK_BASE_URL"]
KEY = os.environ["PENSTOCK_KEY"]
# What the scripted engine makes of the texts "a" and "b".
VECTORS = json.loads(os.environ["EXPECTED_VECTORS"])
EXPECTED = "Hello, world!"

# No retries: a test wants to see the first answer.
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30)


def completions():
    answer = client.completions.create(model="test-model", prompt="once", max_tokens=5, logprobs=1, suffix="end")
    assert answer.object == "text_completion" and answer.model == "test-model", answer
    assert answer.id.startswith("cmpl-") and answer._request_id, answer
    choice = answer.choices[0]
    assert (choice.text, choice.index, choice.finish_reason) == (EXPECTED, 0, "stop"), answer
    assert choice.logprobs.token_logprobs == [-0.5], answer
    assert answer.usage.total_tokens == 11, answer
    answer = client.completions.create(model="test-model", prompt=["a", "b"], n=2, echo=True)
    texts = [(choice.index, choice.text) for choice in answer.choices]
    assert texts == [(0, "a" + EXPECTED), (1, "a" + EXPECTED), (2, "b" + EXPECTED), (3, "b" + EXPECTED)], texts
    answer = client.completions.create(model="test-model", prompt=[[1, 2], [3]])
    assert len(answer.choices) == 2, answer


def streamed():
    options = {"include_usage": True}
    chunks = list(client.completions.create(model="test-model", prompt="once", stream=True, stream_options=options))
    assert {chunk.object for chunk in chunks} == {"text_completion"} and len({chunk.id for chunk in chunks}) == 1
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == EXPECTED, chunks
    assert [chunk for chunk in chunks if chunk.usage] == [chunks[-1]] and chunks[-1].choices == [], chunks
    try:
        seen = [chunk for chunk in client.completions.create(model="cut-model", prompt="once", stream=True)]
    except openai.APIError as error:
        assert error.code == "engine_cut", error.body
    else:
        raise AssertionError(f"a cut stream ended as if it were whole: {seen}")


def as_floats(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def embeddings():
    # The SDK asks for base64 by itself and decodes it.
    answer = client.embeddings.create(model="test-model", input=["a", "b"])
    assert [entry.embedding for entry in answer.data] == VECTORS, answer
    assert [entry.index for entry in answer.data] == [0, 1] and answer.usage.total_tokens == 2, answer
    floats = client.embeddings.create(model="test-model", input=["a", "b"], encoding_format="float")
    # Written as short as a float can be: the same float, another double.
    assert [as_floats(entry.embedding) for entry in floats.data] == VECTORS, floats
    raw = client.embeddings.create(model="test-model", input="a", encoding_format="base64")
    assert isinstance(raw.data[0].embedding, str), raw
    assert len(client.embeddings.create(model="test-model", input="a", dimensions=9).data[0].embedding) == 9
    assert len(client.embeddings.create(model="test-model", input=[[1, 2], [3]]).data) == 2


def moderations():
    answer = client.moderations.create(model="test-model", input=["fine", "harm"])
    assert [result.flagged for result in answer.results] == [False, True], answer
    assert answer.model == "test-model" and answer.id.startswith("modr-"), answer


def raises(kind, code, call):
    try:
        answer = call()
    except openai.APIStatusError as error:
        assert type(error) is kind and error.code == code, (type(error), error.body)
        assert error.request_id, "an error without a request id"
        return error
    raise AssertionError(f"no error, but {answer}")


def errors():
    stranger = openai.OpenAI(base_url=BASE_URL, api_key="wrong", max_retries=0)
    refused = openai.AuthenticationError, "invalid_api_key"
    raises(*refused, lambda: stranger.embeddings.create(model="test-model", input="a"))
    raises(*refused, lambda: stranger.completions.create(model="test-model", prompt="a"))
    raises(*refused, lambda: stranger.moderations.create(model="test-model", input="a"))
    invalid = openai.UnprocessableEntityError, "invalid_value"
    error = raises(*invalid, lambda: client.embeddings.create(model="test-model", input=[]))
    assert error.param == "input", error.body
    raises(*invalid, lambda: client.completions.create(model="test-model", prompt="a", logprobs=9))
    # Nobody declares that it judges.
    raises(openai.NotFoundError, "operation_not_offered", lambda: client.moderations.create(input="a"))


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30) as user:
        answers = await asyncio.gather(
            *(user.embeddings.create(model="test-model", input=["a", "b"]) for _ in range(10))
        )
        assert all([entry.embedding for entry in answer.data] == VECTORS for answer in answers), answers
        stream = await user.completions.create(model="test-model", prompt="once", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == EXPECTED


for check in [completions, streamed, embeddings, moderations, errors]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
