"""The OpenAI SDK for Python, unmodified: completions that are stored, listed, labelled and deleted."""

import asyncio
import os

import openai

BASE_URL = os.environ["PENSTOCK_BASE_URL"]
KEY = os.environ["PENSTOCK_KEY"]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "canary-prompt-5c1f hello"}]},
]
EXPECTED = "Hello, world!"

# No retries: a test wants to see the first answer.
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30)
completions = client.chat.completions


def create(**more):
    return completions.create(model="test-model", messages=MESSAGES, store=True, **more)


def plain():
    answer = create(metadata={"topic": "plain"}, seed=7)
    found = completions.retrieve(answer.id)
    assert found.id == answer.id and found.created == answer.created, found
    assert found.choices == answer.choices and found.usage == answer.usage, found
    assert found.metadata == {"topic": "plain"} and found.seed == 7 and found.tools is None, found
    return answer.id


def streamed():
    chunks = list(create(metadata={"topic": "streamed"}, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1, chunks
    found = completions.retrieve(chunks[0].id)
    assert found.choices[0].message.content == EXPECTED and found.choices[0].finish_reason == "stop", found
    return found.id


def lists(ids):
    assert [found.id for found in completions.list()] == ids
    # A page at a time: the SDK asks for the next one by itself.
    assert [found.id for found in completions.list(limit=1)] == ids
    assert [found.id for found in completions.list(limit=1, order="desc")] == ids[::-1]
    assert [found.id for found in completions.list(metadata={"topic": "streamed"})] == ids[1:]
    assert [found.id for found in completions.list(model="test-model", after=ids[0])] == ids[1:]
    assert not list(completions.list(model="nobody"))


def messages(of):
    pages = completions.messages.list(of, limit=1)
    found = list(pages)
    assert [message.id for message in found] == [f"{of}-0", f"{of}-1"], found
    assert found[0].content == "Be brief." and found[0].role == "system", found
    assert found[0].content_parts is None and found[1].content is None, found
    assert found[1].content_parts[0].text.endswith("hello"), found


def update(of):
    changed = completions.update(of, metadata={"topic": "changed"})
    assert changed.id == of and changed.metadata == {"topic": "changed"}, changed
    assert [found.id for found in completions.list(metadata={"topic": "changed"})] == [of]


def errors(of):
    for call in [
        lambda: completions.retrieve("chatcmpl-nobody"),
        lambda: completions.update("chatcmpl-nobody", metadata={}),
        lambda: completions.delete("chatcmpl-nobody"),
        lambda: completions.messages.list("chatcmpl-nobody"),
    ]:
        try:
            call()
        except openai.NotFoundError as error:
            assert error.code == "not_found", error.body
        else:
            raise AssertionError("found what is not there")
    try:
        completions.update(of, metadata={"k" * 65: "v"})
    except openai.UnprocessableEntityError as error:
        assert error.param == "metadata." + "k" * 64, error.body
    else:
        raise AssertionError("took a key that is too long")


def delete(of):
    gone = completions.delete(of)
    assert gone.deleted and gone.id == of and gone.object == "chat.completion.deleted", gone
    assert of not in [found.id for found in completions.list()]


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30) as user:
        answer = await user.chat.completions.create(model="test-model", messages=MESSAGES, store=True)
        assert answer.id in [found.id async for found in user.chat.completions.list(limit=1)]
        assert (await user.chat.completions.delete(answer.id)).deleted


ids = [plain(), streamed()]
print("stored", flush=True)
lists(ids)
messages(ids[0])
update(ids[1])
errors(ids[0])
for each in ids:
    delete(each)
print("asynchronous", flush=True)
asyncio.run(asynchronous())
