"""A real engine behind Penstock: llama.cpp's server for Python with a model of random weights made on the spot.

What it says makes no sense; how it says it is what engines do. `tests/run --engines` starts this.
"""

import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import make_model

KEY = "an admin key of the engine test"
# The engine's kind in the configuration; PENSTOCK_ENGINE tries another one.
ENGINE = os.environ.get("PENSTOCK_ENGINE", "llama-cpp")
# Longest wait for a start: the engine imports half of PyPI.
START_MAX = 120
# An answer of many seconds, of words: the token that would end it is forbidden, and so are those of single bytes,
# which this engine keeps back, and more and more slowly, until they make a character.
ENDLESS = {"max_tokens": 5000, "logit_bias": {str(token): -100 for token in range(259)}}
QUESTION = [{"role": "user", "content": "hello"}]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def request(port, method, path, body=None):
    """The response, not read yet, and its connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request(method, path, body and json.dumps(body), headers)
    return connection, connection.getresponse()


def ask(port, **members):
    body = {"model": "random", "messages": QUESTION, "max_tokens": 16, "temperature": 1.0, **members}
    return request(port, "POST", "/v1/chat/completions", body)


def whole(port, **members):
    _, response = ask(port, **members)
    return response, json.loads(response.read())


def events(response):
    assert response.headers["content-type"].startswith("text/event-stream"), response.headers
    for line in response:
        if line.startswith(b"data: "):
            yield line[len(b"data: ") :].strip().decode()


def until(what, look, limit):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if look():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited {limit} s in vain for {what}")


def answers(port, path):
    try:
        return request(port, "GET", path)[1].status == 200
    except OSError:
        return False


def models(port, engine):
    _, response = request(port, "GET", "/v1/models")
    assert [model["id"] for model in json.loads(response.read())["data"]] == ["random"]


def plain(port, engine):
    response, answer = whole(port)
    assert response.status == 200, answer
    choice, usage = answer["choices"][0], answer["usage"]
    assert answer["object"] == "chat.completion" and answer["model"] == "random", answer
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] in ("length", "stop"), answer
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
    assert "estimated" not in usage, "the engine counts plain answers itself"


def streamed(port, engine):
    said = list(events(ask(port, stream=True)[1]))
    assert said[-1] == "[DONE]", said
    chunks = [json.loads(event) for event in said[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant", chunks[0]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1, chunks
    assert chunks[-1]["choices"][0]["finish_reason"] in ("length", "stop"), chunks[-1]
    assert all("usage" not in chunk for chunk in chunks), "usage that nobody asked for"


def usage_is_counted_where_the_engine_gives_none(port, engine):
    said = list(events(ask(port, stream=True, stream_options={"include_usage": True})[1]))
    assert said[-1] == "[DONE]", said
    chunks = [json.loads(event) for event in said[:-1]]
    with_usage = [chunk for chunk in chunks if chunk.get("usage")]
    assert with_usage == [chunks[-1]] and chunks[-1]["choices"] == [], chunks[-2:]
    usage = chunks[-1]["usage"]
    print("   usage of a stream:", usage)
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0, usage
    # This engine says nothing about usage in streams: then ours is marked.
    assert usage["estimated"] is True, usage


def the_same_seed_gives_the_same_answer(port, engine):
    # One token more or less is another request: the second answer is not from the cache.
    short, long = (whole(port, seed=7, max_tokens=tokens)[1]["choices"][0] for tokens in [8, 9])
    assert long["message"]["content"].startswith(short["message"]["content"]), (short, long)


def json_is_made_when_it_is_asked_for(port, engine):
    response, answer = whole(port, response_format={"type": "json_object"}, max_tokens=200, seed=1)
    assert response.status == 200, answer
    choice = answer["choices"][0]
    assert choice["message"]["content"].lstrip().startswith("{"), choice
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict), choice


def cpu_of(engine):
    fields = pathlib.Path(f"/proc/{engine.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def connections(port):
    """How many connections to `port` are open on their caller's side."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in fields)


def who_leaves_a_stream_stops_the_engine(port, engine):
    connection, response = ask(port, stream=True, **ENDLESS)
    for _ in zip(range(3), events(response)):
        pass
    assert connections(engine.port) == 1
    response.close()
    connection.close()
    until("the engine's connection to be closed", lambda: connections(engine.port) == 0, 2)

    def silent():
        before = cpu_of(engine)
        time.sleep(0.3)
        return cpu_of(engine) - before <= 3

    until("the engine to compute nothing", silent, 10)
    assert whole(port)[0].status == 200


def errors_are_ours(port, engine):
    response, answer = whole(port, messages=[{"role": "user", "content": "w1 " * 20000}])
    print("   a prompt that is too long:", response.status, answer["error"]["code"])
    assert response.status in (400, 502) and answer["error"]["code"], answer
    response, answer = whole(port, temperature=9)
    assert response.status == 422 and answer["error"]["param"] == "temperature", answer
    response, answer = whole(port, model="nobody")
    assert response.status == 404, answer


def a_dead_engine_is_said_and_comes_back(port, engine):
    _, response = ask(port, stream=True, **ENDLESS)
    said = events(response)
    next(said)
    engine.kill()
    last = list(said)[-1]
    assert json.loads(last)["error"]["code"] == "engine_cut", last
    response, answer = whole(port)
    assert response.status in (502, 503), answer
    print("   an engine that is gone:", response.status, answer["error"]["code"])
    engine.start()
    until("an answer of the engine that came back", lambda: whole(port)[0].status == 200, 20)


class Engine:
    def __init__(self, folder):
        self.port, self.log = free_port(), folder / "engine.log"
        model = folder / "random.gguf"
        make_model.write(str(model))
        self.command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "random"]
        self.command += ["--host", "127.0.0.1", "--port", str(self.port), "--n_ctx", str(make_model.CONTEXT)]
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        until("the engine", lambda: answers(self.port, "/v1/models"), START_MAX)

    def kill(self):
        # Not asked to end: this engine finishes an answer first, wanted or not.
        if self.process:
            self.process.kill()
            self.process.wait()


CHECKS = [
    models,
    plain,
    streamed,
    usage_is_counted_where_the_engine_gives_none,
    the_same_seed_gives_the_same_answer,
    json_is_made_when_it_is_asked_for,
    who_leaves_a_stream_stops_the_engine,
    errors_are_ours,
    a_dead_engine_is_said_and_comes_back,
]


def main(folder):
    engine, port = Engine(folder), free_port()
    config = folder / "penstock.toml"
    config.write_text(
        f'[facade]\nlisten = "127.0.0.1:{port}"\nmetrics_listen = "127.0.0.1:{free_port()}"\n'
        f'[[deployments]]\nid = "llama"\nengine = "{ENGINE}"\nmodel = "random"\n'
        f'endpoint = "http://127.0.0.1:{engine.port}/v1"\n'
        '[[models]]\nname = "random"\ndeployments = ["llama"]\n'
    )
    environment = {**os.environ, "PENSTOCK_ADMIN_KEY": KEY}
    binary = [os.environ["PENSTOCK_BIN"], "up", "--config", str(config), "--data-dir", str(folder / "data")]
    with open(folder / "penstock.log", "wb") as log:
        penstock = subprocess.Popen(binary, env=environment, stdout=log, stderr=log)
    try:
        engine.start()
        until("Penstock", lambda: answers(port, "/health/ready"), START_MAX)
        for check in CHECKS:
            print(check.__name__, flush=True)
            check(port, engine)
    except BaseException:
        for log in [engine.log, folder / "penstock.log"]:
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        engine.kill()
        penstock.terminate()
        penstock.wait(30)


with tempfile.TemporaryDirectory() as folder:
    main(pathlib.Path(folder))
print("a real engine: all checks passed")
