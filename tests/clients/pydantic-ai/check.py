"""pydantic-ai, unmodified, against Penstock: agents with tools and typed output, streams, errors."""

import asyncio
import os

import openai
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

PROMPT = "canary-prompt-5c1f hello"
EXPECTED = "Hello, world!"


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def model(name="test-model", key=None):
    client = openai.AsyncOpenAI(
        base_url=os.environ["PENSTOCK_BASE_URL"], api_key=key or os.environ["PENSTOCK_KEY"], max_retries=0, timeout=30
    )
    return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))


def plain():
    result = Agent(model(), instructions="Be brief.").run_sync(PROMPT)
    assert result.output == EXPECTED, result
    usage = result.usage() if callable(result.usage) else result.usage
    assert (usage.input_tokens, usage.output_tokens) == (7, 4), usage


def tools():
    agent = Agent(model())
    asked = []

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        asked.append((a, b))
        return a + b

    result = agent.run_sync(PROMPT)
    assert asked == [(1, 2)] and result.output == "The result is 3.", (asked, result)
    # The conversation goes on with all that was said before: calls and results among it.
    result = agent.run_sync("and now?", message_history=result.all_messages())
    assert asked == [(1, 2)] * 2 and result.output == "The result is 3.", (asked, result)


def structured():
    for output in [Person, ToolOutput(Person), NativeOutput(Person), PromptedOutput(Person)]:
        result = Agent(model(), output_type=output).run_sync(PROMPT)
        assert result.output == Person(name="Ada", age=36), (output, result)


def errors():
    for name, key, status in [("test-model", "wrong", 401), ("nobody", None, 404), ("failing-model", None, 502)]:
        try:
            Agent(model(name, key)).run_sync(PROMPT)
        except ModelHTTPError as error:
            assert error.status_code == status, error
        else:
            raise AssertionError(f"no error of {name}")


async def streamed():
    async with Agent(model()).run_stream(PROMPT) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == EXPECTED and len(pieces) > 1, pieces
    async with Agent(model(), output_type=Person).run_stream(PROMPT) as result:
        people = [person async for person in result.stream_output(debounce_by=None)]
    assert people[-1] == Person(name="Ada", age=36), people
    try:
        async with Agent(model("cut-model")).run_stream(PROMPT) as result:
            await result.get_output()
    except (ModelAPIError, openai.APIError) as error:
        assert "cut" in str(error), error
    else:
        raise AssertionError("a cut stream ended as if it were whole")


async def asynchronous():
    agent = Agent(model())
    results = await asyncio.gather(*(agent.run(PROMPT) for _ in range(4)))
    assert [result.output for result in results] == [EXPECTED] * 4, results
    await streamed()


for check in [plain, tools, structured, errors]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
