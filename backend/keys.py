"""Who may come in: keys, on loopback too (CURVE), decided here by ZeroMQ's ZAP. A client knows the
service by its public key, so that another user's program on the same port learns nothing.

The service's folder holds ``keys/server.json`` (its own pair) and ``keys/allowed.json`` (name ->
public key of every client). ``restage4d keys`` changes the second while the service runs.
"""

import json
import logging
import re
import threading
from contextlib import suppress
from pathlib import Path

import zmq
from zmq.utils import z85

from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.protocol.connection import Connection

LOCAL = "local"  # the user of this machine
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_log = logging.getLogger("restage4d.keys")


class Keys:
    """The key files of a service.

    Args:
        folder: ``keys`` of the service's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._allowed_file = folder / "allowed.json"

    def server(self) -> tuple[str, str]:
        """The service's public and secret key, drawn once."""
        return self._pair("server.json")

    def local(self) -> tuple[str, str]:
        """The pair of this machine's own user."""
        return self._pair("local.json")

    def allowed(self) -> dict[str, str]:
        """Name -> public key of every client that may come in."""
        try:
            known = json.loads(self._allowed_file.read_text())
            return {str(name): str(key) for name, key in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{self._allowed_file} cannot be read: {error}.", "Correct it or delete it."
            ) from error

    def allow(self, name: str, public: str) -> None:
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
        self._write(self._allowed_file, self.allowed() | {name: public})

    def revoke(self, name: str) -> None:
        """Shuts a client out. Raises `InputError` where there is none of that name."""
        allowed = self.allowed()
        if name not in allowed:
            raise InputError(
                f"There is no client {name!r}.", f"There are: {', '.join(allowed) or 'none'}."
            )
        del allowed[name]
        self._write(self._allowed_file, allowed)

    def stamp(self) -> int:
        """Changes when the list of clients does."""
        try:
            return self._allowed_file.stat().st_mtime_ns
        except OSError:
            return 0

    def _pair(self, name: str) -> tuple[str, str]:
        path = self.folder / name
        with suppress(OSError, ValueError, KeyError, TypeError):
            pair = json.loads(path.read_text())
            return str(pair["public"]), str(pair["secret"])
        public, secret = (key.decode() for key in zmq.curve_keypair())
        self._write(path, {"public": public, "secret": secret})
        return public, secret

    @staticmethod
    def _write(path: Path, value: dict[str, str]) -> None:
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(value, indent=2) + "\n")


class Authenticator(threading.Thread):
    """Answers ZeroMQ's ZAP questions: lets an allowed key in, logs whom it refuses.

    Args:
        context: of the server's sockets.
        keys: who may come in.
    """

    def __init__(self, context: zmq.Context, keys: Keys) -> None:
        super().__init__(name="doorman", daemon=True)
        self.keys = keys
        self._local = keys.local()[0]
        self._names: dict[str, str] = {}
        self._stamp = -1
        self.refused = 0
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")

    def run(self) -> None:
        with suppress(zmq.ContextTerminated), self.socket:
            while True:
                question = self.socket.recv_multipart()
                user = self._authenticate(question) if len(question) >= 6 else None
                if user is None:
                    self.refused += 1
                    address = question[3].decode(errors="replace") if len(question) > 3 else "?"
                    _log.warning("refused a client from %s: wrong or no key", address)
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

    def _authenticate(self, question: list[bytes]) -> str | None:
        mechanism, credentials = question[5], question[6:]
        if mechanism == b"CURVE" and len(credentials) == 1:
            public = z85.encode(credentials[0]).decode()
            return LOCAL if public == self._local else self._read_names().get(public)
        return None

    def _read_names(self) -> dict[str, str]:
        stamp = self.keys.stamp()
        if stamp != self._stamp:
            try:
                self._names = {key: name for name, key in self.keys.allowed().items()}
            except InputError as error:
                _log.error("%s", error)
                self._names = {}
            self._stamp = stamp
        return self._names


def make_client(home: Path, name: str, host: str, out: Path) -> None:
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
    public, secret = (key.decode() for key in zmq.curve_keypair())
    Connection(
        host=host,
        ports=service.ports,
        server_key=keys.server()[0],
        public_key=public,
        secret_key=secret,
    ).write(out)
    keys.allow(name, public)
