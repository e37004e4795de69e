"""What nvidia-smi prints, and which build of PyTorch follows from it."""

import subprocess
from unittest.mock import MagicMock

import pytest

from backend.jobs import executors
from restage4d.providers import nvidia_driver
from restage4d.providers.nvidia_driver import (
    Gpu,
    choose_torch_build,
    parse_driver,
    read_driver,
)

# The first lines of nvidia-smi's page as drivers of these versions print them.
BANNERS = {
    "450": "| NVIDIA-SMI 450.80.02    Driver Version: 450.80.02    CUDA Version: 11.0     |",
    "530": """\
Sat Apr 29 08:49:28 2023
+---------------------------------------------------------------------------------------+
| NVIDIA-SMI 530.30.02              Driver Version: 530.30.02    CUDA Version: 12.1     |
|-----------------------------------------+----------------------+----------------------+
| GPU  Name                  Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |""",
    "560": """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 560.81                 Driver Version: 560.81         CUDA Version: 12.6     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                  Driver-Model | Bus-Id          Disp.A | Volatile Uncorr. ECC |""",
    "570": "| NVIDIA-SMI 570.86.15     Driver Version: 570.86.15     CUDA Version: 12.8     |",
    "580": """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.126.09             Driver Version: 580.126.09     CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+""",
    "610": """\
Wed Sep 30 21:53:38 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+""",
}
RTX4090 = "NVIDIA GeForce RTX 4090, 24564, 8.9"
RTX5060 = "NVIDIA GeForce RTX 5060, 8151, 12.0"
GTX1080 = "NVIDIA GeForce GTX 1080, 8192, 6.1"
V100 = "Tesla V100-SXM2-16GB, 16384, 7.0"
T4 = "Tesla T4, 15360, 7.5"
K80 = "Tesla K80, 11441, 3.7"


@pytest.mark.parametrize(
    ("banner", "table", "tag", "says"),
    [
        ("530", RTX4090, "cu126", "CUDA 12.6: NVIDIA GeForce RTX 4090, whose driver supports"),
        ("560", RTX4090, "cu126", "supports CUDA 12.6"),
        ("570", RTX4090, "cu128", "supports CUDA 12.8"),
        ("580", T4, "cu130", "supports CUDA 13.0"),
        ("610", RTX5060, "cu130", "supports CUDA 13.3"),
        ("580", GTX1080, "cu126", "GTX 1080"),
        ("570", V100, "cu126", "V100"),
        ("570", RTX5060, "cu128", "RTX 5060"),
        ("560", RTX5060, "cpu", "needs 12.8. Update the driver"),
        ("450", T4, "cpu", "Update the driver"),
        ("560", K80, "cpu", "no longer supports Tesla K80"),
        ("580", f"{GTX1080}\n{RTX4090}", "cu130", "RTX 4090"),
        ("530", "Quadro, 8192", "cu126", "Quadro"),
    ],
)
def test_the_build_is_the_newest_that_the_driver_and_the_card_can_run(banner, table, tag, says):
    for system, machine in (("Linux", "x86_64"), ("Windows", "AMD64")):
        build = choose_torch_build(parse_driver(BANNERS[banner], table), system, machine)
        # on Windows the public index's own build is for CPUs
        assert build.tag == ("" if tag == "cpu" and system == "Windows" else tag)
        assert says in build.why
    assert choose_torch_build(None, "Linux", "x86_64").tag == "cpu"


def test_elsewhere_the_public_index_has_the_build():
    for system, machine in (("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")):
        assert choose_torch_build(None, system, machine).tag == ""
    grace = parse_driver(BANNERS["580"], "NVIDIA GH200 480GB, 97871, 9.0")
    assert choose_torch_build(grace, "Linux", "aarch64").tag == ""


def test_every_card_is_read_and_what_is_no_card_is_not():
    driver = parse_driver(BANNERS["580"], f"{RTX4090}\n{T4}\nNo devices were found\n[N/A], [N/A]\n")
    assert driver is not None
    assert driver.cuda == (13, 0)
    assert driver.gpus == (
        Gpu("NVIDIA GeForce RTX 4090", 24564 * 2**20, (8, 9)),
        Gpu("Tesla T4", 15360 * 2**20, (7, 5)),
    )
    assert parse_driver(BANNERS["580"], "No devices were found\n") is None


def test_a_driver_that_does_not_answer_is_none(monkeypatch):
    for error in (
        FileNotFoundError("nvidia-smi"),
        subprocess.CalledProcessError(9, "nvidia-smi", "NVIDIA-SMI has failed because it couldn't"),
        subprocess.TimeoutExpired("nvidia-smi", 10),
    ):
        run = MagicMock(side_effect=error)
        monkeypatch.setattr(nvidia_driver.subprocess, "run", run)
        assert read_driver() is None


def test_an_old_driver_that_knows_no_compute_capability_is_asked_again(monkeypatch):
    def run(command, **options):
        if any("compute_cap" in word for word in command):
            raise subprocess.CalledProcessError(2, command, 'Field "compute_cap" is not a valid')
        out = BANNERS["450"] if len(command) == 1 else "Tesla T4, 15109"
        return subprocess.CompletedProcess(command, 0, out)

    monkeypatch.setattr(nvidia_driver.subprocess, "run", run)
    driver = read_driver()
    assert driver is not None
    assert driver.gpus == (Gpu("Tesla T4", 15109 * 2**20, (0, 0)),)
    assert driver.cuda == (11, 0)


def test_the_service_tells_what_its_gpus_do(monkeypatch):
    ask = subprocess.run

    def run(command, **options):
        if command[0] != "nvidia-smi":
            return ask(command, **options)
        out = "GPU-1, a card, 8192\nGPU-2, a card, 8192\n"
        return subprocess.CompletedProcess(command, 0, out)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(executors.subprocess, "run", run)
    gpus = executors.list_gpus()
    assert [g.visible for g in gpus] == ["GPU-1", "GPU-2"]
    devices = [g.device for g in gpus]
    assert [(d.kind, d.name, d.memory) for d in devices] == [("cuda", "a card", 8 * 2**30)] * 2
    # what another process says, in which there is no GPU
    assert devices[0].drawing.startswith("on the CPU: torch finds no NVIDIA GPU")
