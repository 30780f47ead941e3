"""The OpenAI SDK for Python, unmodified: embeddings as it asks for them by itself (base64), and as floats."""

import asyncio
import os

import openai

SETTINGS = {
    "base_url": os.environ["PENSTOCK_BASE_URL"],
    "api_key": os.environ["PENSTOCK_KEY"],
    "max_retries": 0,
    "timeout": 30,
}
TEXTS = ["canary-prompt-5c1f one", "two", "Grüße 🦀"]
client = openai.OpenAI(**SETTINGS)


def embed(texts, **more):
    return client.embeddings.create(model="embedding-model", input=texts, **more)


def vectors(answer):
    assert answer.object == "list" and answer.model == "embedding-model", answer
    assert [one.index for one in answer.data] == list(range(len(answer.data))), answer
    return [one.embedding for one in answer.data]


def shapes():
    answer = embed(TEXTS)
    many = vectors(answer)
    assert len(many) == 3 and len({len(vector) for vector in many}) == 1 and len(many[0]) > 1, many
    assert many[0] != many[1] != many[2], "every text has a vector of its own"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0, answer.usage
    assert vectors(embed(TEXTS[1])) == many[1:2], "one text alone has the vector that it has among others"
    # The SDK asks for base64 unless it is told otherwise: both are the same 32-bit floats.
    assert vectors(embed(TEXTS, encoding_format="float")) == many, "floats and base64 differ"
    raw = client.embeddings.with_raw_response.create(model="embedding-model", input="x", encoding_format="base64")
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str), raw.text


def order():
    texts = [f"text {number}" for number in range(300)]
    many = vectors(embed(texts))
    assert len(many) == 300 and many[123] == vectors(embed(texts[123]))[0], "the order is kept"


def errors():
    for wrong, kind in [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"input": []}, openai.UnprocessableEntityError),
        ({"dimensions": 0}, openai.UnprocessableEntityError),
        ({"extra_headers": {"authorization": "Bearer wrong"}}, openai.AuthenticationError),
    ]:
        try:
            client.embeddings.create(**{"model": "embedding-model", "input": "x", **wrong})
        except openai.APIStatusError as error:
            assert type(error) is kind, (wrong, error)
        else:
            raise AssertionError(f"no error with {wrong}")


async def asynchronous():
    async with openai.AsyncOpenAI(**SETTINGS) as user:
        answers = await asyncio.gather(
            *(user.embeddings.create(model="embedding-model", input=text) for text in TEXTS)
        )
    assert [vectors(answer)[0] for answer in answers] == vectors(embed(TEXTS))


for check in [shapes, order, errors]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
