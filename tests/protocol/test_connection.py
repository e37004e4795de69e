"""The connection file's helpers, which need no service."""

import pytest

from restage4d.io.content_cache import Cache
from restage4d.protocol.connection import home, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_is_this_computer(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.168.1.7", "127.example.com", "example.com"]
)
def test_other_hosts_are_not(host):
    assert not is_loopback(host)


def test_a_relative_home_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAGE4D_HOME", "mine")
    monkeypatch.setenv("RESTAGE4D_CACHE", "kept")
    found, cache = home(), Cache()
    assert found == tmp_path / "mine"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cache.put("k", {})
    assert (tmp_path / "kept" / "k.npz").exists()
