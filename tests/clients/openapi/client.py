"""A client that openapi-generator makes of the running server's document completes a chat."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HOST = os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1")

with tempfile.TemporaryDirectory() as folder:
    generator = Path(sys.executable).with_name("openapi-generator-cli")
    generate = [generator, "generate", "-i", HOST + "/openapi.json", "-g", "python", "-o", folder]
    made = subprocess.run([*generate, "--package-name", "made"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, folder)
    import made

    configuration = made.Configuration(host=HOST, access_token=os.environ["PENSTOCK_KEY"])
    with made.ApiClient(configuration) as client:
        models = made.ModelsApi(client).list_models()
        assert [model.id for model in models.data] == ["penstock-simulated"], models

        message = made.Message(role="user", content=made.MessageContent("Say hello."))
        request = made.ChatCompletionRequest(model=models.data[0].id, messages=[message], max_tokens=8)
        answer = made.ChatApi(client).create_chat_completion(request)
        assert answer.object == "chat.completion" and answer.usage.completion_tokens > 0, answer
        assert answer.choices[0].message.content and answer.choices[0].finish_reason, answer

        asked = made.ResponseRequest(model=models.data[0].id, input=made.ResponseRequestInput("Say hello."))
        response = made.ResponsesApi(client).create_response(asked)
        assert response.status == "completed" and response.usage.output_tokens > 0, response
        kept = made.ResponsesApi(client).get_response(response.id)
        assert kept.id == response.id and kept.output[0].content, kept

        turn = made.MessagesTurn(role="user", content=made.MessagesTurnContent("Say hello."))
        asked = made.MessagesRequest(model=models.data[0].id, max_tokens=8, messages=[turn])
        message = made.MessagesApi(client).create_message(asked)
        assert message.role == "assistant" and message.usage.output_tokens > 0 and message.content, message

        try:
            made.ModelsApi(client).get_model("nobody")
        except made.exceptions.NotFoundException as error:
            assert error.data.error.code == "model_not_found", error.data
        else:
            raise AssertionError("there is no such model")
