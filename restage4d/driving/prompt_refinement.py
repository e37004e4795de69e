"""From what the artist wrote to what a video model needs: the motion kept, the camera pinned (paper
section 3.2, Figure 8).

With an OpenAI-compatible endpoint (``base_url`` and ``model``; a local server will do) a vision
model that sees b_0 writes it. Without one, a fixed template does: the same words every time.
"""

import base64
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.endpoint import EndpointConfig, ask_model
from restage4d.driving.protocols import DrivingVideo, VideoModel
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key
from restage4d.progress import Progress, TaskId

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


def fill_template(prompt: str) -> str:
    """The prompt with subject and camera pinned, by fixed words."""
    text = " ".join(prompt.split())
    if not text:
        raise InputError("The prompt is empty.", "Say what the subject shall do.")
    text = text[0].upper() + text[1:]
    return f"{text if text[-1] in '.!?' else text + '.'} {_SUBJECT} {CAMERA}"


def refine(base: Clip, prompt: str, config: EndpointConfig) -> str:
    """The prompt by a vision model that sees b_0. The camera's sentence is added where the model
    left it out.

    Raises:
        InputError: the endpoint cannot be reached, refuses, or replies with something that is no
            prompt; says which.
    """
    picture = base64.b64encode(_encode_jpeg(base.frames[0])).decode()
    content = [
        {"type": "text", "text": f"What the subject shall do: {prompt}"},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
    ]
    messages = [{"role": "system", "content": _TASK}, {"role": "user", "content": content}]
    remedy = (
        "Check --refine-url and --refine-model, or leave them out: a fixed template then refines "
        "the prompt."
    )
    text = ask_model(config, messages, "The prompt could not be refined", remedy)
    text = " ".join(text.split()).strip("\"'")
    if not 10 <= len(text) <= _LONGEST:
        raise InputError(
            f"{config.model} replied with {len(text)} characters, which is no prompt.", remedy
        )
    return text if "camera" in text.lower() else f"{text} {CAMERA}"


class RefinedPromptDriving:
    """A `DrivingProvider` that hands a `VideoModel` the refined prompt, and shows it.

    Args:
        model: gets the refined prompt.
        config: the endpoint; None for the template.
        given: the artist's own refined prompt, used as it is; "" for none.
        cache: where an endpoint's reply is kept, so that the same request goes on with the same
            words; None for nowhere.
        announce: told the prompt, and that a frame is sent.
    """

    def __init__(
        self,
        model: VideoModel,
        config: EndpointConfig | None,
        given: str = "",
        cache: Cache | None = None,
        announce: Callable[[str], None] = print,
    ) -> None:
        self._model, self._config, self._given = model, config, given
        self._cache, self._announce = cache, announce
        self.name = model.name

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """See `DrivingProvider`."""
        refined = self.refine_prompt(base, prompt, progress)
        self._announce(f"Prompt for {self.name} (change it with --refined-prompt): {refined}")
        video = self._model.make(base, mask, refined, progress)
        return replace(video, refined_prompt=refined)

    def refine_prompt(self, base: Clip, prompt: str, progress: Progress) -> str:
        """What the model is asked for; nothing is made yet. Raises `InputError`."""
        if self._given:
            return self._given
        if self._config:
            return self._ask_endpoint(base, prompt, self._config, progress)
        return fill_template(prompt)

    def terms(self) -> list[str]:
        """See `VideoModel`."""
        return self._model.terms()

    def _ask_endpoint(
        self, base: Clip, prompt: str, config: EndpointConfig, progress: Progress
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


def _encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    scale = min(1.0, _SIDE / max(frame.shape[:2]))
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
    )[1].tobytes()
