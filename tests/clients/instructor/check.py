"""instructor, unmodified, against Penstock: typed answers in every mode that it has for OpenAI's API."""

import asyncio
import os

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel

SETTINGS = {
    "base_url": os.environ["PENSTOCK_BASE_URL"],
    "api_key": os.environ["PENSTOCK_KEY"],
    "max_retries": 0,
    "timeout": 30,
}
MODES = [instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS_STRICT]
ASK = {"model": "test-model", "messages": [{"role": "user", "content": "canary-prompt-5c1f hello"}]}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


ADA = {"name": "Ada", "age": 36}


def typed():
    for mode in MODES:
        client = instructor.from_openai(openai.OpenAI(**SETTINGS), mode=mode)
        person, answer = client.create_with_completion(response_model=Person, max_retries=0, **ASK)
        assert person.model_dump() == ADA and answer.usage.total_tokens == 11, (mode, person, answer)


def streamed():
    for mode in [instructor.Mode.TOOLS, instructor.Mode.JSON]:
        client = instructor.from_openai(openai.OpenAI(**SETTINGS), mode=mode)
        people = list(client.create_partial(response_model=Person, **ASK))
        assert len(people) > 1 and people[-1].model_dump() == ADA, (mode, people)


def validated():
    """What does not fit is asked for again, with what was wrong: a second turn by the client itself."""

    class Old(Person):
        age: int

        def model_post_init(self, _):
            if self.age < 100:
                raise ValueError("too young")

    client = instructor.from_openai(openai.OpenAI(**SETTINGS), mode=instructor.Mode.TOOLS)
    try:
        client.create(response_model=Old, max_retries=1, **ASK)
    except InstructorRetryException as error:
        assert error.n_attempts == 2, error.n_attempts
    else:
        raise AssertionError("somebody of 36 is too young")


def errors():
    for settings, ask, status in [
        ({"api_key": "wrong"}, {}, 401),
        ({}, {"model": "nobody"}, 404),
        ({}, {"model": "failing-model"}, 502),
        ({}, {"temperature": 9}, 422),
    ]:
        client = instructor.from_openai(openai.OpenAI(**{**SETTINGS, **settings}))
        try:
            client.create(response_model=Person, max_retries=0, **{**ASK, **ask})
        except (InstructorRetryException, openai.APIStatusError) as error:
            cause = error
            while not isinstance(cause, openai.APIStatusError):
                cause = cause.__cause__ or cause.args[0]
            assert cause.status_code == status, cause
        else:
            raise AssertionError(f"no error with {settings} {ask}")


async def asynchronous():
    client = instructor.from_openai(openai.AsyncOpenAI(**SETTINGS))
    people = await asyncio.gather(*(client.create(response_model=Person, **ASK) for _ in range(4)))
    assert [person.model_dump() for person in people] == [ADA] * 4, people
    pieces = [piece async for piece in client.create_partial(response_model=Person, **ASK)]
    assert pieces[-1].model_dump() == ADA, pieces


for check in [typed, streamed, validated, errors]:
    print(check.__name__, flush=True)
    check()
print("asynchronous", flush=True)
asyncio.run(asynchronous())
