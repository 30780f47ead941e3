"""The document is valid OpenAPI 3.1, and what is answered to plain requests is as it says."""

import os

import requests
import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator

HOST = os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1")
KEY = {"authorization": "Bearer " + os.environ["PENSTOCK_KEY"]}
MODEL = "penstock-simulated"

document = requests.get(HOST + "/openapi.json", timeout=10).json()
assert document["openapi"].startswith("3.1"), document["openapi"]
OpenAPIV31SpecValidator(document).validate()

schema = schemathesis.openapi.from_dict(document)


def ask(method, path, template=None, status=200, **more):
    answer = requests.request(method, HOST + path, headers=KEY, timeout=30, **more)
    assert answer.status_code == status, (method, path, answer.status_code, answer.text)
    schema[template or path][method].validate_response(answer)
    return answer


chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
ask("POST", "/v1/chat/completions", json=chat)
ask("POST", "/v1/chat/completions", json={**chat, "n": 2, "user": "u"})
ask("POST", "/v1/chat/completions", json={**chat, "temperature": 9}, status=422)
ask("POST", "/v1/chat/completions", data="{", status=400)
ask("POST", "/v1/chat/completions", json={**chat, "model": "nobody's"}, status=404)
stored = ask("POST", "/v1/chat/completions", json={**chat, "store": True, "metadata": {"k": "v"}}).json()["id"]

# Kept in the background once it is answered, so asked for until it is there.
one, template = "/v1/chat/completions/" + stored, "/v1/chat/completions/{id}"
for _ in range(200):
    if requests.get(HOST + one, headers=KEY, timeout=10).status_code == 200:
        break
ask("GET", one, template)
page = ask("GET", "/v1/chat/completions", params={"limit": 1, "metadata[k]": "v"}).json()
assert [entry["id"] for entry in page["data"]] == [stored], page
ask("GET", "/v1/chat/completions", params={"limit": 0}, status=422)
assert ask("GET", one + "/messages", template + "/messages").json()["data"][0]["content"] == "hi"
assert ask("POST", one, template, json={"metadata": {"k": "w"}}).json()["metadata"] == {"k": "w"}
ask("POST", one, template, json={}, status=422)
ask("DELETE", one, template)
ask("GET", one, template, status=404)

asked = {"model": MODEL, "input": "hi", "max_output_tokens": 8}
response = ask("POST", "/v1/responses", json=asked).json()["id"]
ask("POST", "/v1/responses", json={**asked, "temperature": 9}, status=422)
ask("POST", "/v1/responses", json={**asked, "model": "nobody's"}, status=404)
ask("POST", "/v1/responses/input_tokens", json=asked)
one, template = "/v1/responses/" + response, "/v1/responses/{id}"
ask("GET", one, template)
ask("GET", one + "/input_items", template + "/input_items", params={"limit": 1, "order": "asc"})
ask("GET", one + "/input_items", template + "/input_items", params={"limit": 0}, status=422)
ask("DELETE", one, template)
ask("GET", one, template, status=404)
begun = ask("POST", "/v1/responses", json={**asked, "background": True}).json()["id"]
ask("POST", f"/v1/responses/{begun}/cancel", template + "/cancel")

messages = {"model": MODEL, "messages": chat["messages"]}
ask("POST", "/v1/messages", json={**messages, "max_tokens": 8})
ask("POST", "/v1/messages", json=messages, status=400)
ask("POST", "/v1/messages", json={**messages, "max_tokens": 8, "model": "nobody's"}, status=404)
ask("POST", "/v1/messages/count_tokens", json=messages)

plain = {"model": MODEL, "stream": False}
ask("POST", "/api/chat", json={**plain, "messages": chat["messages"]})
ask("POST", "/api/chat", json={**plain, "messages": []}, status=400)
ask("POST", "/api/generate", json={**plain, "prompt": "hi"})
ask("POST", "/api/generate", json={**plain, "prompt": "hi", "model": "nobody's"}, status=404)
ask("POST", "/api/embed", json={"model": MODEL, "input": ["a", "b"]})
ask("POST", "/api/embeddings", json={"model": MODEL, "prompt": "a"})
ask("POST", "/api/show", json={"model": MODEL})
ask("POST", "/api/show", json={"model": "nobody's"}, status=404)
for path in ["/api/tags", "/api/ps", "/api/version"]:
    ask("GET", path)

ask("GET", "/v1/models")
ask("GET", "/v1/models/" + MODEL, "/v1/models/{id}")
ask("GET", "/v1/models/no/such:model", "/v1/models/{id}", status=404)
for path in ["/", "/health/live", "/health/liveliness", "/health/liveness", "/health/ready", "/health/readiness"]:
    ask("GET", path)
for path in ["/health", "/health/status", "/health/models", "/health/services", "/health/history"]:
    ask("GET", path)
ask("GET", "/health", params={"model": MODEL})
ask("GET", "/health/models", params={"model": "nobody's"}, status=404)
ask("GET", "/health/services", params={"service": "auth"})
ask("GET", "/health/services", params={"service": "slack"}, status=400)
ask("GET", "/health/history", params={"limit": 0}, status=422)
