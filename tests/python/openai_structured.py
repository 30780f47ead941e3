"""The OpenAI SDK for Python, unmodified: structured output and the two turns of a tool call, sync and async."""

import asyncio
import os

import openai
from pydantic import BaseModel

SETTINGS = {
    "base_url": os.environ["PENSTOCK_BASE_URL"],
    "api_key": os.environ["PENSTOCK_KEY"],
    "max_retries": 0,
    "timeout": 30,
}
MESSAGES = [{"role": "user", "content": "canary-prompt-5c1f hello"}]
ASK = {"model": "test-model", "messages": MESSAGES}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


class add(BaseModel):
    """Adds two numbers."""

    a: int
    b: int


ADA = Person(name="Ada", age=36)
TOOLS = [openai.pydantic_function_tool(add)]
client = openai.OpenAI(**SETTINGS)


def structured():
    answer = client.chat.completions.parse(response_format=Person, **ASK)
    assert answer.choices[0].message.parsed == ADA, answer
    with client.chat.completions.stream(response_format=Person, **ASK) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == ADA
    answer = client.chat.completions.create(response_format={"type": "json_object"}, **ASK)
    assert Person.model_validate_json(answer.choices[0].message.content) == ADA, answer


def result_of(message):
    call = message.tool_calls[0]
    arguments = call.function.parsed_arguments
    assert arguments == add(a=1, b=2), call
    return {"role": "tool", "tool_call_id": call.id, "content": str(arguments.a + arguments.b)}


def tools():
    message = client.chat.completions.parse(tools=TOOLS, **ASK).choices[0].message
    follow_up = [*MESSAGES, message, result_of(message)]
    answer = client.chat.completions.create(model="test-model", messages=follow_up, tools=TOOLS)
    assert answer.choices[0].message.content == "The result is 3.", answer
    with client.chat.completions.stream(tools=TOOLS, **ASK) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    follow_up = [*MESSAGES, message.to_dict(), result_of(message)]
    with client.chat.completions.stream(model="test-model", messages=follow_up, tools=TOOLS) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "The result is 3."


async def asynchronous():
    async with openai.AsyncOpenAI(**SETTINGS) as user:
        answer = await user.chat.completions.parse(response_format=Person, **ASK)
        assert answer.choices[0].message.parsed == ADA, answer
        message = (await user.chat.completions.parse(tools=TOOLS, **ASK)).choices[0].message
        follow_up = [*MESSAGES, message, result_of(message)]
        answer = await user.chat.completions.create(model="test-model", messages=follow_up, tools=TOOLS)
        assert answer.choices[0].message.content == "The result is 3.", answer


for check in [structured, tools]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
