"""A poller of health as LiteLLM's documentation shows it, unmodified, with `requests`; and `curl -f` as a container
health check. STATE says how the mesh is: well, degraded, down or draining."""

import os
import subprocess

import requests

BASE = os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1")
KEY = os.environ["PENSTOCK_KEY"]
STATE = os.environ["STATE"]
READY = STATE in ("well", "degraded")


def get(path, key=KEY):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.get(BASE + path, headers=headers, timeout=30)


def health():
    response = requests.get(BASE + "/health", headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
    assert response.status_code == (200 if READY else 503), response.text
    data = response.json()
    healthy, unhealthy = data["healthy_endpoints"], data["unhealthy_endpoints"]
    assert data["healthy_count"] == len(healthy) and data["unhealthy_count"] == len(unhealthy), data
    if STATE == "well":
        assert data["status"] == "healthy" and data["healthy_count"] == 2 and not unhealthy, data
        assert {endpoint["model"] for endpoint in healthy} == {"test-model", "other-model"}, data
    if STATE == "degraded":
        assert data["status"] == "degraded" and data["healthy_count"] == data["unhealthy_count"] == 1, data
        for endpoint in unhealthy:
            assert endpoint["model"] == "other-model" and endpoint["error"], endpoint
    if READY:
        assert data["db"] == "connected" and data["version"], data
        one = get("/health?model=test-model").json()
        assert [endpoint["model"] for endpoint in one["healthy_endpoints"]] == ["test-model"], one
        assert get("/health?model=nothing-like-it").status_code == 404
    else:
        assert data["status"] == "unhealthy", data


def probes():
    for path in ("/health/liveliness", "/health/liveness"):
        live = get(path, key=None)
        assert live.status_code == 200 and live.json() == "I'm alive!", live.text
    for path in ("/health/readiness", "/health/ready"):
        ready = get(path, key=None)
        assert ready.status_code == (200 if READY else 503), ready.text
        word = {"well": "healthy", "degraded": "healthy", "down": "unhealthy", "draining": "draining"}[STATE]
        assert ready.json()["status"] == word, ready.text
        # A wrong key is no reason to restart anything.
        assert get(path, key="wrong").status_code == ready.status_code
    for path in ("/health", "/health/liveliness", "/health/liveness", "/health/readiness", "/health/services"):
        options = requests.options(BASE + path, timeout=30)
        assert options.status_code == 200 and "GET" in options.headers["allow"], (path, options.headers)


def services():
    if STATE not in ("well", "degraded"):
        return
    listed = get("/health/services").json()["services"]
    assert {"router", "auth", "auth/store"} <= {service["name"] for service in listed}, listed
    router = get("/health/services?service=router").json()
    assert router["service"] == "router" and router["status"] in ("healthy", "degraded"), router
    assert get("/health/services?service=nobody").status_code == 400
    assert get("/health/services", key=None).status_code == 401
    history = get("/health/history?limit=1").json()
    assert history["limit"] == 1 and len(history["changes"]) <= 1 <= history["total_records"], history


def curl():
    for path, well in (("/health", READY), ("/health/ready", READY), ("/health/live", True)):
        command = ["curl", "-f", "-s", "-o", "/dev/null", "--max-time", "30", BASE + path]
        code = subprocess.run(command, check=False).returncode
        assert code == (0 if well else 22), (path, code)


for part in (health, probes, services, curl):
    part()
    print(part.__name__, "ok")
