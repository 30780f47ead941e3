"""The OpenAI SDK for Python, unmodified: responses, plain and streamed, with tools and types, kept and in the background."""

import asyncio
import os
import time

import openai
from pydantic import BaseModel

SETTINGS = {
    "base_url": os.environ["PENSTOCK_BASE_URL"],
    "api_key": os.environ["PENSTOCK_KEY"],
    "max_retries": 0,  # a test wants to see the first answer
    "timeout": 30,
}
PROMPT = "canary-prompt-5c1f hello"
EXPECTED = "Hello, world!"
RESULT = "The result is 3."
ASK = {"model": "test-model", "input": PROMPT}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


class add(BaseModel):
    """Adds two numbers."""

    a: int
    b: int


ADA = Person(name="Ada", age=36)
TYPED = [openai.pydantic_function_tool(add)]
TOOLS = [
    {
        "type": "function",
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
client = openai.OpenAI(**SETTINGS)
responses = client.responses


def plain():
    answer = responses.create(instructions="Be brief.", metadata={"topic": "plain"}, temperature=0.5, **ASK)
    assert answer.object == "response" and answer.status == "completed" and answer.model == "test-model", answer
    assert answer.id.startswith("resp_") and answer.output_text == EXPECTED and answer.error is None, answer
    assert [item.type for item in answer.output] == ["message"], answer.output
    message = answer.output[0]
    assert (message.role, message.status, message.content[0].annotations) == ("assistant", "completed", []), message
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 4, 11), usage
    assert usage.input_tokens_details.cached_tokens == 0 and usage.output_tokens_details.reasoning_tokens == 0, usage
    assert answer.instructions == "Be brief." and answer.metadata == {"topic": "plain"}, answer
    assert answer.temperature == 0.5 and answer.parallel_tool_calls and answer.tool_choice == "auto", answer
    assert answer.created_at > 0 and answer._request_id, "the SDK finds no x-request-id"


def judge(events):
    """The sequence is as the specification has it; its end is given back."""
    types = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events))), events
    assert types[:2] == ["response.created", "response.in_progress"] and types[-1] == "response.completed", types
    assert events[0].response.status == events[1].response.status == "in_progress", events[0]
    final = events[-1].response
    assert {event.response.id for event in (events[0], events[1], events[-1])} == {final.id}, events
    for kind, times in {"added": types.count("response.output_item.added"), "done": len(final.output)}.items():
        assert times == types.count(f"response.output_item.{kind}") == len(final.output), types
    return final


def streamed():
    events = list(responses.create(stream=True, **ASK))
    final = judge(events)
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 1 and "".join(pieces) == final.output_text == EXPECTED, events
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {final.output[0].id}, events
    assert final.usage.total_tokens == 11, final
    plain = responses.create(**ASK)
    assert set(plain.to_dict()) == set(final.to_dict()), "a streamed answer has other members than a plain one"


def stream_helper():
    with responses.stream(**ASK) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text == EXPECTED and final.status == "completed", final


def inputs():
    content = [
        {"type": "input_text", "text": PROMPT},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
    ]
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "said", "annotations": []}]},
        {"type": "message", "role": "user", "content": content},
    ]
    answer = responses.create(model="test-alias", input=turns, max_output_tokens=50, extra_body={"top_k": 5})
    assert answer.output_text == EXPECTED and answer.max_output_tokens == 50, answer
    raw = responses.with_raw_response.create(**ASK)
    assert raw.headers["x-penstock-model"] == "test-model" and raw.parse().output_text == EXPECTED


def output_of(call):
    """Runs the tool that was called."""
    arguments = add.model_validate_json(call.arguments)
    return {"type": "function_call_output", "call_id": call.call_id, "output": str(arguments.a + arguments.b)}


def call_of(answer):
    calls = [item for item in answer.output if item.type == "function_call"]
    assert len(calls) == 1 and answer.output_text == "" and answer.status == "completed", answer
    assert (calls[0].call_id, calls[0].name, calls[0].arguments) == ("call_1", "add", '{"a": 1, "b": 2}'), calls
    return calls[0]


def tools():
    answer = responses.create(tools=TOOLS, **ASK)
    follow_up = [{"role": "user", "content": PROMPT}, *answer.output, output_of(call_of(answer))]
    for store in [True, False]:
        again = responses.create(model="test-model", input=follow_up, tools=TOOLS, store=store)
        assert again.output_text == RESULT, again
    # The gateway knows the turns before.
    result = [output_of(call_of(answer))]
    again = responses.create(model="test-model", previous_response_id=answer.id, input=result, tools=TOOLS)
    assert again.output_text == RESULT and again.previous_response_id == answer.id, again
    last = responses.create(model="test-model", previous_response_id=again.id, input="And now?")
    assert last.output_text == EXPECTED, last


def tools_streamed():
    events = list(responses.create(stream=True, tools=TOOLS, **ASK))
    answer = judge(events)
    call = call_of(answer)
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 1 and "".join(pieces) == call.arguments, events
    result = [output_of(call)]
    ask = {"model": "test-model", "previous_response_id": answer.id, "input": result, "tools": TOOLS}
    assert judge(list(responses.create(stream=True, **ask))).output_text == RESULT
    with responses.stream(**ask) as stream:
        assert stream.get_final_response().output_text == RESULT


def structured():
    answer = responses.parse(text_format=Person, **ASK)
    assert answer.output_parsed == ADA, answer
    assert answer.text.format.type == "json_schema" and answer.text.format.name == "Person", answer.text
    with responses.stream(text_format=Person, **ASK) as stream:
        assert stream.get_final_response().output_parsed == ADA
    answer = responses.create(text={"format": {"type": "json_object"}}, **ASK)
    assert Person.model_validate_json(answer.output_text) == ADA, answer
    call = responses.parse(tools=TYPED, **ASK).output[0]
    assert call.parsed_arguments == add(a=1, b=2), call


def reasoning():
    ask = {"reasoning": {"effort": "low", "summary": "auto"}, **ASK}
    answer = responses.create(**ask)
    assert [item.type for item in answer.output] == ["reasoning", "message"], answer.output
    assert answer.output_text == EXPECTED and answer.reasoning.effort == "low", answer
    assert "".join(part.text for part in answer.output[0].summary) == "Let me think.", answer.output[0]
    events = list(responses.create(stream=True, **ask))
    pieces = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    assert "".join(pieces) == "Let me think.", events
    assert judge(events).output[0].summary[0].text == "Let me think.", events
    # What was thought goes back with what was said.
    again = [{"role": "user", "content": PROMPT}, *answer.output, {"role": "user", "content": "And now?"}]
    assert responses.create(model="test-model", input=again).output_text == EXPECTED


def kept():
    answer = responses.create(instructions="Be brief.", **ASK)
    found = responses.retrieve(answer.id)
    assert found.to_dict() == answer.to_dict(), (found, answer)
    streamed = list(responses.create(stream=True, **ASK))[-1].response
    assert responses.retrieve(streamed.id).to_dict() == streamed.to_dict(), streamed
    # Told again, from the first event or from a later one.
    again = list(responses.retrieve(streamed.id, stream=True))
    assert judge(again).to_dict() == streamed.to_dict(), again
    rest = list(responses.retrieve(streamed.id, stream=True, starting_after=3))
    assert [event.to_dict() for event in rest] == [event.to_dict() for event in again[4:]], rest
    with responses.stream(response_id=streamed.id, starting_after=3) as stream:
        assert stream.get_final_response().output_text == EXPECTED
    more = [{"role": "user", "content": "more"}, {"role": "user", "content": [{"type": "input_text", "text": "yet more"}]}]
    last = responses.create(model="test-model", previous_response_id=answer.id, input=more)
    texts = lambda items: [item.content[0].text for item in items]
    expected = [PROMPT, EXPECTED, "more", "yet more"]
    # A page at a time: the SDK asks for the next one by itself.
    assert texts(responses.input_items.list(last.id, order="asc", limit=1)) == expected
    assert texts(responses.input_items.list(last.id)) == expected[::-1]
    assert responses.delete(answer.id) is None
    unkept = responses.create(store=False, **ASK)
    for missing in [answer.id, unkept.id, "resp_nobody"]:
        for call in [
            lambda: responses.retrieve(missing),
            lambda: responses.delete(missing),
            lambda: responses.cancel(missing),
            lambda: list(responses.input_items.list(missing)),
            lambda: responses.create(previous_response_id=missing, **ASK),
        ]:
            raises(openai.NotFoundError, 404, "not_found", call)


def ended(response):
    """Polls, as the guide to background mode says."""
    deadline = time.monotonic() + 30
    while response.status in {"queued", "in_progress"}:
        assert time.monotonic() < deadline, response
        time.sleep(0.1)
        response = responses.retrieve(response.id)
    return response


def background():
    begun = responses.create(background=True, **ASK)
    assert begun.background and begun.status in {"queued", "in_progress", "completed"}, begun
    done = ended(begun)
    assert done.status == "completed" and done.output_text == EXPECTED and done.usage.total_tokens == 11, done
    failed = ended(responses.create(background=True, model="failing-model", input=PROMPT))
    assert failed.status == "failed" and failed.error.code == "server_error" and failed.error.message, failed
    begun = responses.create(background=True, model="silent-model", input=PROMPT)
    assert responses.retrieve(begun.id).status in {"queued", "in_progress"}
    assert responses.cancel(begun.id).status == "cancelled"
    assert responses.retrieve(begun.id).status == "cancelled"
    assert responses.cancel(begun.id).status == "cancelled", "twice is once"


def counted():
    count = responses.input_tokens.count(**ASK)
    assert count.object == "response.input_tokens" and count.input_tokens > 0, count
    longer = responses.input_tokens.count(model="test-model", input="word " * 100, instructions="Be brief.")
    assert longer.input_tokens > count.input_tokens, longer


def raises(kind, status, code, call):
    try:
        answer = call()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error)}, not {kind}: {error}"
        assert (error.status_code, error.code) == (status, code), (error.status_code, error.code, error.body)
        assert error.body["message"] and error.body["type"] and "param" in error.body, error.body
        assert error.request_id, "an error without a request id"
        return error
    raise AssertionError(f"no error, but {answer}")


def errors():
    def wrong(kind, status, code, **arguments):
        return raises(kind, status, code, lambda: responses.create(**{**ASK, **arguments}))

    stranger = openai.OpenAI(**{**SETTINGS, "api_key": "wrong"})
    raises(openai.AuthenticationError, 401, "invalid_api_key", lambda: stranger.responses.create(**ASK))
    wrong(openai.NotFoundError, 404, "model_not_found", model="nobody")
    wrong(openai.NotFoundError, 404, "model_not_found", model="nobody", stream=True)
    refused = (openai.UnprocessableEntityError, 422)
    assert wrong(*refused, "invalid_value", temperature=9).param == "temperature"
    assert wrong(*refused, "invalid_value", max_output_tokens=-1).param == "max_output_tokens"
    item = [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": 7}]}]
    assert wrong(*refused, "invalid_value", input=item).param == "input[0].content[1].text"
    for arguments in [
        {"tools": [{"type": "web_search"}]},
        {"conversation": "conv_1"},
        {"truncation": "auto"},
        {"background": True, "store": False},
    ]:
        error = raises(*refused, "invalid_value", lambda: responses.create(**{**ASK, **arguments}))
        assert next(iter(arguments)) in error.param, error.body
    wrong(openai.InternalServerError, 502, "engine_failed", model="failing-model")
    wrong(openai.InternalServerError, 502, "engine_failed", model="failing-model", stream=True)


def cut():
    """A cut stream raises; it never ends as if it were whole."""
    seen = []
    try:
        for event in responses.create(model="cut-model", input=PROMPT, stream=True):
            seen.append(event)
    except openai.APIError as error:
        assert error.code == "engine_cut" and error.message, error.body
    else:
        raise AssertionError("a cut stream ended as if it were whole")
    assert "response.completed" not in {event.type for event in seen}, seen
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == "Hello", seen
    raises(openai.InternalServerError, 502, "engine_cut", lambda: responses.create(model="cut-model", input=PROMPT))


async def asynchronous():
    async with openai.AsyncOpenAI(**SETTINGS) as user:
        answers = await asyncio.gather(*(user.responses.create(**ASK) for _ in range(10)))
        assert {answer.output_text for answer in answers} == {EXPECTED} and len({a.id for a in answers}) == 10
        assert (await user.responses.parse(text_format=Person, **ASK)).output_parsed == ADA
        # Leaving early must not hurt the next one.
        stream = await user.responses.create(stream=True, **ASK)
        async for _ in stream:
            break
        await stream.close()
        async with user.responses.stream(tools=TYPED, **ASK) as stream:
            answer = await stream.get_final_response()
        result = [output_of(answer.output[0])]
        ask = {"model": "test-model", "previous_response_id": answer.id, "input": result, "tools": TOOLS}
        assert (await user.responses.create(**ask)).output_text == RESULT
        items = [item async for item in user.responses.input_items.list(answer.id, limit=1)]
        assert items[0].content[0].text == PROMPT, items


for check in [
    plain, streamed, stream_helper, inputs, tools, tools_streamed, structured, reasoning, kept, background, counted,
    errors, cut,
]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
