"""The recommended weights: who is taken where nobody chose, what is offered, fetching with consent,
resuming and hashes, against a local server that replays the hub's replies."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stub_server import Asked, Stub, serve

from restage4d.cli import main
from restage4d.cli.computer import models
from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.providers import availability
from restage4d.providers.fetching import RECORD, find_damaged
from restage4d.providers.model_set import choose_estimators, recommend
from restage4d.providers.registry import find_entry
from restage4d.providers.settings import UserSettings, read_settings, settings_file, write_setting
from restage4d.providers.weights import Weights

ENTRY = find_entry("depth", "depth-anything-v2")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG, TENSORS = b'{"model_type": "depth_anything"}', b"\x08" + bytes(range(200)) * 500
PROGRAM = """
import sys
from pathlib import Path
from restage4d.errors import InputError
from restage4d.providers.fetching import fetch_model
from restage4d.providers.registry import find_entry
try:
    print(fetch_model(find_entry("depth", "depth-anything-v2"), Path(sys.argv[1]), print))
except InputError as error:
    print("REFUSED", error)
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("WEIGHTS", "DOWNLOAD", "COMMERCIAL"):
        monkeypatch.delenv(f"RESTAGE4D_{name}", raising=False)
    monkeypatch.setenv("RESTAGE4D_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def put_weights(folder: Path, *names: str) -> Weights:
    for name in names:
        (folder / name).mkdir(parents=True)
        for file in ENTRY.files:
            (folder / name / file).write_bytes(b"x")
    return Weights(folder)


def choose(weights: Weights, gpu: float = 0, commercial: bool = True) -> tuple[PriorNames, str]:
    said: list[str] = []
    settings = UserSettings(commercial=commercial)
    names = choose_estimators(PriorNames(), weights, settings, gpu, said.append)
    return names, "".join(said)


def test_without_weights_those_that_need_none_are_taken_and_it_is_said(tmp_path):
    names, said = choose(Weights(tmp_path))
    assert names == WEIGHT_FREE
    assert "masks: colour, edges and flow; no weights" in said
    assert "restage4d models offers better ones" in said


def test_the_best_weights_that_are_here_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(availability, "find_missing_modules", lambda entry: [])
    weights = put_weights(
        tmp_path, "sam2", "sam2-tiny", "depth-anything-v2", "depth-anything-v2-large"
    )
    names, said = choose(weights)
    assert names == PriorNames("sam2-tiny", "sfm", "depth-anything-v2", "flow")  # on a CPU
    assert "masks: SAM 2.1 tiny, video" in said
    assert "better ones" not in said
    assert choose(weights, gpu=24)[0].masks == "sam2"
    assert choose(weights, gpu=6)[0].masks == "sam2-tiny"
    assert choose(weights, gpu=24)[0].depth == "depth-anything-v2"  # the large one is CC BY-NC
    assert choose(weights, gpu=24, commercial=False)[0].depth == "depth-anything-v2-large"


def test_what_was_chosen_stays(tmp_path):
    chosen = PriorNames("sam3", "a/vipe", "auto", "tapnext")
    said: list[str] = []
    names = choose_estimators(chosen, Weights(tmp_path), UserSettings(), 0, said.append)
    assert names == PriorNames("sam3", "a/vipe", "relief", "tapnext")
    assert said == [
        "Estimators taken: depth: ground, wall and the subject as a relief; no weights. "
        "restage4d models offers better ones."
    ]


@pytest.mark.parametrize(
    ("gpu", "commercial", "names"),
    [
        (0, True, ["sam2-tiny", "depth-anything-v2"]),
        (0, False, ["sam2-tiny", "depth-anything-v2"]),
        (24, True, ["sam2", "depth-anything-v2"]),
        (24, False, ["sam2", "depth-anything-v2-large"]),
    ],
)
def test_only_what_runs_here_and_may_be_used_is_recommended(gpu, commercial, names):
    offers = recommend(gpu, commercial=commercial)
    assert [offer.entry.name for offer in offers] == names
    assert all(offer.changes for offer in offers)
    assert not commercial or all(o.entry.licence in ("Apache-2.0", "MIT") for o in offers)


def test_a_setting_is_written_beside_the_others(tmp_path):
    write_setting("commercial", False)
    assert read_settings().commercial is False
    settings_file().write_text('weights = "/models"\ncommercial = false\n')
    write_setting("commercial", True)
    assert (read_settings().weights, read_settings().commercial) == ("/models", True)
    assert settings_file().read_text().count("commercial") == 1


def test_weights_lie_in_a_folder_of_the_user_unless_another_is_named(tmp_path):
    assert Weights.from_settings(None, False).folder is None
    usual = tmp_path / "data" / "restage4d" / "weights"
    put_weights(usual, "sam2-tiny")
    assert Weights.from_settings(None, False).folder == usual
    write_setting("weights", "/models")
    assert Weights.from_settings(None, False).folder == Path("/models")


# --- fetching -------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub", reason="the extra models is not installed")
    with serve() as stub:
        put(stub, "config.json", CONFIG, hashlib.sha1(b"blob 32\0" + CONFIG).hexdigest())
        put(stub, "model.safetensors", TENSORS, hashlib.sha256(TENSORS).hexdigest())
        yield stub


def put(stub: Stub, name: str, content: bytes, etag: str) -> None:
    def answer(asked: Asked):
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        begins = asked.headers.get("Range") or asked.headers.get("range")
        if asked.method == "GET" and begins:
            start = int(begins.split("=")[1].split("-")[0])
            size = len(content)
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            return 206, content[start:], headers
        return 200, content, headers

    for revision in ("main", COMMIT):
        for method in ("HEAD", "GET"):
            stub.on(method, f"/{ENTRY.repo}/resolve/{revision}/{name}", answer)


def fetch(hub: Stub, folder: Path) -> str:
    """What `fetch_model` says in a process of its own, whose hub is the server."""
    import os

    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    hub_environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=kept | hub_environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def test_weights_are_fetched_once_and_stand_with_their_hashes(hub, tmp_path):
    said = fetch(hub, tmp_path)
    place = tmp_path / ENTRY.name
    assert (place / "model.safetensors").read_bytes() == TENSORS
    assert str(place) in said
    record = json.loads((place / RECORD).read_text())
    assert record["revision"] == COMMIT
    assert record["licence"] == "Apache-2.0"
    assert record["files"]["model.safetensors"] == hashlib.sha256(TENSORS).hexdigest()
    assert find_damaged(place) == []
    assert Weights(tmp_path).find_local(ENTRY) == place
    asked = len(hub.asked)
    fetch(hub, tmp_path)
    assert len(hub.asked) == asked  # offline afterwards
    (place / "model.safetensors").write_bytes(TENSORS[:-1])
    assert find_damaged(place) == ["model.safetensors"]
    fetch(hub, tmp_path)
    assert find_damaged(place) == []


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(hub, tmp_path):
    put(hub, "model.safetensors", TENSORS, "0" * 64)
    said = fetch(hub, tmp_path)
    assert "REFUSED" in said
    assert "its hash differs" in said
    assert not (tmp_path / ENTRY.name / "model.safetensors").exists()
    assert (tmp_path / ENTRY.name / "config.json").exists()
    put(hub, "model.safetensors", TENSORS, hashlib.sha256(TENSORS).hexdigest())
    assert "REFUSED" not in fetch(hub, tmp_path)


def test_a_file_that_somebody_put_there_is_not_written_over(hub, tmp_path):
    place = tmp_path / ENTRY.name
    place.mkdir()
    (place / "config.json").write_bytes(b"mine")
    assert "Move it away first" in fetch(hub, tmp_path)
    assert (place / "config.json").read_bytes() == b"mine"
    (place / "config.json").write_bytes(CONFIG)
    assert "REFUSED" not in fetch(hub, tmp_path)


def test_an_interrupted_file_goes_on_where_it_stopped(hub, tmp_path):
    etag = hashlib.sha256(TENSORS).hexdigest()
    place = tmp_path / ENTRY.name
    place.mkdir()
    part = place / f"model.safetensors.{etag[:16]}.part"
    part.write_bytes(TENSORS[:60_000])
    fetch(hub, tmp_path)
    assert "bytes=60000-" in [a.headers.get("Range") for a in hub.asked]
    assert find_damaged(place) == []
    assert not part.exists()
    (place / "model.safetensors").unlink()
    part.write_bytes(b"\x09" * 60_000)  # not of this file after all
    assert "its hash differs" in fetch(hub, tmp_path)
    assert "REFUSED" not in fetch(hub, tmp_path)
    assert find_damaged(place) == []


def test_a_connection_that_breaks_is_tried_again(hub, tmp_path):
    path = f"/{ENTRY.repo}/resolve/{COMMIT}/model.safetensors"
    whole = hub.replies[("GET", path)][0]
    cut = (200, TENSORS[:50_000], {"Content-Length": str(len(TENSORS))})
    hub.on("GET", path, cut, (503, {}), whole)
    assert "REFUSED" not in fetch(hub, tmp_path)
    assert find_damaged(tmp_path / ENTRY.name) == []
    assert hub.count("GET", path) == 3


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch):
    """Names of the models that would be fetched; all libraries are there, no GPU."""
    names: list[str] = []
    monkeypatch.setattr(models, "fetch_model", lambda entry, folder, say: names.append(entry.name))
    monkeypatch.setattr(models, "find_missing_modules", lambda entry: [])
    monkeypatch.setattr(models, "read_driver", lambda: None)
    return names


def test_nothing_is_fetched_without_a_yes_and_commercial_use_is_asked_once(
    fetched, monkeypatch, capsys
):
    answers: list[str] = ["yes", "no"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answers.pop(0))
    assert main.main(["models", "get"]) == 0
    assert not fetched
    said = capsys.readouterr().out
    assert "sam2-tiny: SAM 2.1 tiny, video, 0.16 GB, Apache-2.0; the subject" in said
    assert "Nothing was fetched" in said
    answers = ["y"]
    assert main.main(["models", "get"]) == 0
    assert fetched == ["sam2-tiny", "depth-anything-v2"]
    assert read_settings().commercial is True


def test_without_a_terminal_it_must_be_said_beforehand(fetched, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main.main(["models", "get"]) == 1
    assert "Give --commercial yes or no" in capsys.readouterr().err
    assert main.main(["models", "get", "--commercial", "no"]) == 1
    assert "Give --yes" in capsys.readouterr().err
    assert main.main(["models", "get", "--yes"]) == 0
    assert read_settings().commercial is False
    assert main.main(["models", "get", "--yes", "depth-anything-v2-large"]) == 0
    assert fetched[-1] == "depth-anything-v2-large"


def test_non_commercial_weights_are_refused_for_commercial_use(fetched, capsys):
    command = ["models", "get", "--yes", "--commercial", "yes", "depth-anything-v2-large"]
    assert main.main(command) == 1
    assert "(CC BY-NC 4.0) is not for commercial use" in capsys.readouterr().err
    assert main.main(["models", "get", "--yes", "sora"]) == 1
    assert "sora is not offered" in capsys.readouterr().err
    assert not fetched


def test_missing_libraries_are_named_and_installed_in_their_pinned_versions(
    fetched, monkeypatch, capsys
):
    monkeypatch.setattr(models, "find_missing_modules", lambda entry: ["transformers"])
    ran = []

    def run(command, check):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(models.subprocess, "run", run)
    assert main.main(["models", "get", "--yes"]) == 0
    assert "transformers==5.23.0" in ran[0]
    assert "as transformers is missing, by pip: accelerate==" in capsys.readouterr().out
    assert fetched


def test_the_list_and_the_check_tell_what_is_here(fetched, tmp_path, capsys):
    put_weights(tmp_path / "data" / "restage4d" / "weights", "sam2-tiny")
    assert main.main(["models"]) == 0
    said = capsys.readouterr().out
    assert "here         sam2-tiny" in said
    assert "recommended  depth-anything-v2:" in said
    assert "-            depth-anything-v2-large" in said
    place = tmp_path / "data" / "restage4d" / "weights" / "sam2-tiny"
    whole = hashlib.sha256(b"x").hexdigest()
    (place / RECORD).write_text(json.dumps({"files": {"config.json": whole}}))
    assert main.main(["models", "check"]) == 0
    assert "sam2-tiny: whole" in capsys.readouterr().out
    (place / "config.json").write_bytes(b"y")
    assert main.main(["models", "check"]) == 1
    assert "sam2-tiny: damaged: config.json" in capsys.readouterr().out


def test_programs_are_told_in_json(fetched, monkeypatch, capsys):
    assert main.main(["models", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["commercial"] is None  # nobody was asked
    assert [(o["name"], o["gigabytes"], o["here"]) for o in told["offers"]] == [
        ("sam2-tiny", 0.16, False),
        ("depth-anything-v2", 0.1, False),
    ]
    assert told["libraries"] == []
    assert told["used"]["tracks"] == find_entry("tracks", WEIGHT_FREE.tracks).title
    assert main.main(["models", "--json", "--commercial", "no"]) == 0
    assert json.loads(capsys.readouterr().out)["commercial"] is False
    assert read_settings().commercial is False

    def fetch(entry, folder, advance):
        advance(entry.name, 5, 10)
        advance(entry.name, 6, 10)  # too soon to be told
        advance(entry.name, 10, 10)

    monkeypatch.setattr(models, "fetch_model", fetch)
    assert main.main(["models", "get", "--json", "--yes", "sam2-tiny"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"model": "sam2-tiny", "bytes": n, "size": 10} for n in (5, 10)]
    assert main.main(["models", "get", "--yes", "sam2-tiny"]) == 0
    assert "sam2-tiny: 0 of 0 MB" in capsys.readouterr().out
