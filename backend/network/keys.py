"""Who may come in: keys, on loopback too (CURVE), decided here by ZeroMQ's ZAP. A client knows the
service by its public key, so that another user's program on the same port learns nothing.

``keys/server.json`` is the pair of a service that other machines reach (see `OwnKeys`),
``keys/allowed.json`` (name -> `User`) says who may come in; ``restage4d keys`` changes it while the
service runs.
"""

import json
import logging
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq
from zmq.utils import z85

from backend.logs import RareLog
from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.protocol.connection import Connection, is_loopback

LOCAL = "local"  # the user of this machine
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_log = logging.getLogger("restage4d.keys")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A client that was let in. An owner sees, cancels and deletes everybody's jobs; a disabled
    user's key stays known but opens nothing."""

    key: str
    role: Literal["user", "owner"] = "user"
    disabled: bool = False


def draw_pair() -> tuple[str, str]:
    """A new public and secret key, Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


@dataclass(frozen=True)
class OwnKeys:
    """With which a service runs, public and secret: its own pair and that of its machine's user.
    Both are drawn anew at every start; only a service that other machines reach keeps its pair, as
    their connection files name it."""

    service: tuple[str, str]
    local: tuple[str, str]

    @staticmethod
    def draw(keys: "Keys", bind: str) -> "OwnKeys":
        """For a service that listens on ``bind``."""
        return OwnKeys(draw_pair() if is_loopback(bind) else keys.server(), draw_pair())


class Keys:
    """The key files of a service.

    Args:
        folder: ``keys`` of the service's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._allowed_file = folder / "allowed.json"

    def server(self) -> tuple[str, str]:
        """Public and secret key of a service that other machines reach, drawn once."""
        path = self.folder / "server.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            pair = json.loads(path.read_text())
            return str(pair["public"]), str(pair["secret"])
        public, secret = draw_pair()
        self._write(path, {"public": public, "secret": secret})
        return public, secret

    def users(self) -> dict[str, User]:
        """Everybody who was let in, by name. Raises `InputError` for a file that is damaged."""
        try:
            known = json.loads(self._allowed_file.read_text())
            # a bare key stands for a user without anything special
            return {
                str(name): User(key=one) if isinstance(one, str) else msgspec.convert(one, User)
                for name, one in known.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, msgspec.ValidationError) as error:
            raise InputError(
                f"{self._allowed_file} cannot be read: {error}.", "Correct it or delete it."
            ) from error

    def allow(self, name: str, public: str, role: Literal["user", "owner"] = "user") -> None:
        """Lets a client in. Raises `InputError` for a name or a key that is none."""
        if not _NAME.fullmatch(name) or name == LOCAL:
            raise InputError(
                f"{name!r} cannot be a client's name.",
                "Use letters, digits, dots, dashes; not 'local'.",
            )
        try:
            right = len(public) == 40 and len(z85.decode(public.encode())) == 32
        except (ValueError, KeyError, UnicodeError):
            right = False
        if not right:
            raise InputError(
                "That is not a public key.", "Give the 40 characters of a CURVE public key."
            )
        self._save(self.users() | {name: User(key=public, role=role)})

    def disable(self, name: str, disabled: bool = True) -> None:
        """Shuts a client out until it is enabled again. Raises `InputError` where there is none of
        that name."""
        user = self._find(name)
        self._save(self.users() | {name: msgspec.structs.replace(user, disabled=disabled)})

    def revoke(self, name: str) -> None:
        """Shuts a client out. Raises `InputError` where there is none of that name."""
        self._find(name)
        self._save({other: user for other, user in self.users().items() if other != name})

    def _find(self, name: str) -> User:
        users = self.users()
        if name not in users:
            raise InputError(
                f"There is no client {name!r}.", f"There are: {', '.join(users) or 'none'}."
            )
        return users[name]

    def _save(self, users: dict[str, User]) -> None:
        self._write(
            self._allowed_file, {name: msgspec.to_builtins(user) for name, user in users.items()}
        )

    def stamp(self) -> tuple[int, ...]:
        """Changes when the list of clients does; the date alone does not, between two changes of
        one moment, but each makes another file."""
        try:
            found = self._allowed_file.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size

    @staticmethod
    def _write(path: Path, value: dict[str, Any]) -> None:
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(value, indent=2) + "\n")


class Authenticator(threading.Thread):
    """Answers ZeroMQ's ZAP questions: lets an allowed key in, logs whom it refuses.

    Args:
        context: of the server's sockets.
        keys: who may come in.
        local: public key of this machine's own user.
    """

    def __init__(self, context: zmq.Context, keys: Keys, local: str) -> None:
        super().__init__(name="doorman", daemon=True)
        self.keys = keys
        self._local = local
        self._users: dict[str, User] = {}
        self._names: dict[str, str] = {}  # public key -> name
        self._stamp: tuple[int, ...] | None = None
        self._lock = threading.Lock()
        self._log = RareLog(_log)
        self.refused = 0
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")

    def run(self) -> None:
        with suppress(zmq.ContextTerminated), self.socket:
            while True:
                if not self.socket.poll(1000):
                    self._log.flush()  # those left out within a second are counted now
                    continue
                question = self.socket.recv_multipart()
                user = self._authenticate(question) if len(question) >= 6 else None
                if user is None:
                    self.refused += 1
                    address = question[3].decode(errors="replace") if len(question) > 3 else "?"
                    self._log.warn("refused a client from %s: wrong or no key", address)
                status, text = (b"200", b"OK") if user else (b"400", b"this key may not come in")
                self.socket.send_multipart(
                    [
                        b"1.0",
                        question[1] if len(question) > 1 else b"",
                        status,
                        text,
                        (user or "").encode(),
                        b"",
                    ]
                )

    def is_allowed(self, user: str) -> bool:
        """Whether a user may come in or stay, as of now."""
        self._read()
        return user == LOCAL or user in self._names.values()

    def is_owner(self, user: str) -> bool:
        """Whether a user sees and ends everybody's jobs."""
        self._read()
        return user == LOCAL or (user in self._names.values() and self._users[user].role == "owner")

    def _authenticate(self, question: list[bytes]) -> str | None:
        mechanism, credentials = question[5], question[6:]
        if mechanism == b"CURVE" and len(credentials) == 1:
            public = z85.encode(credentials[0]).decode()
            self._read()
            return LOCAL if public == self._local else self._names.get(public)
        return None

    def _read(self) -> None:
        with self._lock:
            stamp = self.keys.stamp()
            if stamp == self._stamp:
                return
            try:
                self._users = self.keys.users()
            except InputError as error:
                _log.error("%s", error)
                self._users = {}
            enabled = {n: user for n, user in self._users.items() if not user.disabled}
            self._names = {user.key: name for name, user in enabled.items()}
            self._stamp = stamp


def make_client(
    home: Path, name: str, host: str, out: Path, role: Literal["user", "owner"] = "user"
) -> None:
    """Draws a key pair for ``name``, lets it in, and writes the connection file that the client
    needs.

    Raises:
        InputError: the name cannot be one, or the service was never started for other machines.
    """
    keys = Keys(home / "keys")
    service = Connection.read(home / "connection.json")
    if service.loopback:
        raise InputError(
            "The service listens to this machine only.",
            "Start it for others first: restage4d serve --bind 0.0.0.0.",
        )
    public, secret = draw_pair()
    Connection(
        host=host,
        ports=service.ports,
        server_key=keys.server()[0],
        public_key=public,
        secret_key=secret,
    ).write(out)
    keys.allow(name, public, role)
