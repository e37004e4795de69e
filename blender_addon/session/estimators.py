# SPDX-License-Identifier: GPL-3.0-or-later
"""Better estimators: the recommended weights, fetched by the backend's own command line, a process
beside Blender. Needs no Blender.

Nothing is fetched before the artist said so; what was fetched of a file stays, and the next fetch
goes on there. The command compares every file with its hash.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from restage4d.errors import InputError

from . import launcher
from .models import Fault
from .update_queue import UpdateQueue

_WORDS = 300  # of the last line of a program that failed


@dataclass(frozen=True)
class OfferView:
    """A recommended model."""

    name: str
    title: str
    gigabytes: float
    licence: str
    changes: str
    here: bool

    @property
    def line(self) -> str:
        size = f"{self.gigabytes:.2g} GB"
        return f"{self.title}: {size}, {self.licence}"


@dataclass
class Estimators:
    """What the panel shows.

    Attributes:
        phase: "closed"; "looking" for what fits this computer; "asking" whether the work is
            commercial; "offered"; "fetching".
        offers: the recommended models; those that are ``here`` are not fetched again.
        folder: where they go.
        libraries: that pip installs beside them.
        used: by whom each prior is estimated now where nothing is chosen.
        model, fraction: what is being fetched and how far it is.
        stopping: asked to stop.
        fault: what went wrong the last time.
    """

    phase: Literal["closed", "looking", "asking", "offered", "fetching"] = "closed"
    offers: list[OfferView] = field(default_factory=list)
    folder: str = ""
    libraries: list[str] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    model: str = ""
    fraction: float = 0.0
    stopping: bool = False
    fault: Fault | None = None

    @property
    def missing(self) -> list[OfferView]:
        return [offer for offer in self.offers if not offer.here]

    @property
    def gigabytes(self) -> float:
        return sum(offer.gigabytes for offer in self.missing)


class EstimatorFetching:
    """Asks for the recommended models and fetches them; called by the interface's thread, answers
    come through ``updates``.

    Args:
        updates: where what was found is put.
    """

    def __init__(self, updates: UpdateQueue) -> None:
        self.state = Estimators()
        self._updates = updates
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def look(self, root: Path, commercial: bool | None = None) -> None:
        """Finds out what fits this computer; an answer about commercial use is kept.

        Args:
            root: of the backend, with its environment.
            commercial: what the artist answered, None: what was answered before.
        """
        self.state.phase, self.state.fault, self.state.stopping = "looking", None, False
        answer = [] if commercial is None else [_tell_commercial(commercial)]
        self._start(lambda: self._look(root, answer))

    def fetch(self, root: Path) -> None:
        """Fetches what is recommended and not here."""
        names = [offer.name for offer in self.state.missing]
        self.state.phase, self.state.fault, self.state.stopping = "fetching", None, False
        self.state.model, self.state.fraction = "", 0.0
        self._start(lambda: self._fetch(root, names))

    def cancel(self) -> None:
        """Stops fetching; what came stays."""
        self.state.stopping = True
        self.end()

    def end(self) -> None:
        """Ends the process beside Blender, if any."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def close(self) -> None:
        """Puts the offer away."""
        self.state.phase, self.state.fault = "closed", None

    # --- of the thread ----------------------------------------------------------------------------

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except (InputError, OSError) as error:
                self._updates.put(self.state, phase="offered", fault=Fault.of(error))

        threading.Thread(target=run, name="restage4d estimators", daemon=True).start()

    def _look(self, root: Path, answer: list[str]) -> None:
        found: dict[str, Any] = {}
        for told in self._ask(root, ["--json", *answer]):
            found = told
        if not found:  # told to stop
            self._updates.put(self.state, phase="closed")
            return
        asked = found["commercial"] is not None
        self._updates.put(
            self.state,
            phase="offered" if asked else "asking",
            offers=[OfferView(**offer) for offer in found["offers"]],
            folder=found["folder"],
            libraries=found["libraries"],
            used=found["used"],
        )

    def _fetch(self, root: Path, names: list[str]) -> None:
        sizes = {offer.name: offer.gigabytes for offer in self.state.offers}
        for told in self._ask(root, ["get", "--json", "--yes", *names]):
            if told.get("model") not in names:
                continue
            here = names.index(told["model"])
            done = sum(sizes[name] for name in names[:here])
            done += min(told["bytes"] / 1e9, sizes[told["model"]])  # small files hardly count
            total = sum(sizes[name] for name in names)
            self._updates.put(self.state, model=told["model"], fraction=min(done / total, 1.0))
        self.state.stopping = False  # what follows is no fetch
        self._look(root, [])

    def _ask(self, root: Path, arguments: list[str]) -> Iterator[dict[str, Any]]:
        """What `restage4d models` says, object by object. Raises `InputError` with its last words
        where it failed; ends early where it was told to stop."""
        command = [str(launcher.get_own_python(root)), "-m", "restage4d.cli", "models", *arguments]
        with self._lock:
            process = self._process = subprocess.Popen(
                command,
                cwd=root,
                env=launcher.make_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                creationflags=0x08000000 if sys.platform == "win32" else 0,  # CREATE_NO_WINDOW
            )
            if self.state.stopping or self._updates.ending.is_set():
                process.terminate()
        last = ""
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() or last
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    yield told
        code = process.wait()
        with self._lock:
            self._process = None
        if code != 0 and not self.state.stopping:
            what = last.removeprefix("restage4d: ")[:_WORDS] or f"exit code {code}"
            raise InputError(f"The models could not be fetched: {what}", "Try again.")


def _tell_commercial(commercial: bool) -> str:
    return f"--commercial={'yes' if commercial else 'no'}"
