"""A client that grpcio's own tools make from the contract: the same answer by gRPC as by REST, chunk for chunk."""

import json
import os
import pathlib
import sys
import tempfile
import urllib.request

import grpc
import grpc_tools
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

ADDRESS = os.environ["PENSTOCK_GRPC"]
KEY = os.environ["PENSTOCK_KEY"]
PROTO = pathlib.Path(os.environ["PENSTOCK_PROTO"])


def generate(folder):
    files = [str(path.relative_to(PROTO)) for path in sorted((PROTO / "penstock").rglob("*.proto"))]
    bundled = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{bundled}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(arguments + files) == 0, "protoc refuses the contract"
    sys.path.insert(0, folder)


def by_rest(stream):
    """The deltas of the same request by REST."""
    body = {"model": "test-model", "messages": [{"role": "user", "content": "canary-prompt-5c1f hello"}]}
    request = urllib.request.Request(
        os.environ["PENSTOCK_BASE_URL"] + "/chat/completions",
        json.dumps({**body, "stream": stream}).encode(),
        {"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    text = urllib.request.urlopen(request, timeout=30).read().decode()
    if not stream:
        return [json.loads(text)["choices"][0]["message"]["content"]]
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]", text
    chunks = [json.loads(event)["choices"][0] for event in events]
    return [(c["delta"].get("role"), c["delta"].get("content"), c["finish_reason"]) for c in chunks]


def optional(message, field):
    return getattr(message, field) if message.HasField(field) else None


def main():
    from penstock.inference.v1 import inference_pb2, inference_pb2_grpc

    channel = grpc.insecure_channel(ADDRESS)
    inference = inference_pb2_grpc.InferenceStub(channel)
    message = inference_pb2.Message(role="user", text="canary-prompt-5c1f hello")
    request = inference_pb2.GenerateRequest(
        model="test-model", chat=inference_pb2.ChatInput(messages=[message]), stream=True
    )
    metadata = [("authorization", f"Bearer {KEY}")]

    call = inference.Generate(request, metadata=metadata, timeout=30)
    choices = [choice for answer in call for chunk in answer.chunks for choice in chunk.choices]
    by_grpc = [
        (optional(c.delta, "role"), optional(c.delta, "content"), optional(c, "finish_reason")) for c in choices
    ]
    assert call.code() == grpc.StatusCode.OK
    assert by_grpc == by_rest(True), f"{by_grpc}\n{by_rest(True)}"
    assert "".join(content or "" for _, content, _ in by_grpc) == "Hello, world!", by_grpc

    request.stream = False
    answers = list(inference.Generate(request, metadata=metadata, timeout=30))
    assert len(answers) == 1 and len(answers[0].chunks) == 1, answers
    chunk = answers[0].chunks[0]
    assert [chunk.choices[0].delta.content] == by_rest(False), chunk
    assert chunk.usage.total_tokens == 11, chunk

    try:
        list(inference.Generate(request, timeout=30))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
        details = rpc_status.from_call(error).details
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in details), details
        assert (info.reason, info.domain) == ("INVALID_API_KEY", "penstock"), info
    else:
        raise AssertionError("an answer without a key")

    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer
    names = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "penstock.inference.v1.Inference" in names, names
    models = inference.ListModels(inference_pb2.ListModelsRequest(), metadata=metadata, timeout=30)
    assert [model.id for model in models.models] == ["test-model"], models


with tempfile.TemporaryDirectory() as folder:
    generate(folder)
    main()
