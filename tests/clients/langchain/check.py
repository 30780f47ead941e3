"""langchain-openai, unmodified, against Penstock: chat, stream, tools, structured output, errors, async."""

import asyncio
import os

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

PROMPT = [HumanMessage("canary-prompt-5c1f hello")]
EXPECTED = "Hello, world!"
USAGE = {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11}


def chat(model="test-model", **settings):
    # No retries: a test wants to see the first answer.
    settings = {"api_key": os.environ["PENSTOCK_KEY"], "max_retries": 0, "timeout": 30, **settings}
    return ChatOpenAI(model=model, base_url=os.environ["PENSTOCK_BASE_URL"], **settings)


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def plain():
    answer = chat(temperature=0.5, max_tokens=100, stop=["x"]).invoke(PROMPT)
    assert answer.content == EXPECTED, answer
    assert {name: answer.usage_metadata[name] for name in USAGE} == USAGE, answer.usage_metadata
    assert answer.response_metadata["finish_reason"] == "stop", answer.response_metadata
    assert answer.response_metadata["model_name"] == "test-model", answer.response_metadata


def streamed():
    chunks = list(chat(stream_usage=True).stream(PROMPT))
    assert "".join(chunk.content for chunk in chunks) == EXPECTED, chunks
    with_usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [usage["total_tokens"] for usage in with_usage] == [11], with_usage


def tools():
    model = chat().bind_tools([add])
    first = model.invoke(PROMPT)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [("add", {"a": 1, "b": 2})], first
    result = add.invoke(first.tool_calls[0])
    assert result.content == "3" and result.tool_call_id == "call_1", result
    answer = model.invoke([*PROMPT, first, result])
    assert answer.content == "The result is 3.", answer
    whole = None
    for chunk in model.stream(PROMPT):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls == first.tool_calls, whole


def structured():
    for method in ["json_schema", "function_calling", "json_mode"]:
        model = chat().with_structured_output(Person, method=method)
        assert model.invoke(PROMPT) == Person(name="Ada", age=36), method


def raises(kind, status, model, **settings):
    try:
        list(chat(model, **settings).stream(PROMPT))
    except openai.APIStatusError as error:
        assert type(error) is kind and error.status_code == status, error
    else:
        raise AssertionError(f"no error of {model}")


def errors():
    raises(openai.AuthenticationError, 401, "test-model", api_key="wrong")
    raises(openai.NotFoundError, 404, "nobody")
    raises(openai.InternalServerError, 502, "failing-model")
    raises(openai.UnprocessableEntityError, 422, "test-model", temperature=9)
    seen = []
    try:
        for chunk in chat("cut-model").stream(PROMPT):
            seen.append(chunk.content)
    except openai.APIError as error:
        assert error.code == "engine_cut", error.body
    else:
        raise AssertionError("a cut stream ended as if it were whole")
    assert "".join(seen) == "Hello", seen


async def asynchronous():
    answers = await asyncio.gather(*(chat().ainvoke(PROMPT) for _ in range(4)))
    assert [answer.content for answer in answers] == [EXPECTED] * 4, answers
    chunks = [chunk async for chunk in chat().astream(PROMPT)]
    assert "".join(chunk.content for chunk in chunks) == EXPECTED, chunks
    first = await chat().bind_tools([add]).ainvoke(PROMPT)
    answer = await chat().bind_tools([add]).ainvoke([*PROMPT, first, await add.ainvoke(first.tool_calls[0])])
    assert answer.content == "The result is 3.", answer
    assert await chat().with_structured_output(Person).ainvoke(PROMPT) == Person(name="Ada", age=36)


for check in [plain, streamed, tools, structured, errors]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
