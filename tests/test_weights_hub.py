"""Weights from the hub: only with consent, through the hub's own client, against a local server
that replays its replies."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from stub_server import Stub, serve

pytest.importorskip("huggingface_hub", reason="the extra models is not installed")

REPO, COMMIT = (
    "depth-anything/Depth-Anything-V2-Small-hf",
    "0123456789abcdef0123456789abcdef01234567",
)
FILES = {
    "config.json": b'{"model_type": "depth_anything"}',
    "model.safetensors": b"\x08" + bytes(40),
    "README.md": b"hello",
}
PROGRAM = """
import sys
from restage4d.providers.registry import find_entry
from restage4d.errors import InputError
from restage4d.providers.weights import Weights
try:
    print(Weights(None, sys.argv[1] == "yes").find(find_entry("depth", "depth-anything-v2")))
except InputError as error:
    print(error)
"""


def find(server: Stub, home: Path, consent: str, **environment: str) -> str:
    """What `Weights.find` says in a process of its own, whose hub is the server."""
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, consent],
        env=dict(_without_hub(), HF_ENDPOINT=server.url, HF_HOME=str(home), HF_HUB_DISABLE_XET="1",
        **environment),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return said.stdout.strip()


def _without_hub() -> dict[str, str]:
    import os

    return {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}


@pytest.fixture
def hub():
    with serve() as stub:
        siblings = [{"rfilename": name} for name in FILES]
        info = {
            "id": REPO,
            "sha": COMMIT,
            "siblings": siblings,
            "private": False,
            "gated": False,
            "tags": [],
            "downloads": 0,
        }
        stub.on("GET", f"/api/models/{REPO}", (200, info))
        tree = [
            {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
            for n, c in FILES.items()
        ]
        stub.on("GET", f"/api/models/{REPO}/tree/", (200, tree))
        for name, content in FILES.items():
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            for method in ("HEAD", "GET"):
                stub.on(method, f"/{REPO}/resolve/{COMMIT}/{name}", (200, content, headers))
        yield stub


def test_nothing_is_asked_for_without_consent_and_what_was_fetched_is_found_again(hub, tmp_path):
    assert "config.json, model.safetensors is missing" in find(hub, tmp_path, "no")
    assert not hub.asked
    folder = Path(find(hub, tmp_path, "yes"))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        k: v for k, v in FILES.items() if k != "README.md"
    }
    asked = len(hub.asked)
    assert Path(find(hub, tmp_path, "no")) == folder  # from the cache
    assert len(hub.asked) == asked
    assert Path(find(hub, tmp_path, "no", HF_HUB_OFFLINE="1")) == folder


def test_a_gated_model_says_where_its_licence_is_accepted(hub, tmp_path):
    refusal = (
        403,
        {"error": "Access to model is restricted"},
        {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"},
    )
    hub.on("GET", f"/api/models/{REPO}", refusal)
    said = find(hub, tmp_path, "yes")
    assert f"{REPO} could not be fetched" in said
    assert f"Accept the licence on the page of {REPO}" in said


def test_a_hub_that_cannot_be_reached_names_the_files(tmp_path):
    said = find(Stub(url="http://127.0.0.1:9"), tmp_path, "yes")
    assert f"{REPO} could not be fetched" in said
    assert f"Fetch config.json, model.safetensors of {REPO} by hand" in said
    assert "Traceback" not in said
