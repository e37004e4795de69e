"""From what the artist wrote to what a video model needs: the motion kept, the camera pinned (paper
section 3.2, Figure 8).

With an OpenAI-compatible endpoint (``base_url`` and ``model``; a local server will do) a vision
model that sees b_0 writes it. Without one, a fixed template does: the same words every time.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.protocols import DrivingProvider
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key
from restage4d.progress import Progress, TaskId
from restage4d.providers.api_keys import find_key

KEY = "OPENAI_API_KEY"  # local servers take any
CAMERA = "The camera stays completely still on a tripod: no pan, no tilt, no zoom, no cut."
_SUBJECT = (
    "It keeps its identity, shape, colours and markings, stays wholly in the picture, and moves "
    "naturally and without haste. "
    "The background, the light and the framing stay as they are in the first frame."
)
_TASK = """\
You write prompts for image-to-video models. You get the first frame of a video and what its main
subject shall do. Write one prompt in English, 60 to 110 words, in the present tense: name the
subject by its kind, colours and anything it wears as the frame shows them; keep exactly the motion
that was asked for, in its order and with its sides, and add no other action; say how it moves
(smoothly, unhurried unless asked otherwise) and that it stays wholly in the picture; describe the
setting in one clause; and say that the camera remains completely still, without pan, zoom or cut.
No headings, no quotes: the prompt alone."""
_LONGEST = 2000  # characters of a reply that still is a prompt
_SIDE = 768  # pixels of the longer side of the frame that is sent


@dataclass(frozen=True)
class RefineConfig:
    """``base_url`` of the endpoint ("http://localhost:11434/v1" ...) and its ``model``; ``timeout``
    in seconds per try."""

    base_url: str
    model: str
    timeout: float = 60.0


def template(prompt: str) -> str:
    """The prompt with subject and camera pinned, by fixed words."""
    text = " ".join(prompt.split())
    if not text:
        raise InputError("The prompt is empty.", "Say what the subject shall do.")
    text = text[0].upper() + text[1:]
    return f"{text if text[-1] in '.!?' else text + '.'} {_SUBJECT} {CAMERA}"


def refine(base: Clip, prompt: str, config: RefineConfig) -> str:
    """The prompt by a vision model that sees b_0. The camera's sentence is added where the model
    left it out.

    Raises:
        InputError: the endpoint cannot be reached, refuses, or replies with something that is no
            prompt; says which.
    """
    import openai

    picture = _small(base.frames[0])
    client = openai.OpenAI(
        api_key=find_key(KEY) or "none",
        base_url=config.base_url,
        timeout=config.timeout,
        max_retries=3,
    )
    content = [
        {"type": "text", "text": f"What the subject shall do: {prompt}"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(picture).decode()},
        },
    ]
    messages = [{"role": "system", "content": _TASK}, {"role": "user", "content": content}]
    remedy = (
        "Check --refine-url and --refine-model, or leave them out: a fixed template then refines "
        "the prompt."
    )
    try:
        reply = client.chat.completions.create(
            model=config.model, messages=messages, temperature=0, seed=0
        )  # type: ignore
        text = reply.choices[0].message.content or ""
    except openai.OpenAIError as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(
            f"The prompt could not be refined by {config.model} at {config.base_url}: {said}",
            remedy,
        ) from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{config.base_url} does not reply as an OpenAI-compatible endpoint does.", remedy
        ) from error
    text = " ".join(text.split()).strip("\"'")
    if not 10 <= len(text) <= _LONGEST:
        raise InputError(
            f"{config.model} replied with {len(text)} characters, which is no prompt.", remedy
        )
    return text if "camera" in text.lower() else f"{text} {CAMERA}"


class Refined:
    """A `DrivingProvider` that hands another one the refined prompt, shows it, and remembers it as
    ``refined_prompt``.

    Args:
        driver: gets the refined prompt.
        config: the endpoint; None for the template.
        given: the artist's own refined prompt, used as it is.
        cache: where an endpoint's reply is kept, so that the same request goes on with the same
            words; None for nowhere.
        announce: told the prompt, and that a frame is sent.
    """

    def __init__(
        self,
        driver: DrivingProvider,
        config: RefineConfig | None,
        given: str | None = None,
        cache: Cache | None = None,
        announce: Callable[[str], None] = print,
    ) -> None:
        self._driver, self._config, self._given, self._cache, self._announce = (
            driver,
            config,
            given,
            cache,
            announce,
        )
        self.name = driver.name
        self.refined_prompt = ""
        self.figures: list[
            dict[str, float]
        ] = []  # of the candidates, see `restage4d.driving.candidates`

    def make(self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress) -> Clip:
        """See `DrivingProvider`."""
        self.refined_prompt = self.prompt_for(base, prompt, progress)
        self._announce(
            f"Prompt for {self.name} (change it with --refined-prompt): {self.refined_prompt}"
        )
        result = self._driver.make(base, mask, self.refined_prompt, progress)
        self.name = self._driver.name
        self.figures = getattr(self._driver, "figures", [])
        return result

    def prompt_for(self, base: Clip, prompt: str, progress: Progress) -> str:
        """What the driver is asked for; nothing is made yet. Raises `InputError`."""
        if self._given:
            return self._given
        return (
            self._by_endpoint(base, prompt, self._config, progress)
            if self._config
            else template(prompt)
        )

    def terms(self) -> list[str]:
        """What the driver sends where, and about what it costs; empty where it works on this
        computer."""
        return getattr(self._driver, "terms", list)()

    def _by_endpoint(
        self, base: Clip, prompt: str, config: RefineConfig, progress: Progress
    ) -> str:
        key = content_key("refine", config, prompt, base.frames[0])
        if self._cache and (kept := self._cache.get(key)):
            return str(kept["prompt"])
        self._announce(
            f"The first frame and the prompt are sent to {config.base_url} to refine the prompt."
        )
        with progress.task(TaskId.REFINE_PROMPT):
            text = refine(base, prompt, config)
        if self._cache:
            self._cache.put(key, {"prompt": np.array(text)})
        return text


def _small(frame: NDArray[np.uint8]) -> bytes:
    scale = min(1.0, _SIDE / max(frame.shape[:2]))
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
    )[1].tobytes()
