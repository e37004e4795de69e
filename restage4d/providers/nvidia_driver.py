"""NVIDIA's driver as `nvidia-smi` tells of it, and which build of PyTorch it can run. Standard
library only: the set-up loads this file before anything is installed.

Builds and the compute capabilities that they are made for: PyTorch's matrix for release 2.11 and
newer (github.com/pytorch/pytorch, RELEASE.md): CUDA 12.6 for 5.0 to 9.0, 12.8 and 13.0 for 7.5 to
12.0. A build of CUDA 12 runs on any driver of CUDA 12.0 or newer (NVIDIA's minor version
compatibility).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

INDEX = "https://download.pytorch.org/whl/"


@dataclass(frozen=True)
class Gpu:
    """``compute`` is the compute capability, (0, 0) where the driver does not tell; ``memory`` in
    bytes."""

    name: str
    memory: int
    compute: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """``cuda`` is the newest CUDA version that it supports."""

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class TorchBuild:
    """``tag`` is the last part of the wheel index and of the version ("cu128", "cpu"), "" for the
    public index's own build; ``why`` is for a person."""

    tag: str
    why: str

    @property
    def index(self) -> str:
        return INDEX + self.tag


def read_driver() -> Driver | None:
    """This computer's driver; None where there is none or it lists no GPU."""
    banner = _ask()
    if banner is None:
        return None
    table = _ask("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")
    if table is None:  # a driver that does not know of compute capabilities
        table = _ask("--query-gpu=name,memory.total", "--format=csv,noheader,nounits") or ""
    return parse_driver(banner, table)


def _ask(*options: str) -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", *options], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def parse_driver(banner: str, table: str) -> Driver | None:
    """What `nvidia-smi` printed.

    Args:
        banner: its own page, with "CUDA Version: 12.6" or, of newer drivers, "CUDA UMD Version".
        table: a line "name, MiB of memory[, compute capability]" for each GPU.
    """
    found = re.search(r"CUDA(?: \w+)? Version\s*:\s*(\d+)\.(\d+)", banner)
    gpus = []
    for line in table.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split(","))
        if not cells or not re.fullmatch(r"[\d.]+", cells[0]):
            continue
        compute = re.fullmatch(r"(\d+)\.(\d+)", cells[1]) if len(cells) > 1 else None
        capability = (int(compute[1]), int(compute[2])) if compute else (0, 0)
        gpus.append(Gpu(name, int(float(cells[0]) * 2**20), capability))
    if not gpus:
        return None
    return Driver((int(found[1]), int(found[2])) if found else (0, 0), tuple(gpus))


def choose_torch_build(driver: Driver | None, system: str, machine: str) -> TorchBuild:
    """The build of PyTorch that the driver can run on the best of its GPUs.

    Args:
        driver: of `read_driver`.
        system, machine: as `platform.system` and `platform.machine` name them.
    """
    # Elsewhere than on Linux the public index's own builds are for CPUs.
    cpu = "cpu" if system == "Linux" and machine == "x86_64" else ""
    if driver is None:
        return TorchBuild(cpu, "the build for CPUs: nvidia-smi finds no NVIDIA GPU")
    if (system, machine.lower()) not in (("Linux", "x86_64"), ("Windows", "amd64")):
        return TorchBuild("", f"the public index's build: there is no other for {system} {machine}")
    best = max(driver.gpus, key=lambda gpu: gpu.compute)
    version = ".".join(map(str, driver.cuda))
    about = f"{best.name}, whose driver supports CUDA {version}"
    known = best.compute != (0, 0)
    if driver.cuda < (12, 0):
        return TorchBuild(cpu, f"the build for CPUs: {about}. Update the driver to use the GPU")
    if known and best.compute < (5, 0):
        return TorchBuild(cpu, f"the build for CPUs: PyTorch no longer supports {best.name}")
    if known and best.compute >= (10, 0) and driver.cuda < (12, 8):
        return TorchBuild(
            cpu, f"the build for CPUs: {about}, and needs 12.8. Update the driver to use the GPU"
        )
    if known and best.compute < (7, 5):
        tag = "cu126"  # the last one made for it
    else:
        tag = next(
            tag
            for least, tag in (((13, 0), "cu130"), ((12, 8), "cu128"), ((12, 0), "cu126"))
            if driver.cuda >= least
        )
    return TorchBuild(tag, f"the build for CUDA {tag[2:4]}.{tag[4:]}: {about}")
