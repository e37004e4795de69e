"""Runs tests/gpu, and those of the learned models, on an NVIDIA GPU: each file in a process of its
own, under a time limit."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODELS = (
    "test_learned_priors.py",
    "test_learned_geometry.py",
    "test_learned_contract.py",
    "test_driving_diffusion.py",
)
FILES = [*sorted((TESTS / "gpu").glob("test_*.py")), *(TESTS / name for name in MODELS)]
LIMIT = 600  # seconds; kernels are compiled at first use
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"
} | {"RESTAGE4D_TEST_GPU": "1"}


@cache
def obstacle() -> str:
    script = (
        "from restage4d.splatting import choose_drawing; c = choose_drawing(); "
        "print('' if c.device == 'cuda' else c.why)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    return (done.stdout.strip().splitlines() or [""])[-1]


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_on_the_gpu(file: Path) -> None:
    if obstacle():
        pytest.skip(f"no GPU to test on: {obstacle()}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        command,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
