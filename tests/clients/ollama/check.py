"""Ollama's package for Python, unmodified, against Penstock: chat, generate, tools, thinking, formats, vectors, models."""

import asyncio
import base64
import json
import os
import time

import ollama
from pydantic import BaseModel

HOST = os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1")
HEADERS = {"Authorization": "Bearer " + os.environ["PENSTOCK_KEY"]}
PROMPT = "canary-prompt-5c1f hello"
EXPECTED = "Hello, world!"
RESULT = "The result is 3."
MESSAGES = [{"role": "user", "content": PROMPT}]
ASK = {"model": "test-model", "messages": MESSAGES}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


ADA = Person(name="Ada", age=36)
client = ollama.Client(host=HOST, headers=HEADERS, timeout=30)


def ends_well(answer):
    assert answer.done and answer.done_reason == "stop", answer
    assert (answer.prompt_eval_count, answer.eval_count) == (7, 4), answer
    assert answer.total_duration > 0 and answer.total_duration < 60e9 and answer.created_at, answer
    assert answer.prompt_eval_duration + answer.eval_duration <= answer.total_duration, answer


def chat():
    answer = client.chat(options={"temperature": 0.5, "num_predict": 50, "num_ctx": 2048}, keep_alive="5m", **ASK)
    assert answer.model == "test-model" and answer.message.role == "assistant", answer
    assert answer.message.content == EXPECTED and answer.message.tool_calls is None, answer
    ends_well(answer)


def chat_streamed():
    parts = list(client.chat(stream=True, **ASK))
    assert len(parts) > 2 and "".join(part.message.content for part in parts) == EXPECTED, parts
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True], parts
    ends_well(parts[-1])


def generate():
    answer = client.generate("test-model", PROMPT, system="Be brief.")
    assert answer.response == EXPECTED and answer.model == "test-model", answer
    ends_well(answer)
    parts = list(client.generate("test-model", PROMPT, stream=True))
    assert len(parts) > 2 and "".join(part.response for part in parts) == EXPECTED, parts
    ends_well(parts[-1])
    answer = client.generate("test-model", "Once upon", raw=True)
    assert answer.response and answer.done, answer


def images():
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PROMPT, "images": [PIXEL]},
        {"role": "assistant", "content": "said"},
        {"role": "user", "content": "And now?"},
    ]
    assert client.chat("test-model", turns).message.content == EXPECTED
    assert client.generate("test-model", PROMPT, images=[PIXEL]).response == EXPECTED


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The one number
        b: The other number
    """
    return a + b


def follow_up(message):
    """The conversation with the result of the tool that was called."""
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", {"a": 1, "b": 2}), call
    result = str(add(**call.function.arguments))
    return [*MESSAGES, message, {"role": "tool", "content": result, "tool_name": "add"}]


def tools():
    answer = client.chat(tools=[add], **ASK)
    assert answer.done and answer.message.content == "", answer
    again = client.chat("test-model", follow_up(answer.message), tools=[add])
    assert again.message.content == RESULT, again
    parts = list(client.chat(tools=[add], stream=True, **ASK))
    calling = [part.message for part in parts if part.message.tool_calls]
    assert len(calling) == 1, "a call comes whole, once"
    parts = list(client.chat("test-model", follow_up(calling[0]), tools=[add], stream=True))
    assert "".join(part.message.content for part in parts) == RESULT, parts


def structured():
    for form in [Person.model_json_schema(), "json"]:
        answer = client.chat(format=form, **ASK)
        assert Person.model_validate_json(answer.message.content) == ADA, answer
        parts = client.chat(format=form, stream=True, **ASK)
        assert Person.model_validate_json("".join(part.message.content for part in parts)) == ADA
        assert Person(**json.loads(client.generate("test-model", PROMPT, format=form).response)) == ADA


def thinking():
    for think in [True, "low"]:
        answer = client.chat(think=think, **ASK)
        assert (answer.message.thinking, answer.message.content) == ("Let me think.", EXPECTED), answer
    parts = list(client.chat(think=True, stream=True, **ASK))
    assert "".join(part.message.thinking or "" for part in parts) == "Let me think.", parts
    assert "".join(part.message.content or "" for part in parts) == EXPECTED, parts
    answer = client.generate("test-model", PROMPT, think=True)
    assert (answer.thinking, answer.response) == ("Let me think.", EXPECTED), answer
    assert not client.chat(think=False, **ASK).message.thinking
    # What was thought goes back with what was said.
    said = {"role": "assistant", "content": EXPECTED, "thinking": "Let me think."}
    turns = [*MESSAGES, said, {"role": "user", "content": "And now?"}]
    assert client.chat("test-model", turns, think=True).message.content == EXPECTED


def vectors():
    many = client.embed("embedding-model", ["one", "two"])
    assert len(many.embeddings) == 2 and many.embeddings[0] != many.embeddings[1], many
    assert many.model == "embedding-model" and many.prompt_eval_count > 0, many
    assert list(client.embed("embedding-model", "two").embeddings[0]) == list(many.embeddings[1])
    assert list(client.embeddings("embedding-model", "two").embedding) == list(many.embeddings[1])


def models():
    listed = {model.model: model for model in client.list().models}
    assert {"test-model", "embedding-model", "ollama-model"} <= set(listed), listed
    assert listed["test-model"].digest and listed["test-model"].modified_at, listed
    shown = client.show("ollama-model")
    assert {"completion", "tools", "thinking"} <= set(shown.capabilities), shown
    assert shown.modelinfo["general.architecture"] and shown.details is not None, shown
    assert client.show("test-model").capabilities is None, "what its engine does not tell, nobody knows"
    # Told by an engine, which is asked now and then.
    deadline = time.monotonic() + 30
    while "ollama-model" not in (running := {model.model for model in client.ps().models}):
        assert time.monotonic() < deadline, running
        time.sleep(0.1)
    assert "test-model" not in running, "nobody knows"
    answer = client.chat("ollama-model", MESSAGES, options={"top_k": 5})
    assert answer.message.content == EXPECTED, answer
    ends_well(answer)


def raises(status, call):
    try:
        answer = call()
        answer = answer if hasattr(answer, "model_dump") else list(answer)
    except ollama.ResponseError as error:
        assert error.status_code == status, error
        assert error.error and not error.error.startswith(("{", "<")), f"not a sentence: {error.error}"
        return error.error
    raise AssertionError(f"no error, but {answer}")


def errors():
    stranger = ollama.Client(host=HOST, headers={"Authorization": "Bearer wrong"})
    raises(401, lambda: stranger.chat(**ASK))
    raises(401, lambda: stranger.list())
    for stream in [False, True]:
        nobody = raises(404, lambda: client.chat("nobody", MESSAGES, stream=stream))
        assert "nobody" in nobody and "not" in nobody, nobody
        raises(502, lambda: client.chat("failing-model", MESSAGES, stream=stream))
        assert "temperature" in raises(400, lambda: client.chat(options={"temperature": 9}, stream=stream, **ASK))
    raises(502, lambda: client.chat("cut-model", MESSAGES))
    raises(404, lambda: client.show("nobody"))
    raises(404, lambda: client.embed("nobody", "x"))
    raises(400, lambda: client.chat("test-model", []))
    raises(400, lambda: client.generate("test-model", PROMPT, template="{{ .Prompt }}"))
    # What would change an engine does not exist.
    for call in [
        lambda: client.pull("llama3.2"),
        lambda: client.pull("llama3.2", stream=True),
        lambda: client.push("llama3.2"),
        lambda: client.create("mine", from_="llama3.2"),
        lambda: client.copy("test-model", "mine"),
        lambda: client.delete("test-model"),
    ]:
        raises(404, call)
    assert client.chat(**ASK).message.content == EXPECTED


def cut():
    """A cut stream raises; it never ends as if it were whole."""
    for call in [
        lambda: client.chat("cut-model", MESSAGES, stream=True),
        lambda: client.generate("cut-model", PROMPT, stream=True),
    ]:
        seen = []
        try:
            for part in call():
                seen.append(part)
        except ollama.ResponseError as error:
            assert error.error, error
        else:
            raise AssertionError("a cut stream ended as if it were whole")
        assert seen and not any(part.done for part in seen), seen


async def asynchronous():
    async with ollama.AsyncClient(host=HOST, headers=HEADERS, timeout=30) as user:
        answers = await asyncio.gather(*(user.chat(**ASK) for _ in range(10)))
        assert {answer.message.content for answer in answers} == {EXPECTED}
        # Leaving early must not hurt the next one.
        async for _ in await user.chat(stream=True, **ASK):
            break
        message = (await user.chat(tools=[add], **ASK)).message
        assert (await user.chat("test-model", follow_up(message), tools=[add])).message.content == RESULT


for check in [
    chat, chat_streamed, generate, images, tools, structured, thinking, vectors, models, errors, cut,
]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
