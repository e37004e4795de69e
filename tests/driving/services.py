"""Hosted video services whose official SDKs talk to a local server that replays the documented
replies."""

import time
from pathlib import Path

import cv2
import numpy as np
from stub_server import Stub

from restage4d.driving.framing import fit_into
from restage4d.io.video import encode

SECRET = "sk-a-secret-that-must-stay-one-1234567890"
W, H = 96, 64
MASK = np.zeros((H, W), bool)
MASK[20:50, 36:60] = True


MODEL = "publishers/google/models/veo-3.1-fast-generate-001"
NUMBER = f"projects/p/locations/global/{MODEL}/operations/abc123"
START, STATE = (
    f"/v1beta1/{MODEL}:predictLongRunning",
    f"/v1beta1/projects/p/locations/global/{MODEL}:fetchPredictOperation",
)


def textured() -> np.ndarray:
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.integers(0, 255, (H, W, 3)).astype(np.float32), (0, 0), 2.5)
    frame = np.clip((soft - soft.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    frame[MASK] = (frame[MASK] * 0.4 + np.array([150, 20, 20])).clip(0, 255).astype(np.uint8)
    return frame


def sent_back(folder: Path, size: tuple[int, int]) -> bytes:
    """What a service makes of the base: a video of ``size`` at 24 fps, with the base in its
    middle."""
    picture = fit_into(textured(), size).picture
    encode(
        folder / "v.mp4", [picture, *(np.roll(picture, n, 1) for n in (4, 8, 12)), picture], 24.0
    )
    return (folder / "v.mp4").read_bytes()


def veo(server: Stub, tmp_path: Path, told: list[str] | None = None, **config):
    """Veo's provider (of an SDK that may not be installed), announcing into ``told``."""
    from restage4d.driving.hosted import HostedConfig
    from restage4d.driving.veo import VeoDriving

    settings = {"model": "veo-3.1-fast-generate-001", "poll": 0.01, "base_url": server.url} | config
    return VeoDriving(
        HostedConfig(**settings), (told if told is not None else []).append, tmp_path / "jobs"
    )


def runway(server: Stub, tmp_path: Path, told: list[str] | None = None, **config):
    """Runway's, likewise."""
    from restage4d.driving.hosted import HostedConfig
    from restage4d.driving.runway import RunwayDriving

    settings = {"model": "gen4_turbo", "poll": 0.01, "base_url": server.url} | config
    return RunwayDriving(
        HostedConfig(**settings), (told if told is not None else []).append, tmp_path / "jobs"
    )


def no_waiting(monkeypatch) -> None:
    """Waits of the SDKs and of ours between tries, made short."""
    monkeypatch.setattr(time, "sleep", lambda seconds, wait=time.sleep: wait(min(seconds, 0.01)))
