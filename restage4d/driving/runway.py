"""Driving videos by Runway (runwayml SDK): its own models, and those of others that it reaches."""

import base64
from typing import Any

import runwayml

from restage4d.driving.framing import Letterbox
from restage4d.driving.hosted import (
    HostedDriving,
    JobExpired,
    refusal,
    service_error,
)
from restage4d.providers.api_keys import need_key

KEY = "RUNWAYML_API_SECRET"
MODEL = "gen4_turbo"
_CREDITS = {
    "gen4_turbo": 5,
    "gen4.5": 12,
    "veo3.1": 40,
    "veo3.1_fast": 15,
}  # per second, when this was written; a credit is $0.01
_LENGTHS = {
    "gen4_turbo": (5, 10),
    "veo3.1": (4, 6, 8),
    "veo3.1_fast": (4, 6, 8),
}  # of others any whole number up to 10
_WORDS = 1000  # characters that a prompt may have
_SEEDS = 2**32


class RunwayDriving(HostedDriving):
    """See `HostedDriving`. A video that is still waiting in Runway's queue when the run is
    cancelled is cancelled there too."""

    service = "Runway"
    sizes = ((1280, 720), (1104, 832), (960, 960), (832, 1104), (720, 1280), (1584, 672))

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.config.model.startswith("veo"):
            self.sizes = ((1280, 720), (720, 1280))

    def _client(self) -> runwayml.RunwayML:
        return runwayml.RunwayML(
            api_key=need_key(KEY), base_url=self.config.base_url, max_retries=4, timeout=120
        )

    def _seconds(self) -> int:
        lengths = _LENGTHS.get(self.config.model, tuple(range(2, 11)))
        return next((n for n in lengths if n >= self.config.seconds), lengths[-1])

    def _cost(self) -> str:
        credits = _CREDITS.get(self.config.model)
        about = (
            f"about {credits * self._seconds()} credits (${credits * self._seconds() / 100:.2f})"
            if credits
            else "at its price"
        )
        return (
            f"{self._seconds()} s of {self.config.model} are paid for, {about}; Runway's price "
            "list counts."
        )

    def _start(self, picture: bytes, letterbox: Letterbox, prompt: str) -> str:
        options: dict[str, Any] = {
            "model": self.config.model,
            "prompt_image": "data:image/png;base64," + base64.b64encode(picture).decode(),
            "prompt_text": prompt[:_WORDS],
            "ratio": f"{letterbox.size[0]}:{letterbox.size[1]}",
            "duration": self._seconds(),
        }
        if self.config.seed is not None:
            options["seed"] = self.config.seed % _SEEDS
        try:
            return self._client().image_to_video.create(**options).id
        except runwayml.RunwayMLError as error:
            raise _to_input_error(error) from error

    def _poll(self, number: str) -> bytes | str | None:
        try:
            task = self._client().tasks.retrieve(number)
        except runwayml.NotFoundError as error:
            raise JobExpired from error
        except runwayml.RunwayMLError as error:
            raise _to_input_error(error) from error
        if task.status == "SUCCEEDED":
            if not task.output:
                raise refusal(self.service, "the finished task has no output")
            return task.output[0]
        if task.status == "FAILED":
            raise refusal(self.service, " ".join(p for p in (task.failure, task.failure_code) if p))
        if task.status == "CANCELLED":
            raise JobExpired
        if task.status not in ("PENDING", "THROTTLED", "RUNNING"):
            raise service_error(
                self.service, None, f"its reply cannot be understood (status {task.status!r})", KEY
            )
        return None

    def _cancel(self, number: str) -> bool:
        try:
            client = self._client()
            if client.tasks.retrieve(number).status not in ("PENDING", "THROTTLED"):
                # it is being made and paid for: kept, so that the same command goes on with it
                return False
            client.tasks.delete(number)
            return True
        except runwayml.RunwayMLError:
            return False


def _to_input_error(error: runwayml.RunwayMLError) -> Exception:
    if isinstance(error, runwayml.APIStatusError):
        body = error.body.get("error") if isinstance(error.body, dict) else None
        return service_error("Runway", error.status_code, str(body or error.message), KEY)
    return service_error("Runway", None, str(error), KEY)
