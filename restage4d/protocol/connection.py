"""The connection file: how clients find the service. Standard library only."""

import ipaddress
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from restage4d.io.atomic import replacing
from restage4d.protocol.errors import NotRunning

_KEY_LENGTH = 40  # Z85 of 32 bytes
CHANNELS = ("work", "control", "progress", "heartbeat")


def home() -> Path:
    """The user's folder for jobs, store and keys: ``RESTAGE4D_HOME``, or where the system keeps a
    program's data; absolute, as processes with other working folders are told of it."""
    if set_by_user := os.environ.get("RESTAGE4D_HOME"):
        return Path(set_by_user).absolute()
    user = Path.home()
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local")
            / "restage4d"
            / "restage4d"
        )
    if sys.platform == "darwin":
        return user / "Library" / "Application Support" / "restage4d"
    data = Path(os.environ.get("XDG_DATA_HOME") or user / ".local" / "share")
    return data.absolute() / "restage4d"


def is_loopback(host: str) -> bool:
    """Whether a host, or an address to listen on, is this machine only: 127.0.0.0/8, ``::1`` (also
    in brackets, as in a URL) or ``localhost``. A name is not looked up.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Connection:
    """Where the service is and how to get in.

    Attributes:
        host: name or address.
        ports: TCP port of every channel in `CHANNELS`.
        server_key: the service's public key, Z85: nobody else can answer in its place.
        public_key, secret_key: the client's own pair, Z85.
        pid: of the service, 0 where it is on another machine.
        loopback: whether the service listens to its own machine only.
    """

    host: str
    ports: dict[str, int]
    server_key: str
    public_key: str
    secret_key: str = field(repr=False)
    pid: int = 0
    loopback: bool = False

    def address(self, channel: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.ports[channel]}"

    def write(self, path: Path) -> None:
        """Writes the file so that nobody but this user can read it. Raises `InputError` where it
        cannot be written."""
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path | None = None) -> "Connection":
        """Reads ``path``, or the file that the user's own service writes.

        Raises:
            NotRunning: there is none, or it cannot be read.
        """
        path = path or home() / "connection.json"
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            found = Connection(
                **{name: known[name] for name in Connection.__dataclass_fields__ if name in known}
            )
            right = set(found.ports) == set(CHANNELS) and all(
                0 < int(p) < 65536 for p in found.ports.values()
            )
            keys = (found.server_key, found.public_key, found.secret_key)
            whole = all(isinstance(key, str) and len(key) == _KEY_LENGTH for key in keys)
            if not right or not whole or not isinstance(found.host, str):
                raise ValueError("not a connection file")
        except FileNotFoundError as error:
            raise NotRunning(f"No service is running: {path} does not exist.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotRunning(
                f"The connection file {path} cannot be used: {error}.", "Start the service again."
            ) from error
        return found


class ConnectionFile:
    """A connection and the file it was read from: a service that starts again writes new keys.

    Args:
        known: what the file said.
        path: of the file; None: there is none, the connection stays as it is.

    Attributes:
        known: the connection as it was last read.
    """

    def __init__(self, known: Connection, path: Path | None) -> None:
        self.known, self.path = known, path

    def read_again(self) -> Connection:
        """What the file says now; where it is gone or damaged, what it said last."""
        if self.path is not None:
            with suppress(NotRunning):
                self.known = Connection.read(self.path)
        return self.known
