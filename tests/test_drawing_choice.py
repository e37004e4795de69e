"""Which device and which kernels draw, and what is said about it."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from restage4d.splatting import choice, gsplat_backend, warp_backend


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A GPU that torch can use, beside nothing else: no gsplat, no toolkit, no Warp."""
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gsplat_backend, "find_spec", lambda name: None)
    monkeypatch.setattr(gsplat_backend, "find_toolkit", lambda: "/usr/local/cuda")
    monkeypatch.setattr(warp_backend, "find_spec", lambda name: None)
    monkeypatch.setattr(choice, "version", lambda name: "1")
    cached = (
        gsplat_backend.obstacle,
        warp_backend.obstacle,
        choice.choose_drawing,
        choice.drawing_device,
    )
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def give_gsplat(monkeypatch, compiled: object) -> None:
    """gsplat, whose kernels are ``compiled``: an error where they cannot be."""

    class Backend(ModuleType):
        def __getattr__(self, name: str):
            if name == "_C" and isinstance(compiled, Exception):
                raise compiled
            return compiled if name == "_C" else super().__getattribute__(name)

    package = SimpleNamespace(submodule_search_locations=[])
    monkeypatch.setattr(gsplat_backend, "find_spec", lambda name: package)
    for name, module in (
        ("gsplat", ModuleType("gsplat")),
        ("gsplat.cuda", ModuleType("gsplat.cuda")),
        ("gsplat.cuda._backend", Backend("gsplat.cuda._backend")),
    ):
        monkeypatch.setitem(sys.modules, name, module)


def give_warp(monkeypatch, error: Exception | None = None, driver: bool = True) -> list[str]:
    """Warp; returns the devices that kernels are compiled for."""
    made = []

    def compile_kernels(device: str) -> None:
        if error:
            raise error
        made.append(device)

    monkeypatch.setattr(warp_backend, "find_spec", lambda name: name)
    monkeypatch.setattr(
        warp_backend, "_warp", lambda: SimpleNamespace(is_cuda_available=lambda: driver)
    )
    monkeypatch.setattr(warp_backend, "compile_kernels", compile_kernels)
    return made


def test_without_a_gpu_the_cpu_draws_and_it_is_no_news(monkeypatch, recwarn):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = []
    chosen = choice.prepare_drawing(said.append)
    assert (chosen.device, chosen.backend) == ("cpu", "cpu")
    assert "torch finds no NVIDIA GPU" in chosen.why
    assert choice.drawing_device() == "cpu"
    assert not said
    assert not recwarn.list


def test_gsplat_draws_where_it_can(card, monkeypatch):
    give_gsplat(monkeypatch, object())
    give_warp(monkeypatch)
    assert choice.expect_drawing() == choice.DrawingChoice("cuda", "gsplat", "on a card by gsplat")
    said = []
    assert choice.prepare_drawing(said.append).backend == "gsplat"
    assert said == [
        "Compiling gsplat's kernels for this GPU, once: this takes minutes.",
        "Gaussians are drawn and fitted on a card by gsplat.",
    ]


@pytest.mark.parametrize(
    ("gsplat", "reason"),
    [
        ("absent", "gsplat is not installed"),
        ("no toolkit", "no CUDA toolkit"),
        ("not made", "no CUDA toolkit"),
        ("broken", "could not be compiled: nvcc fatal"),
    ],
)
def test_warp_draws_where_gsplat_cannot(card, monkeypatch, recwarn, gsplat, reason):
    if gsplat != "absent":
        compiled = RuntimeError("nvcc fatal\nmore") if gsplat == "broken" else None
        give_gsplat(monkeypatch, compiled)
    if gsplat == "no toolkit":
        monkeypatch.setattr(gsplat_backend, "find_toolkit", lambda: None)
    made = give_warp(monkeypatch)
    said = []
    chosen = choice.prepare_drawing(said.append)
    assert (chosen.device, chosen.backend) == ("cuda", "warp")
    assert chosen.why.startswith("on a card by Warp: gsplat")
    assert reason in chosen.why
    assert made == ["cuda"]
    assert "Compiling warp-lang's kernels for this GPU, once: this takes about a minute." in said
    assert choice.drawing_device() == "cuda"
    assert len(said) == len(set(said))
    assert not recwarn.list  # what was said before is no warning again


def test_kernels_are_compiled_once_with_one_message(card, monkeypatch):
    give_warp(monkeypatch)
    said = []
    choice.prepare_drawing(said.append)
    for function in (warp_backend.obstacle, choice.choose_drawing):
        function.cache_clear()  # as another process starts
    choice.prepare_drawing(said.append)
    assert [text.split()[0] for text in said] == ["Compiling", "Gaussians", "Gaussians"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "another card")
    for function in (warp_backend.obstacle, choice.choose_drawing):
        function.cache_clear()
    with pytest.warns(UserWarning, match="Compiling warp-lang's kernels"):
        choice.choose_drawing()  # without `prepare_drawing` it is not silent either


@pytest.mark.parametrize(
    ("warp", "reason"),
    [
        ("absent", "Warp is not installed"),
        ("old driver", "update NVIDIA's driver"),
        ("broken", "could not be compiled: NVRTC failed"),
    ],
)
def test_a_gpu_that_nothing_can_use_stays_idle_and_it_is_said_why(card, monkeypatch, warp, reason):
    if warp != "absent":
        error = RuntimeError("NVRTC failed\nmore") if warp == "broken" else None
        give_warp(monkeypatch, error, driver=warp != "old driver")
    said = f"on the CPU, not on a card: gsplat is not installed.*; .*{reason}"
    with pytest.warns(UserWarning, match=said):
        assert choice.drawing_device() == "cpu"
    assert choice.expect_drawing().device == ("cpu" if warp == "absent" else "cuda")
