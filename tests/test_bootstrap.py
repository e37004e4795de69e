"""Setting up: environments are real, but empty; what pip would install is not."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from restage4d.driving.draft.prompt import parse

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="a shell script")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script's part that makes environments, its checkout being an empty folder with a
    pyproject.toml that needs no packages."""
    module = load("setup_environment", monkeypatch)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    write_project(tmp_path, [])
    return module


@pytest.fixture
def bootstrap(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with that part; its demo clip is the real one."""
    with monkeypatch.context() as real:
        real.setattr(setup, "ROOT", ROOT)
        return load("bootstrap", monkeypatch)


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of scripts/, run anew."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def write_project(folder: Path, extra: list[str]) -> None:
    text = (
        '[project]\nname = "restage4d"\nversion = "0"\ndependencies = []\noptional-dependencies '
        f"= {{ x = {extra!r} }}\n"
    )
    (folder / "pyproject.toml").write_text(text)


@pytest.fixture
def environment(setup: ModuleType, tmp_path: Path):
    """An environment already made (without pip: nothing here installs) and stamped as right."""
    made = setup.Environment(tmp_path / ".venv", ("x",), "a test", 0)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.folder], check=True)
    goal = setup.compute_fingerprint([], setup.python_version(Path(sys.executable)))
    made.stamp.write_text(goal + "\n")
    return made


def ensure(setup: ModuleType, environment) -> None:
    setup.ensure(environment, Path(sys.executable))


def test_what_is_up_to_date_is_left_alone(setup, environment, capsys) -> None:
    ensure(setup, environment)
    assert capsys.readouterr().out == ""


def test_other_requirements_are_installed_into_it(
    setup, environment, tmp_path: Path, capfd
) -> None:
    write_project(tmp_path, ["some-package==1"])
    (environment.folder / "kept").touch()
    with pytest.raises(setup.SetupError, match="pip could not install"):  # as there is no pip in it
        ensure(setup, environment)
    out = capfd.readouterr().out
    assert "updating" in out
    assert "some-package==1" in out
    assert (environment.folder / "kept").exists()
    assert environment.stamp.read_text().strip() == setup.INSTALLING


def test_an_interrupted_installation_is_made_again(setup, environment, capfd) -> None:
    environment.stamp.write_text(setup.INSTALLING + "\n")
    (environment.folder / "half").touch()
    attempt(setup, environment)
    assert "interrupted" in capfd.readouterr().out
    assert not (environment.folder / "half").exists()


def test_an_environment_of_another_python_or_a_broken_one_is_made_again(
    setup, environment, capfd
) -> None:
    environment.stamp.write_text("old\n")
    environment.python.unlink()
    (environment.folder / "half").touch()
    attempt(setup, environment)
    assert "broken" in capfd.readouterr().out
    assert not (environment.folder / "half").exists()


def attempt(setup: ModuleType, environment) -> None:
    """Makes the environment anew for real, but without pip, so that the installation itself
    fails."""
    setup.make_venv = lambda made, python: subprocess.run(
        [python, "-m", "venv", "--without-pip", made.folder], check=True
    )
    with pytest.raises(setup.SetupError, match="pip could not install"):
        ensure(setup, environment)
    assert environment.stamp.read_text().strip() == setup.INSTALLING
    assert setup.python_version(environment.python) == setup.python_version(Path(sys.executable))


def test_one_made_by_hand_is_taken_over_only_with_every_pin_in_place(
    setup, environment, tmp_path: Path
) -> None:
    site = next(
        environment.folder.glob("lib/python*/site-packages"),
        environment.folder / "Lib" / "site-packages",
    )
    (site / "restage4d.py").touch()
    (site / "thing-1.0.dist-info").mkdir()
    (site / "thing-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: thing\nVersion: 1.0+cpu\n"
    )
    assert setup.is_installed(environment.python, ["thing[extra]==1.0", "loose>=2"])
    assert not setup.is_installed(environment.python, ["thing==1.1"])
    assert not setup.is_installed(environment.python, ["thing==1.0", "absent==1"])
    write_project(tmp_path, ["thing==1.0"])
    environment.stamp.unlink()
    ensure(setup, environment)
    assert environment.stamp.read_text().strip() != setup.INSTALLING


def test_the_fingerprint_changes_with_all_that_matters(setup, monkeypatch) -> None:
    prints = {
        setup.compute_fingerprint(["a==1"], "3.11"),
        setup.compute_fingerprint(["a==2"], "3.11"),
        setup.compute_fingerprint(["a==1"], "3.12"),
    }
    monkeypatch.setattr(setup, "ROOT", Path("/elsewhere"))
    prints.add(setup.compute_fingerprint(["a==1"], "3.11"))
    assert len(prints) == 4


def test_the_projects_own_pins_are_exact(setup, monkeypatch) -> None:
    monkeypatch.setattr(setup, "ROOT", ROOT)
    for environment in (setup.MAIN, setup.BLENDER):
        loose = [line for line in setup.read_requirements(environment.extras) if "==" not in line]
        assert loose == ["numpy>=1.26,<3"]  # of the package itself, which lives in both


@pytest.mark.parametrize("driver", [None, "/usr/bin/nvidia-smi"])
def test_gsplat_and_warp_are_installed_where_there_is_an_nvidia_gpu(
    setup, monkeypatch, driver
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: driver if name == "nvidia-smi" else None)
    setup.__spec__.loader.exec_module(setup)
    monkeypatch.setattr(setup, "ROOT", ROOT)
    for environment in (setup.MAIN, setup.BACKEND):
        wanted = setup.read_requirements(environment.extras)
        for package in ("gsplat", "warp-lang"):
            pinned = any(line.startswith(f"{package}==") for line in wanted)
            assert pinned or driver is None
    backend = setup.read_requirements(setup.BACKEND.extras)
    assert any(line.startswith("warp-lang==") for line in backend) == (driver is not None)


@pytest.mark.parametrize("reached", [True, False])
def test_torch_comes_first_in_the_build_that_the_driver_can_run(
    setup, environment, tmp_path, monkeypatch, capfd, reached
) -> None:
    from restage4d.providers.nvidia_driver import TorchBuild

    build = TorchBuild("cu128", "the build for CUDA 12.8: a card")
    monkeypatch.setattr(setup, "choose_torch_build", lambda: build)
    commands = []

    def install(made, *arguments: str) -> bool:
        commands.append(arguments)
        return reached or "--index-url" not in arguments

    monkeypatch.setattr(setup, "install", install)
    write_project(tmp_path, ["torch==2.13.0"])
    ensure(setup, environment)
    index = "https://download.pytorch.org/whl/cu128"
    assert commands[0] == ("--retries", "1", "--index-url", index, "torch==2.13.0+cu128")
    assert commands[1][0] == "--editable"
    out, err = capfd.readouterr()
    assert "PyTorch: the build for CUDA 12.8: a card." in out
    assert ("may not use the GPU" in err) != reached
    ensure(setup, environment)
    assert len(commands) == 2  # it is right as it is
    build = TorchBuild("cu130", "a newer driver")
    ensure(setup, environment)
    assert commands[2][-1] == "torch==2.13.0+cu130"


def test_the_set_up_reads_the_driver_with_nothing_installed(setup, monkeypatch) -> None:
    monkeypatch.setattr(setup, "ROOT", ROOT)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert "nvidia-smi finds no NVIDIA GPU" in setup.choose_torch_build().why


def test_a_full_disk_is_told_before_work_starts(setup, tmp_path: Path) -> None:
    greedy = setup.Environment(tmp_path / ".venv", ("x",), "a test", 1e9)
    with pytest.raises(setup.SetupError, match=r"GiB are free"):
        ensure(setup, greedy)
    assert not greedy.folder.exists()


def test_an_old_python_is_refused_with_a_sentence(setup) -> None:
    with pytest.raises(setup.SetupError, match=r"This is Python 3\.10; .*3\.11 or newer\. Install"):
        setup.check_python((3, 10))


def test_a_python_that_does_not_run(setup, environment, tmp_path: Path) -> None:
    assert setup.python_version(tmp_path / "none") is None
    with pytest.raises(setup.SetupError, match="does not run"):
        setup.ensure(environment, tmp_path / "none")


def test_without_python_311_tests_are_refused_and_runs_are_warned(
    bootstrap, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(bootstrap, "find_python", lambda version: None)
    monkeypatch.setattr(bootstrap, "ensure", lambda *a: None)
    bootstrap.set_up(blender_required=False)
    assert "no .blend file" in capsys.readouterr().err
    with pytest.raises(bootstrap.SetupError, match=r"Python 3\.11, which was not found\. Install"):
        bootstrap.set_up(blender_required=True)


def test_newer_blenders_are_for_tests_where_their_python_is(bootstrap, monkeypatch, capsys) -> None:
    made = []
    monkeypatch.setattr(bootstrap, "find_python", lambda version: Path(version))
    monkeypatch.setattr(bootstrap, "ensure", lambda e, python: made.append((e.folder.name, python)))
    monkeypatch.setattr(bootstrap, "ensure_libraries", lambda packages: None)
    bootstrap.set_up(blender_required=False)
    assert [name for name, _ in made] == [".venv", ".venv-blender"]
    made.clear()
    bootstrap.set_up(blender_required=True)
    python313 = Path("3.13")
    assert made[2:] == [(".venv-blender-lts", python313), (".venv-blender-newest", python313)]
    monkeypatch.setattr(
        bootstrap, "find_python", lambda version: None if version == "3.13" else Path(version)
    )
    bootstrap.set_up(blender_required=True)
    said = capsys.readouterr().err
    assert "Python 3.13 was not found. Tests with .venv-blender-lts are left out." in said
    assert "Tests with .venv-blender-newest are left out." in said


def test_the_blenders_of_the_tests_are_those_that_the_page_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    blenders = [extras[name][0] for name in ("blender", "blender-lts", "blender-newest")]
    assert [b[: b.rindex(".")] for b in blenders] == ["bpy==4.5", "bpy==5.2", "bpy==5.3"]


@posix
def test_missing_system_libraries_name_the_packages_and_the_command(setup, monkeypatch) -> None:
    monkeypatch.setattr(setup, "LIBRARIES", {"libno-such-thing.so.1": "libno-such-thing1"})
    assert "libno-such-thing1" in setup.find_missing_packages()
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(
        setup.SetupError, match=r"Run: sudo apt-get install -y --no-install-recommends a b;"
    ):
        setup.install_packages(["a", "b"], "Blender's Python module lacks system libraries")
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.SetupError, match="what your system calls these Debian packages: a b"):
        setup.install_packages(["a", "b"], "Why")


def test_the_demo_stands_in_for_a_missing_video(bootstrap) -> None:
    demo = bootstrap.add_demo([])
    assert demo[0].endswith("base.mp4")
    assert demo[1] == bootstrap.DEMO_PROMPT
    assert all(Path(demo[i]).exists() for i in (0, 3)), demo
    assert parse(demo[1]).actions
    assert bootstrap.add_demo(["--out", "x"]) == [*demo, "--out", "x"]
    assert bootstrap.add_demo(["a.mp4", "it jumps", "--out", "x"]) == [
        "a.mp4",
        "it jumps",
        "--out",
        "x",
    ]
    assert bootstrap.add_demo(["--help"]) == ["--help"]


def test_a_program_ends_with_its_own_code(bootstrap) -> None:
    assert bootstrap.call([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_an_unknown_command_shows_the_usage() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bootstrap.py", "fly"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "bootstrap.py run" in done.stderr


@posix
@pytest.mark.parametrize("name", ["run", "test"])
def test_the_wrappers_pass_over_old_pythons(tmp_path: Path, name: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "")
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["/bin/sh", str(ROOT / "scripts" / f"{name}.sh"), "a b", "c"]
    done = subprocess.run(
        command, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer was not found" in done.stderr
    new = tools / "python3.12"
    new.write_text('#!/bin/sh\n[ "$1" = -c ] || for word; do echo "<$word>"; done\n')
    new.chmod(0o755)
    done = subprocess.run(
        command, env={"PATH": str(tools)}, capture_output=True, text=True, check=True
    )
    script, *rest = done.stdout.split("\n")[:-1]
    assert script.endswith("scripts/bootstrap.py>")
    assert rest == [f"<{name}>", "<a b>", "<c>"]


def test_the_windows_twins_say_the_same_and_have_windows_line_ends() -> None:
    for name in ("run", "test"):
        data = (ROOT / "scripts" / f"{name}.bat").read_bytes()
        assert data.count(b"\n") == data.count(b"\r\n")
        assert f'bootstrap.py" {name} %*'.encode() in data


def test_the_backend_uses_an_environment_that_is_right_whichever_python_made_it(
    setup, bootstrap, environment, monkeypatch
) -> None:
    monkeypatch.setattr(bootstrap, "MAIN", environment)
    monkeypatch.setattr(
        bootstrap, "BACKEND", setup.Environment(environment.folder, (), "a test", 0)
    )
    called = []
    monkeypatch.setattr(bootstrap, "call", lambda command, cwd=None: called.append(command) or 0)
    monkeypatch.setattr(bootstrap, "ensure", lambda *a: pytest.fail("nothing is to be set up"))
    assert bootstrap.main(["serve", "--port", "7000"]) == 0
    assert called == [[environment.python, "-m", "backend", "--port", "7000"]]


def test_the_backend_is_set_up_without_test_tools_where_there_is_none(
    setup, bootstrap, tmp_path: Path, monkeypatch
) -> None:
    for name, extras in (("MAIN", ("backend", "dev")), ("BACKEND", ("backend",))):
        monkeypatch.setattr(
            bootstrap, name, setup.Environment(tmp_path / ".venv", extras, "a test", 0)
        )
    made = []
    monkeypatch.setattr(
        bootstrap, "ensure", lambda environment, python: made.append(environment.extras)
    )
    monkeypatch.setattr(bootstrap, "call", lambda command, cwd=None: 0)
    assert bootstrap.main(["serve"]) == 0
    assert made == [("backend",)]


@posix
def test_the_launchers_start_the_backend() -> None:
    for name in ("start_backend.sh", "start_backend.command"):
        path = ROOT / "scripts" / name
        assert os.access(path, os.X_OK), name
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    assert 'bootstrap.py" serve' in (ROOT / "scripts" / "start_backend.bat").read_text()
