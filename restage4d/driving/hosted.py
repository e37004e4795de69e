"""What all hosted video services share: the remote job's number kept, waiting, fetching, and errors
that say what to do.

A service is asked once: its job's number is written down before anything is waited for, so that the
same request, after a crash, a time limit or Ctrl-C, goes on with that job instead of paying for
another.
"""

import json
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import tenacity
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.framing import Letterbox, fit_into, nearest_aspect
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.seam import prepare
from restage4d.errors import Cancelled, InputError
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import content_key
from restage4d.io.video import decode
from restage4d.progress import Progress, Task, TaskId
from restage4d.protocol.connection import home

_TRIES = 5  # of a request that a busy service turns away, with growing waits between
_MOST_BYTES = 2 << 30
_USUAL_S = 60.0  # that a service takes for a video


@dataclass(frozen=True)
class HostedConfig:
    """What to ask a service for.

    Attributes:
        model: the service's name of it.
        seconds: of video; services round it to what they offer.
        seed: None lets the service choose.
        timeout: seconds to wait for the video; afterwards the same request goes on waiting.
        poll: seconds between questions.
        base_url: another address than the service's own, e.g. a company's proxy.
    """

    model: str
    seconds: int = 5
    seed: int | None = 0
    timeout: float = 1200.0
    poll: float = 8.0
    base_url: str | None = None


class JobExpired(Exception):
    """The service knows the job no longer."""


class HostedDriving(ABC):
    """A `restage4d.driving.protocols.VideoModel` around a service.

    Args:
        config: see `HostedConfig`.
        announce: told before the upload what is sent where and about what it costs.
        jobs: folder for the numbers of jobs under way; default in the user's data folder.
    """

    service: str
    sizes: tuple[tuple[int, int], ...]  # (width, height) that it makes

    def __init__(
        self,
        config: HostedConfig,
        announce: Callable[[str], None] = print,
        jobs: Path | None = None,
    ) -> None:
        self.config, self._announce = config, announce
        self.name = f"{self.service.lower()}:{config.model}"
        self.identity = (self.service, config)  # a video that was paid for is kept under it
        self._jobs = jobs or home() / "hosted"

    def terms(self) -> list[str]:
        """See `VideoModel`."""
        return [
            f"{self.service}: the first frame and the prompt are sent to {self.service}. "
            f"{self._cost()}"
        ]

    @abstractmethod
    def _cost(self) -> str:
        """About what the video costs, in words."""

    @abstractmethod
    def _start(self, picture: bytes, letterbox: Letterbox, prompt: str) -> str:
        """Sends the PNG and the prompt, returns the job's number. Raises `InputError`."""

    @abstractmethod
    def _poll(self, number: str) -> bytes | str | None:
        """The video's bytes or address when it is done, None while it is not.

        Raises:
            InputError: the service refused or failed; says what it said.
            JobExpired: it does not know the job.
        """

    def _cancel(self, number: str) -> bool:
        """Ends a job where that saves its cost; returns whether it is ended."""
        return False

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """See `DrivingProvider`."""
        letterbox = fit_into(base.frames[0], nearest_aspect(base.frames[0], self.sizes))
        note = self._jobs / f"{content_key(self.service, self.config, prompt, base.frames[0])}.json"
        with progress.task(TaskId.GENERATE_DRIVING, 100) as task:
            number = _read_number(note)
            if number is None:
                self._announce("\n".join(self.terms()))
                number = self._start(_png(letterbox.picture), letterbox, prompt)
                _write_number(note, self.service, self.config.model, number)
            else:
                self._announce(
                    f"{self.service}: going on with the video that was asked for before."
                )
            try:
                found = self._wait(number, task)
                data = fetch(found, progress) if isinstance(found, str) else found
            except Cancelled:
                if self._cancel(number):
                    note.unlink(missing_ok=True)
                raise
            except JobExpired as error:
                note.unlink(missing_ok=True)
                raise InputError(
                    f"{self.service} no longer has the video that was asked for: it has expired.",
                    "Start again to have it made anew.",
                ) from error
            except _RefusedError:
                note.unlink(missing_ok=True)
                raise
            task.advance(99 - task.step)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "video.mp4"
                path.write_bytes(data)
                try:
                    clip = decode(path, longer_side=2 * max(base.size))
                except InputError as error:
                    raise InputError(
                        f"What {self.service} sent is no video ({len(data)} bytes): {error.what}",
                        "Start again: the finished video is fetched once more, at no cost.",
                    ) from error
            task.advance()
        try:
            result = prepare(
                base,
                Clip(letterbox.crop(clip.frames), clip.fps),
                f"the video by {self.service}",
                subject=mask,
            )
        except InputError as error:
            kept = note.with_suffix(".mp4")
            with replacing(kept) as temporary:
                temporary.write_bytes(data)
            raise InputError(
                error.what,
                f"It is kept as {kept}. Take another seed, or cut it so that it begins there and "
                "give it with --driving.",
            ) from error
        note.unlink(missing_ok=True)
        return DrivingVideo(result, self.name)

    def _wait(self, number: str, task: Task) -> bytes | str:
        """The video or its address. As services say no percent, ``task`` goes on by the time that
        videos usually take."""
        until = time.monotonic() + self.config.timeout
        while True:
            task.advance(0)
            found = self._poll(number)
            if found is not None:
                return found
            ask_again = time.monotonic() + self.config.poll
            while time.monotonic() < ask_again:
                usual = 95 * (1 - math.exp(-task.seconds / _USUAL_S))
                task.advance(max(round(usual) - task.step, 0))
                if time.monotonic() > until:
                    raise InputError(
                        f"{self.service} has not finished within {self.config.timeout:g} s.",
                        "The same command goes on waiting for the same video.",
                    )
                time.sleep(min(0.2, self.config.poll))


class _RefusedError(InputError):
    """Asking again for the same job is of no use."""


def refusal(service: str, why: str) -> InputError:
    """The service made no video, for a reason that lies in picture or prompt."""
    return _RefusedError(
        f"{service} made no video: {why}",
        "Change the prompt or the first frame, or take another service.",
    )


def service_error(service: str, code: int | None, message: str, key: str) -> InputError:
    """An HTTP error of a service as a sentence and what to do."""
    text = " ".join(message.split())[:300]
    if code in (401, 403):
        return InputError(
            f"{service} does not accept the key in {key}: {text}",
            "Check the key and what it may be used for.",
        )
    if code == 402:
        return InputError(
            f"{service} wants to be paid first: {text}", "Add credits to the account of this key."
        )
    if code == 429:
        return InputError(
            f"{service} is asked too often or the quota is used up: {text}",
            "Wait a while, then start again.",
        )
    if code is not None and code < 500:
        return _RefusedError(
            f"{service} refuses the request ({code}): {text}",
            "Change the prompt, the model or its settings.",
        )
    return InputError(
        f"{service} cannot be reached or is out of order: {text}",
        "Check the network; then start again, it goes on.",
    )


def fetch(address: str, progress: Progress) -> bytes:
    """Downloads a finished video, in pieces and tried again while the server is busy or the line
    breaks.

    Raises:
        JobExpired: the address has expired.
        InputError: it cannot be fetched.
    """

    def busy(error: BaseException) -> bool:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code in (408, 429) or error.response.status_code >= 500
        return isinstance(error, httpx.TransportError)

    @tenacity.retry(
        retry=tenacity.retry_if_exception(busy),
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=tenacity.wait_exponential_jitter(initial=0.5, max=20),
        reraise=True,
    )
    def get() -> bytes:
        parts, size = [], 0
        with httpx.stream("GET", address, follow_redirects=True, timeout=60) as response:
            response.raise_for_status()
            for part in response.iter_bytes(1 << 20):
                progress.check()
                size += len(part)
                if size > _MOST_BYTES:
                    raise InputError(
                        f"The video is larger than {_MOST_BYTES >> 30} GiB.",
                        "Ask for a shorter one.",
                    )
                parts.append(part)
        return b"".join(parts)

    try:
        return get()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (403, 404, 410):
            raise JobExpired from error
        raise InputError(
            f"The finished video could not be fetched ({error.response.status_code}).",
            "Start again: it is fetched once more.",
        ) from error
    except httpx.HTTPError as error:
        raise InputError(
            f"The finished video could not be fetched: {error}.",
            "Start again: it is fetched once more.",
        ) from error


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _read_number(note: Path) -> str | None:
    try:
        number = json.loads(note.read_text(encoding="utf-8"))["number"]
        return number if isinstance(number, str) and number else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_number(note: Path, service: str, model: str, number: str) -> None:
    """Nothing secret is in it: the number is of no use without the key."""
    with replacing(note) as temporary:
        temporary.write_text(
            json.dumps({"service": service, "model": model, "number": number}), encoding="utf-8"
        )
