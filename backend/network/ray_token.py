"""Ray's token: whoever reaches the ports of a cluster that asks for none runs what they like there.

``RAY_AUTH_MODE=disabled``, Ray's own variable, is how an owner says that this is meant.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from restage4d.errors import InputError

_PROBE_S = 60.0
_REMEDY = (
    "Start it with a token (docs/service.md); in a network of its own RAY_AUTH_MODE=disabled "
    "leaves it open."
)
# How Ray's own tools ask a head for its state. The answer to a stranger is an AuthenticationError.
_PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
except AuthenticationError:
    print("refused")
else:
    print("let in")
"""
_log = logging.getLogger("restage4d.farm")


def use_ray_token() -> None:
    """Makes Ray show its token. To be called before Ray is imported.

    Raises:
        InputError: there is none.
    """
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        _log.warning(
            "this Ray cluster asks for no token: whoever reaches its ports runs what they like "
            "there (docs/service.md)"
        )
        return
    there = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not there and not (Path.home() / ".ray" / "auth_token").is_file():
        raise InputError(
            "This machine has no token for a Ray cluster (~/.ray/auth_token), and without one "
            "whoever reaches the cluster's ports runs what they like there.",
            _REMEDY,
        )
    os.environ["RAY_AUTH_MODE"] = "token"


def check_cluster_asks(address: str) -> None:
    """Comes to a cluster without a token, from a process of its own, as Ray reads the variables but
    once.

    Args:
        address: of its head, host and port.

    Raises:
        InputError: it lets a stranger in.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    environment["RAY_AUTH_MODE"] = "disabled"
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_S, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("whether the Ray cluster asks for a token is not known: %s", error)
        return
    if done.stdout.strip().endswith("let in"):
        raise InputError(f"The Ray cluster at {address} asks for no token.", _REMEDY)
