"""Anthropic's SDK for Python, unmodified, against Penstock: messages, stream, tools, thinking, types, errors."""

import asyncio
import os

import anthropic
from pydantic import BaseModel

SETTINGS = {
    "base_url": os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1"),
    "api_key": os.environ["PENSTOCK_KEY"],
    "max_retries": 0,  # a test wants to see the first answer
    "timeout": 30,
}
PROMPT = "canary-prompt-5c1f hello"
EXPECTED = "Hello, world!"
RESULT = "The result is 3."
MESSAGES = [{"role": "user", "content": PROMPT}]
ASK = {"model": "test-model", "max_tokens": 2000, "messages": MESSAGES}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NUMBERS = {"a": {"type": "integer"}, "b": {"type": "integer"}}
ADD = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {"type": "object", "properties": NUMBERS, "required": ["a", "b"]},
}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


ADA = Person(name="Ada", age=36)
client = anthropic.Anthropic(**SETTINGS)
messages = client.messages


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def plain():
    answer = messages.create(system="Be brief.", metadata={"user_id": "u"}, **ASK)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "test-model"), answer
    assert answer.id.startswith("msg_") and text_of(answer) == EXPECTED, answer
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None), answer
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 4), answer.usage
    assert answer._request_id, "the SDK finds no request-id"


def streamed():
    events = list(messages.create(stream=True, **ASK))
    types = [event.type for event in events]
    assert types[:2] == ["message_start", "content_block_start"], types
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"], types
    assert set(types[2:-3]) == {"content_block_delta"} and len(types[2:-3]) > 1, types
    assert "".join(event.delta.text for event in events[2:-3]) == EXPECTED, events
    assert events[0].message.content == [] and events[0].message.stop_reason is None, events[0]
    assert events[-2].delta.stop_reason == "end_turn", events[-2]
    assert (events[-2].usage.input_tokens, events[-2].usage.output_tokens) == (7, 4), events[-2]


def stream_helper():
    with messages.stream(**ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
        assert stream.request_id, "the SDK finds no request-id"
    assert len(pieces) > 1 and "".join(pieces) == text_of(final) == EXPECTED, final
    assert (final.usage.input_tokens, final.usage.output_tokens, final.stop_reason) == (7, 4, "end_turn"), final


def inputs():
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [
        {"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": source},
    ]
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": [{"type": "text", "text": "said"}]},
        {"role": "user", "content": content},
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    more = {"stop_sequences": ["END"], "service_tier": "auto", "cache_control": {"type": "ephemeral"}}
    # Those of the older version of the API, which goes on being spoken.
    older = {"extra_body": {"temperature": 0.5, "top_k": 5}, "extra_headers": {"anthropic-version": "2023-06-01"}}
    ask = {"model": "test-alias", "max_tokens": 50, "messages": turns, "system": system}
    answer = messages.create(**ask, **more, **older)
    assert text_of(answer) == EXPECTED, answer
    raw = messages.with_raw_response.create(**ASK)
    assert raw.headers["x-penstock-model"] == "test-model" and text_of(raw.parse()) == EXPECTED
    # A key in the other header that is known for one.
    headers = {"x-api-key": SETTINGS["api_key"], "authorization": anthropic.Omit()}
    assert text_of(messages.create(extra_headers=headers, **ASK)) == EXPECTED


def follow_up(answer):
    """The conversation with the result of the tool that was called."""
    assert answer.stop_reason == "tool_use" and [block.type for block in answer.content] == ["tool_use"], answer
    call = answer.content[0]
    assert (call.id, call.name, call.input) == ("call_1", "add", {"a": 1, "b": 2}), call
    result = {"type": "tool_result", "tool_use_id": call.id, "content": str(call.input["a"] + call.input["b"])}
    return [*MESSAGES, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]


def tools():
    ask = {**ASK, "tools": [ADD], "tool_choice": {"type": "auto"}}
    answer = messages.create(**ask)
    again = messages.create(**{**ask, "messages": follow_up(answer)})
    assert text_of(again) == RESULT and again.stop_reason == "end_turn", again
    with messages.stream(**ask) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        answer = stream.get_final_message()
    assert "".join(pieces) == '{"a": 1, "b": 2}', pieces
    with messages.stream(**{**ask, "messages": follow_up(answer)}) as stream:
        assert text_of(stream.get_final_message()) == RESULT


@anthropic.beta_tool
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return str(a + b)


def runner():
    # As it comes, it asks for a thread that the server keeps, and goes on without when it hears that there is none.
    for more in [{}, {"thread": False}]:
        answers = list(client.beta.messages.tool_runner(tools=[add], **more, **ASK))
        assert [answer.stop_reason for answer in answers] == ["tool_use", "end_turn"], answers
        assert text_of(answers[-1]) == RESULT, answers
        turns = client.beta.messages.tool_runner(tools=[add], stream=True, **more, **ASK)
        answers = [turn.get_final_message() for turn in turns]
        assert len(answers) == 2 and text_of(answers[-1]) == RESULT, answers


def structured():
    answer = messages.parse(output_format=Person, **ASK)
    assert answer.parsed_output == ADA, answer
    with messages.stream(output_format=Person, **ASK) as stream:
        assert stream.get_final_message().parsed_output == ADA
    tool = {"name": "person", "input_schema": Person.model_json_schema()}
    answer = messages.create(tools=[tool], tool_choice={"type": "tool", "name": "person"}, **ASK)
    assert Person(**answer.content[0].input) == ADA, answer


def thinking():
    ask = {**ASK, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = messages.create(**ask)
    assert [block.type for block in answer.content] == ["thinking", "text"], answer
    assert answer.content[0].thinking == "Let me think." and text_of(answer) == EXPECTED, answer
    with messages.stream(**ask) as stream:
        pieces = [event.thinking for event in stream if event.type == "thinking"]
        final = stream.get_final_message()
    assert "".join(pieces) == final.content[0].thinking == "Let me think." and text_of(final) == EXPECTED, final
    # What was thought goes back with what was said.
    turns = [*MESSAGES, {"role": "assistant", "content": final.content}, {"role": "user", "content": "And now?"}]
    assert text_of(messages.create(**{**ask, "messages": turns})) == EXPECTED
    answer = messages.create(tools=[ADD], **ask)
    assert [block.type for block in answer.content] == ["thinking", "tool_use"], answer


def counted():
    ask = {"model": "test-model", "messages": MESSAGES}
    count = messages.count_tokens(**ask).input_tokens
    assert messages.count_tokens(system="word " * 100, tools=[ADD], **ask).input_tokens > count > 0


def models():
    listed = list(client.models.list(limit=1))
    assert {"test-model", "cut-model"} <= {model.id for model in listed}, listed
    assert all(model.type == "model" and model.display_name and model.created_at for model in listed), listed
    assert client.models.retrieve("test-model").id == "test-model"


def raises(kind, status, type_of, call):
    try:
        answer = call()
    except anthropic.APIStatusError as error:
        assert type(error) is kind, f"{type(error)}, not {kind}: {error}"
        assert (error.status_code, error.type) == (status, type_of), (error.status_code, error.body)
        assert error.api_message and error.request_id, error.body
        return error
    raise AssertionError(f"no error, but {answer}")


def errors():
    def wrong(kind, status, type_of, **arguments):
        return raises(kind, status, type_of, lambda: messages.create(**{**ASK, **arguments}))

    stranger = anthropic.Anthropic(**{**SETTINGS, "api_key": "wrong"})
    raises(anthropic.AuthenticationError, 401, "authentication_error", lambda: stranger.messages.create(**ASK))
    raises(anthropic.AuthenticationError, 401, "authentication_error", lambda: stranger.messages.count_tokens(
        model="test-model", messages=MESSAGES
    ))
    wrong(anthropic.NotFoundError, 404, "not_found_error", model="nobody")
    wrong(anthropic.NotFoundError, 404, "not_found_error", model="nobody", stream=True)
    refused = (anthropic.BadRequestError, 400, "invalid_request_error")
    assert "temperature" in wrong(*refused, extra_body={"temperature": 9}).api_message
    assert "max_tokens" in wrong(*refused, max_tokens=-1).api_message
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": 7}]
    error = wrong(*refused, messages=[{"role": "user", "content": content}])
    assert "messages[0].content[1].text" in error.api_message, error.api_message
    for arguments in [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"extra_body": {"mcp_servers": [{"type": "url", "name": "x", "url": "https://example.com"}]}},
        {"extra_headers": {"anthropic-version": "2020-01-01"}},
    ]:
        wrong(*refused, **arguments)
    wrong(anthropic.InternalServerError, 502, "api_error", model="failing-model")
    wrong(anthropic.InternalServerError, 502, "api_error", model="failing-model", stream=True)
    wrong(anthropic.InternalServerError, 502, "api_error", model="cut-model")


def cut():
    """A cut stream raises; it never ends as if it were whole."""
    seen = []
    try:
        for event in messages.create(stream=True, **{**ASK, "model": "cut-model"}):
            seen.append(event)
    except anthropic.APIStatusError as error:
        assert error.type == "api_error" and error.api_message, error.body
    else:
        raise AssertionError("a cut stream ended as if it were whole")
    types = [event.type for event in seen]
    assert "message_delta" not in types and "message_stop" not in types, types
    assert "".join(event.delta.text for event in seen if event.type == "content_block_delta") == "Hello", seen
    with messages.stream(**{**ASK, "model": "cut-model"}) as stream:
        try:
            stream.get_final_message()
        except anthropic.APIError:
            return
    raise AssertionError("a cut stream ended as if it were whole")


async def asynchronous():
    async with anthropic.AsyncAnthropic(**SETTINGS) as user:
        answers = await asyncio.gather(*(user.messages.create(**ASK) for _ in range(10)))
        assert {text_of(answer) for answer in answers} == {EXPECTED} and len({a.id for a in answers}) == 10
        # Leaving early must not hurt the next one.
        stream = await user.messages.create(stream=True, **ASK)
        async for _ in stream:
            break
        await stream.close()
        async with user.messages.stream(tools=[ADD], **ASK) as stream:
            turns = follow_up(await stream.get_final_message())
        assert text_of(await user.messages.create(tools=[ADD], **{**ASK, "messages": turns})) == RESULT
        assert "test-model" in [model.id async for model in user.models.list()]


for check in [
    plain, streamed, stream_helper, inputs, tools, runner, structured, thinking, counted, models, errors, cut,
]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
