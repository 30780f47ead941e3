"""The OpenAI SDK for Python, unmodified, against Penstock: what an app does on a normal and on a bad day."""

import asyncio
import os

import openai

BASE_URL = os.environ["PENSTOCK_BASE_URL"]
KEY = os.environ["PENSTOCK_KEY"]
MESSAGES = [{"role": "user", "content": "canary-prompt-5c1f hello"}]
EXPECTED = "Hello, world!"

# No retries: a test wants to see the first answer.
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30)


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def plain():
    answer = client.chat.completions.create(model="test-model", messages=MESSAGES)
    assert answer.object == "chat.completion" and answer.model == "test-model", answer
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content == EXPECTED, answer
    assert choice.finish_reason == "stop" and choice.message.tool_calls is None, answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens == 11, answer
    assert answer._request_id, "the SDK finds no x-request-id"


def streamed():
    chunks = list(client.chat.completions.create(model="test-model", messages=MESSAGES, stream=True))
    assert text_of(chunks) == EXPECTED, chunks
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert len({c.id for c in chunks}) == 1 and {c.object for c in chunks} == {"chat.completion.chunk"}
    assert all(c.usage is None for c in chunks), "usage that nobody asked for"
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]


def usage():
    chunks = list(
        client.chat.completions.create(
            model="test-model", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 11, chunks[-1]
    assert [c for c in chunks if c.usage] == [chunks[-1]]


def stream_helper():
    with client.chat.completions.stream(model="test-model", messages=MESSAGES) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == EXPECTED, final


def models():
    ids = [model.id for model in client.models.list()]
    assert "test-model" in ids and "tools/model:1" in ids, ids
    for name in ["test-model", "tools/model:1"]:
        assert client.models.retrieve(name).id == name


def tools():
    tool = {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
    answer = client.chat.completions.create(model="tools/model:1", messages=MESSAGES, tools=[tool])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content is None, answer
    call = message.tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "add", '{"a": 1, "b": 2}')
    follow_up = [*MESSAGES, message, {"role": "tool", "tool_call_id": call.id, "content": "3"}]
    answer = client.chat.completions.create(model="test-model", messages=follow_up, tools=[tool])
    assert answer.choices[0].message.content == EXPECTED, answer
    with client.chat.completions.stream(model="tools/model:1", messages=MESSAGES, tools=[tool]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"a": 1, "b": 2}', final


def extras():
    answer = client.chat.completions.create(
        model="test-alias", messages=MESSAGES, extra_body={"top_k": 5}, temperature=0.5, max_tokens=10, stop=["x"]
    )
    assert answer.choices[0].message.content == EXPECTED, answer
    raw = client.chat.completions.with_raw_response.create(model="test-model", messages=MESSAGES)
    assert raw.headers["x-penstock-model"] == "test-model" and raw.parse().choices


def raises(kind, status, code, **arguments):
    arguments = {"model": "test-model", "messages": MESSAGES, **arguments}
    user = arguments.pop("client", client)
    try:
        answer = user.chat.completions.create(**arguments)
        if arguments.get("stream"):
            list(answer)
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error)}, not {kind}"
        assert (error.status_code, error.code) == (status, code), (error.status_code, error.code, error.body)
        assert error.body["message"] and error.body["type"] and "param" in error.body, error.body
        assert error.request_id, "an error without a request id"
        return error
    raise AssertionError(f"no error, but {answer}")


def errors():
    stranger = openai.OpenAI(base_url=BASE_URL, api_key="wrong", max_retries=0)
    raises(openai.AuthenticationError, 401, "invalid_api_key", client=stranger)
    raises(openai.NotFoundError, 404, "model_not_found", model="nobody")
    raises(openai.NotFoundError, 404, "model_not_found", model="nobody", stream=True)
    error = raises(openai.UnprocessableEntityError, 422, "invalid_value", temperature=9)
    assert error.param == "temperature", error.param
    raises(openai.UnprocessableEntityError, 422, "invalid_value", messages=[{"role": "user", "content": 7}])
    large = [{"role": "user", "content": "x" * (300 << 10)}]
    error = raises(openai.APIStatusError, 413, "request_too_large", messages=large)
    raises(openai.InternalServerError, 502, "engine_failed", model="failing-model")
    try:
        client.models.retrieve("nobody")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was found")


def cut():
    """A cut stream raises; it never ends as if it were whole."""
    seen = []
    try:
        for chunk in client.chat.completions.create(model="cut-model", messages=MESSAGES, stream=True):
            seen.append(chunk)
    except openai.APIError as error:
        assert error.code == "engine_cut", error.body
    else:
        raise AssertionError("a cut stream ended as if it were whole")
    assert text_of(seen) == "Hello", seen


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30) as user:
        answer = await user.chat.completions.create(model="test-model", messages=MESSAGES)
        assert answer.choices[0].message.content == EXPECTED, answer

        async def one():
            stream = await user.chat.completions.create(model="test-model", messages=MESSAGES, stream=True)
            return text_of([chunk async for chunk in stream])

        assert await asyncio.gather(*(one() for _ in range(10))) == [EXPECTED] * 10
        assert "test-model" in [model.id async for model in user.models.list()]
        # Leaving early must not hurt the next one.
        stream = await user.chat.completions.create(model="test-model", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
        assert await one() == EXPECTED


for check in [plain, streamed, usage, stream_helper, models, tools, extras, errors, cut]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
