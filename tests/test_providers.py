"""Choosing providers on the command line, the settings file, and what the doctor says."""

import argparse
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from restage4d.cli import main, provider_options
from restage4d.cli import run as run_command
from restage4d.cli.computer import doctor
from restage4d.defaults import DRAFT_DRIVER, WEIGHT_FREE, PriorNames
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.errors import InputError
from restage4d.jobs import provider_factory, restaging
from restage4d.jobs.provider_choice import DriverChoice, ProviderChoice
from restage4d.providers.entry import Entry
from restage4d.providers.nvidia_driver import Driver, Gpu
from restage4d.providers.registry import ENTRIES, describe_terms, find_entry
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights, find_missing_files
from restage4d.splatting.choice import DrawingChoice

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("WEIGHTS", "DOWNLOAD", "DA3_PYTHON", "REFINE_URL", "REFINE_MODEL"):
        monkeypatch.delenv(f"RESTAGE4D_{name}", raising=False)
    monkeypatch.setenv("RESTAGE4D_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def parsed(*words: str) -> ProviderChoice:
    parser = argparse.ArgumentParser()
    provider_options.add(parser)
    return provider_options.read(parser.parse_args(words))


def test_the_command_line_says_who_makes_what():
    assert parsed() == ProviderChoice()
    found = parsed(
        "--masks",
        "sam2",
        "--driver",
        "veo",
        "--driver-seconds",
        "8",
        "--candidates",
        "3",
        "--pick",
        "2",
    )
    assert found.priors == PriorNames(masks="sam2")
    assert found.driver == DriverChoice("veo", seconds=8, candidates=3, pick=2)
    assert not found.driver.is_draft
    with pytest.raises(InputError, match="--candidates 99"):
        parsed("--candidates", "99")


def job(tmp_path: Path, *words: str) -> restaging.RestagingJob:
    return restaging.RestagingJob(Path("v"), "p", tmp_path, seed=3, choice=parsed(*words))


def test_without_a_choice_the_draft_driver_acts(tmp_path):
    assert isinstance(restaging.make_driver(job(tmp_path), Weights()), KinematicDriving)


def test_auto_takes_the_best_candidate_and_else_the_artist_is_asked(tmp_path, monkeypatch):
    asked: list[dict] = []
    monkeypatch.setattr(restaging, "run", lambda job, progress, **given: asked.append(given))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: "2")
    assert main.main(["run", "v", "p", "--candidates", "3"]) == 0
    assert main.main(["run", "v", "p", "--candidates", "3", "--auto"]) == 0
    assert asked[0]["choose"]("the table") == 2
    assert asked[1]["choose"] is None  # BestOf then takes the best by score
    monkeypatch.setattr("builtins.input", lambda text: "")
    assert run_command.ask_candidate("the table") == 0


def test_the_defaults_are_in_the_catalogue_and_need_nothing():
    chosen = {**vars(WEIGHT_FREE), "driving": DRAFT_DRIVER}
    assert chosen.keys() == {e.kind for e in ENTRIES}
    for kind, name in chosen.items():
        found = find_entry(kind, name)
        assert (found.files, found.modules, found.key, found.get) == ((), (), "", "")


def test_every_entry_has_a_maker_and_no_other_is_taken_for_it(monkeypatch, tmp_path):
    defaults = {*vars(WEIGHT_FREE).items(), *vars(PriorNames()).items()}
    entries = {(e.kind, e.name) for e in ENTRIES if e.kind != "driving"}
    assert provider_factory.PRIOR_MAKERS.keys() == entries - defaults
    hosted = {e.name for e in ENTRIES if e.key}
    assert hosted == {"veo", "runway"}
    new = Entry("depth", "new-depth", "a new one", "MIT")
    monkeypatch.setattr(provider_factory, "find_entry", lambda kind, name: new)
    with pytest.raises(InputError, match=r"new-depth \(depth\) is in the catalogue, but nothing"):
        provider_factory.make_prior_providers(PriorNames(depth="new-depth"), Weights(tmp_path))
    service = Entry("driving", "new-service", "a new one", "MIT", key="NEW_KEY")
    monkeypatch.setattr(provider_factory, "find_entry", lambda kind, name: service)
    monkeypatch.setenv("NEW_KEY", "x")
    with pytest.raises(InputError, match=r"new-service \(driving\) is in the catalogue"):
        provider_factory.make_driving_provider(DriverChoice("new-service"), Weights(tmp_path))


def test_a_wrong_choice_ends_the_run_before_work_starts(tmp_path, capsys):
    from restage4d.io.video import encode

    clip = tmp_path / "v.mp4"
    encode(clip, [np.zeros((48, 64, 3), np.uint8)] * 3, 12.0)
    for option, value in (
        ("--masks", "sam9"),
        ("--depth", "sam2"),
        ("--driver", "sora"),
        ("--cameras", "gone.npz"),
    ):
        assert (
            main.main(["run", str(clip), "it jumps", "--out", str(tmp_path / "out"), option, value])
            == 1
        )
        said = capsys.readouterr().err
        assert value in said
        assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*.puppet"))


def test_settings_come_from_the_file_and_the_environment_overrules(tmp_path, monkeypatch):
    (tmp_path / "settings.toml").write_text('weights = "/models"\ndownload = true\n')
    assert (read_settings().weights, read_settings().download) == ("/models", True)
    monkeypatch.setenv("RESTAGE4D_WEIGHTS", "/others")
    monkeypatch.setenv("RESTAGE4D_DOWNLOAD", "0")
    assert (read_settings().weights, read_settings().download) == ("/others", False)
    assert Weights.from_settings(Path("/mine"), False) == Weights(Path("/mine"), False)
    for text, match in (
        ("weight = 'x'", "no setting 'weight'"),
        ("download = 'yes'", "download is not a bool"),
        ("= 3", "cannot be read"),
    ):
        (tmp_path / "settings.toml").write_text(text)
        with pytest.raises(InputError, match=match):
            read_settings()


def test_weights_are_found_by_name_by_the_hubs_name_or_where_they_are(tmp_path):
    sam = find_entry("masks", "sam2")
    for place in ("sam2", "sam2.1-hiera-large", "."):
        folder = tmp_path / place.replace(".", "_") / place
        folder.mkdir(parents=True)
        for name in sam.files:
            (folder / name).write_bytes(b"x")
        assert Weights(tmp_path / place.replace(".", "_")).find_local(sam) == folder
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    (pieces / "config.json").write_bytes(b"x")
    assert find_missing_files(pieces, sam.files) == ["model.safetensors"]
    (pieces / "model.safetensors.index.json").write_bytes(b"x")  # a large model in several files
    assert not find_missing_files(pieces, sam.files)


def test_the_doctor_says_where_fits_run_and_why(monkeypatch):
    card = SimpleNamespace(name="a card", total_memory=24 * 2**30)
    why = DrawingChoice("cuda", "warp", "on a card by Warp: gsplat finds no CUDA toolkit")
    monkeypatch.setattr("restage4d.splatting.choice.expect_drawing", lambda: why)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    assert doctor._graphics() == (
        "a card, 24 GiB; models run there; fits run on a card by Warp: gsplat finds no CUDA toolkit"
    )


@pytest.mark.parametrize(
    ("cuda", "says"),
    [
        (None, "no NVIDIA GPU; models run on the CPU"),
        ((12, 8), r"a card, but this torch \(.*\) cannot use it. Run the set-up again: .* 12.8"),
        ((11, 4), "a card, but it stays idle: .* Update the driver"),
    ],
)
def test_the_doctor_tells_a_gpu_that_torch_cannot_use(cuda, says, monkeypatch):
    driver = cuda and Driver(cuda, (Gpu("a card", 24 * 2**30, (8, 9)),))
    monkeypatch.setattr(doctor, "read_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    said = doctor._graphics()
    assert re.match(says, said)
    assert "fits run on the CPU: torch finds no NVIDIA GPU" in said


def test_the_doctor_lists_every_provider_with_what_it_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GOOGLE_API_KEY", "a-secret-key-of-mine")
    monkeypatch.setenv("RUNWAYML_API_SECRET", "")
    monkeypatch.setattr("keyring.get_password", lambda service, name: None)
    sam = tmp_path / "weights" / "sam2"
    sam.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (sam / name).write_bytes(b"x")
    monkeypatch.setenv("RESTAGE4D_WEIGHTS", str(tmp_path / "weights"))
    assert main.main(["doctor"]) == 0
    said = capsys.readouterr().out
    for found in ENTRIES:
        assert re.search(rf"(ready|missing) +{re.escape(found.name)} ", said), found.name
        assert found.licence in said
        line = next(
            text
            for text in said.splitlines()
            if re.match(
                rf"  (ready|missing) +{re.escape(found.name)} +{re.escape(found.title)}", text
            )
        )
        assert (f"{found.size:g} GB" in line) == (found.size > 0)
        assert (f"{found.memory:g} GB on the GPU" in line) == (found.memory > 0)
        assert ("NOT for everybody's commercial use" in line) == (not found.commercial)
    ready = set(re.findall(r"ready +(\S+)", said))
    assert {"grabcut", "sfm", "relief", "flow", "kinematic"} <= ready
    assert ("sam2" in ready) == ("transformers" not in said.split("sam2-tiny")[0].split("Masks")[1])
    assert f"into {tmp_path / 'weights' / 'depth-anything-v2'}" in said
    assert "keyring set restage4d RUNWAYML_API_SECRET" in said
    assert "a-secret-key-of-mine" not in said


def test_the_catalogue_is_whole():
    assert len({(e.kind, e.name) for e in ENTRIES}) == len(ENTRIES)
    for found in ENTRIES:
        assert found.licence
        if found.files:
            assert found.size > 0
            assert found.memory > 0
            assert found.repo or found.get
        if found.key:
            assert "sent to" in describe_terms(found)
        if not found.commercial:
            assert found.licence in describe_terms(found)
    page = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    assert all(f"`{e.name}`" in page or e.name in page for e in ENTRIES if e.files or e.key)
