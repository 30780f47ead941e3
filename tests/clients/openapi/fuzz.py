"""schemathesis sends what the document allows and what it does not, and judges every answer by the document."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HOST = os.environ["PENSTOCK_BASE_URL"].removesuffix("/v1")
# One run for the APIs of others, one for the rest: each has time enough.
OTHERS = "^/(v1/(responses|messages)|api)(/|$)"

# Not asked: that whatever fits the schema is accepted. What depends on another field (top_logprobs on logprobs, a
# tool's name on its type) no schema of ours says, and a model or a stored answer has to exist.
command = [
    Path(sys.executable).with_name("schemathesis"),
    f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
    "run",
    HOST + "/openapi.json",
    "--header=Authorization: Bearer " + os.environ["PENSTOCK_KEY"],
    f"--{os.environ['OPENAPI_PATHS']}-path-regex={OTHERS}",
    "--exclude-checks=positive_data_acceptance",
    "--phases=examples,coverage,fuzzing",
    "--max-examples=30",
    "--max-time=40",
    "--seed=" + os.environ.get("OPENAPI_SEED", "1"),
    "--suppress-health-check=all",
    "--warnings=off",
    "--no-color",
]
with tempfile.TemporaryDirectory() as folder:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
assert "Tested: " in ran.stdout and "generated" in ran.stdout, ran.stdout[-5000:]
assert ran.returncode == 0, ran.stdout[-20000:] + ran.stderr[-2000:]
