"""`grpcio-health-checking`, unmodified, as grpc_health_probe and Kubernetes ask: Check and Watch at each of ADDRESSES
(`title=host:port`), for the server, its services, its phases and (at the router) its models. It writes `watching`
when every Watch has spoken, and goes on until each has heard what WATCH names, in that order."""

import json
import os
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ADDRESSES = [part.split("=") for part in os.environ["ADDRESSES"].split(",")]
NAMES = json.loads(os.environ["NAMES"])
WATCH = json.loads(os.environ["WATCH"])
Status = health_pb2.HealthCheckResponse


def request(name):
    return health_pb2.HealthCheckRequest(service=name)


def stub(address):
    channel = grpc.insecure_channel(address)
    grpc.channel_ready_future(channel).result(timeout=30)
    return health_pb2_grpc.HealthStub(channel)


def checks(title, health):
    for name, expected in NAMES[title].items():
        answer = health.Check(request(name), timeout=30)
        said = Status.ServingStatus.Name(answer.status)
        assert said == expected, (title, name, said, expected)
        first = next(health.Watch(request(name), timeout=30))
        assert first.status == answer.status, (title, name, first)
    for unknown in ("penstock.nobody.v1.Nobody", "model/nothing-like-it", " ", "Liveness"):
        try:
            raise AssertionError((title, unknown, health.Check(request(unknown), timeout=30)))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, (title, unknown, error)
        first = next(health.Watch(request(unknown), timeout=30))
        assert first.status == Status.SERVICE_UNKNOWN, (title, unknown, first)


def watch(title, name, health, expected, spoken, failures):
    try:
        heard = []
        for answer in health.Watch(request(name), timeout=100):
            said = Status.ServingStatus.Name(answer.status)
            assert not heard or heard[-1] != said, f"says {said} twice"
            heard.append(said)
            spoken.release()
            if heard == expected:
                return
            assert heard == expected[: len(heard)], f"heard {heard}"
        raise AssertionError(f"ended after {heard}")
    except Exception as error:  # noqa: BLE001: whatever it is, it is said at the end
        failures.append((title, name, expected, repr(error)))
        spoken.release()


stubs = {title: stub(address) for title, address in ADDRESSES}
for title, health in stubs.items():
    checks(title, health)
print("checks ok", flush=True)

spoken, failures, threads = threading.Semaphore(0), [], []
for title, names in WATCH.items():
    for name, expected in names.items():
        arguments = (title, name, stubs[title], expected, spoken, failures)
        threads.append(threading.Thread(target=watch, args=arguments, daemon=True))
for thread in threads:
    thread.start()
for _ in threads:
    assert spoken.acquire(timeout=30), "a Watch does not speak at once"
with open(os.environ["WATCHING"], "w") as file:
    file.write("watching")
for thread in threads:
    thread.join(timeout=100)
assert not failures and not any(thread.is_alive() for thread in threads), failures
print("watches ok")
