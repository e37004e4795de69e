"""Driving videos by an image-to-video diffusion model on this computer (diffusers): Wan, LTX-Video,
CogVideoX, SVD."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from restage4d.clips import Clip
from restage4d.driving.framing import fit_into
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.seam import prepare
from restage4d.errors import InputError
from restage4d.progress import Progress, Task, TaskId
from restage4d.providers.devices import best_device, precision, until_it_fits


@dataclass(frozen=True)
class Family:
    """What a kind of model wants.

    Attributes:
        pipeline: class in diffusers.
        area, multiple: pixels of the picture that it was trained on; width and height are multiples
            of ``multiple``.
        size: (width, height) where it knows one size only, else None.
        frames, fps: how many frames it makes at what rate; ``stride``: frames are a multiple of it,
            and one.
        steps, guidance: as its makers recommend; guidance None where it has another kind.
    """

    pipeline: str
    area: int
    multiple: int
    size: tuple[int, int] | None
    frames: int
    stride: int
    fps: float
    steps: int
    guidance: float | None


_WAN = Family("WanImageToVideoPipeline", 480 * 832, 16, None, 81, 4, 16.0, 40, 5.0)
_FAMILIES = {  # by the class that model_index.json names
    "WanImageToVideoPipeline": _WAN,
    "WanPipeline": Family(
        "WanImageToVideoPipeline", 704 * 1280, 32, None, 121, 4, 24.0, 50, 5.0
    ),  # Wan 2.2 5B, both ways in one
    "LTXPipeline": Family("LTXImageToVideoPipeline", 512 * 704, 32, None, 97, 8, 24.0, 40, 3.0),
    "LTXImageToVideoPipeline": Family(
        "LTXImageToVideoPipeline", 512 * 704, 32, None, 97, 8, 24.0, 40, 3.0
    ),
    "CogVideoXImageToVideoPipeline": Family(
        "CogVideoXImageToVideoPipeline", 480 * 720, 16, (720, 480), 49, 8, 8.0, 50, 6.0
    ),
    "StableVideoDiffusionPipeline": Family(
        "StableVideoDiffusionPipeline", 576 * 1024, 64, (1024, 576), 25, 1, 7.0, 25, None
    ),
}
_AVOID = (
    "camera movement, zoom, cut, scene change, blurry, distorted, deformed limbs, extra limbs, "
    "text, watermark"
)


@dataclass(frozen=True)
class DiffusionConfig:
    """What to make; None leaves it to the model.

    Attributes:
        seed: of the noise; the same seed gives the same video on the same machine.
        frames, fps: how many frames the model makes, and the rate they are taken to have.
        steps: of denoising.
        area: pixels of the picture given to models that take any size.
        weights: `restage4d.providers.weights.fingerprint` of the folder, for the cache.
    """

    seed: int = 0
    frames: int | None = None
    fps: float | None = None
    steps: int | None = None
    area: int | None = None
    weights: str = ""


class DiffusersDriving:
    """A `restage4d.driving.protocols.VideoModel`.

    Args:
        name: as in the catalogue, or the model's id.
        folder: a pipeline as diffusers saves it (model_index.json and the parts' folders).
        config: see `DiffusionConfig`.

    Raises:
        InputError: the folder holds no image-to-video pipeline that is known here.
    """

    def __init__(self, name: str, folder: Path, config: DiffusionConfig) -> None:
        self.name, self.folder, self.config = name, folder, config
        self.identity = ("diffusers", name, config)  # the same video comes of the same
        index = folder / "model_index.json"
        try:
            made_for = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{index} cannot be read: {error}.", "Give a folder as diffusers saves it."
            ) from error
        if made_for not in _FAMILIES:
            raise InputError(
                f"{index} is of a {made_for}, which makes no video from a picture.",
                f"Known: {', '.join(_FAMILIES)}.",
            )
        self.family = _FAMILIES[made_for]

    def terms(self) -> list[str]:
        """Nothing leaves this computer."""
        return []

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """A video that begins with b_0, at the base's size and rate.

        Where it does not fit the GPU, its parts take turns there, then its layers, and at last the
        CPU does it.
        """
        family, config = self.family, self.config
        letterbox = fit_into(base.frames[0], family.size or self._size(base.size))
        frames = config.frames or family.frames
        frames = (
            max(1, round((frames - 1) / family.stride)) * family.stride + 1
            if family.stride > 1
            else frames
        )
        steps = config.steps or family.steps
        cuda = best_device().type == "cuda"
        with progress.task(TaskId.GENERATE_DRIVING, steps) as task:

            def run(where: str) -> NDArray[np.uint8]:
                task.step = 0
                pipe = self._load(where)
                return self._generate(pipe, letterbox.picture, prompt, frames, steps, task)

            made = until_it_fits(
                ("gpu", "parts", "layers", "cpu") if cuda else ("cpu",), run, self.name
            )
        clip = Clip(letterbox.crop(made), config.fps or family.fps)
        clip = prepare(base, clip, f"the video by {self.name}", subject=mask)
        return DrivingVideo(clip, self.name)

    def _size(self, base: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the base's shape and about the model's area, in its multiples."""
        scale = np.sqrt((self.config.area or self.family.area) / (base[0] * base[1]))
        multiple = self.family.multiple
        width, height = (max(multiple, round(n * scale / multiple) * multiple) for n in base)
        return width, height

    def _load(self, where: str) -> Any:
        diffusers.utils.logging.disable_progress_bar()
        dtype = torch.float32 if where == "cpu" else precision(best_device())
        # Wan's autoencoder shows banding in half precision
        types = {"default": dtype, "vae": torch.float32} if self.family is _WAN else dtype
        try:
            kind = getattr(diffusers, self.family.pipeline)
            pipe = kind.from_pretrained(self.folder, dtype=types, local_files_only=True)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # diffusers, safetensors and torch raise what they like
            first = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise InputError(
                f"{self.folder} cannot be loaded: {first}",
                "It is damaged or incomplete: get it again.",
            ) from error
        pipe.set_progress_bar_config(disable=True)
        if where == "gpu":
            pipe.to("cuda")
        elif where == "parts":
            pipe.enable_model_cpu_offload()
        elif where == "layers":
            pipe.enable_sequential_cpu_offload()
            if hasattr(pipe.vae, "enable_tiling"):
                pipe.vae.enable_tiling()
        return pipe

    def _generate(
        self,
        pipe: Any,
        picture: NDArray[np.uint8],
        prompt: str,
        frames: int,
        steps: int,
        task: Task,
    ) -> NDArray[np.uint8]:
        """(T, h, w, 3) frames. The noise comes from the CPU, so that it is the same on every
        device."""

        def tick(pipeline: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            task.advance()  # raises Cancelled
            return values

        options: dict[str, Any] = {
            "image": Image.fromarray(picture),
            "height": picture.shape[0],
            "width": picture.shape[1],
            "num_frames": frames,
            "num_inference_steps": steps,
            "generator": torch.Generator("cpu").manual_seed(self.config.seed),
            "output_type": "np",
            "callback_on_step_end": tick,
        }
        if self.family.guidance is not None:
            options |= {
                "prompt": prompt,
                "negative_prompt": _AVOID,
                "guidance_scale": self.family.guidance,
            }
        accepted = inspect.signature(pipe.__call__).parameters
        rate = self.config.fps or self.family.fps
        if "frame_rate" in accepted:
            options["frame_rate"] = rate
        elif (
            self.family.guidance is None
        ):  # SVD is told the rate as a whole number, one less inside
            options["fps"] = round(rate)
        generated = np.asarray(pipe(**options).frames[0])
        if not np.isfinite(generated).all():
            raise InputError(
                f"{self.name} gave frames that are not numbers.",
                "Its half precision failed here: run it on another GPU.",
            )
        return (np.clip(generated, 0, 1) * 255 + 0.5).astype(np.uint8)
