"""The connection file's helpers, which need no service."""

import pytest

from restage4d.protocol.connection import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_is_this_computer(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.168.1.7", "127.example.com", "example.com"]
)
def test_other_hosts_are_not(host):
    assert not is_loopback(host)
