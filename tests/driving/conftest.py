"""A base clip, and the server that stands in for the services."""

import numpy as np
import pytest
from stub_server import serve

from restage4d.clips import Clip

from .services import SECRET, sent_back, textured


@pytest.fixture
def server():
    with serve() as stub:
        yield stub


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name in ("GOOGLE_API_KEY", "RUNWAYML_API_SECRET", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base() -> Clip:
    return Clip(np.stack([textured()] * 4), 12.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return sent_back(tmp_path_factory.mktemp("veo"), (1280, 720))


@pytest.fixture(scope="module")
def runways(tmp_path_factory) -> bytes:
    return sent_back(tmp_path_factory.mktemp("runway"), (1104, 832))
