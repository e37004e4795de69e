"""Masks by SAM 2, EdgeTAM or SAM 3 (transformers): prompted in b_0, followed both ways along the
rewound clip."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound, Selection
from restage4d.errors import InputError
from restage4d.priors.masks.grabcut import mark_border_unknown
from restage4d.priors.masks.selecting.select import select_subject
from restage4d.progress import Progress, Task, TaskId
from restage4d.providers.devices import devices, precision, until_it_fits
from restage4d.providers.weights import load_pretrained

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_SCORE = 0.3  # of a detection by words, from which SAM 3 counts it


@dataclass(frozen=True)
class _Family:
    model: str  # class in transformers
    session: str
    kinds: tuple[str, ...]  # model_type of config.json
    normal: tuple[
        tuple[float, ...], tuple[float, ...]
    ]  # mean and deviation of the pictures it was trained on


_FAMILIES = {
    "sam2": _Family("Sam2VideoModel", "Sam2VideoInferenceSession", ("sam2_video",), _IMAGENET),
    "edgetam": _Family(
        "EdgeTamVideoModel", "EdgeTamVideoInferenceSession", ("edgetam_video",), _IMAGENET
    ),
    "sam3": _Family(
        "Sam3TrackerVideoModel",
        "Sam3TrackerVideoInferenceSession",
        ("sam3_video", "sam3_tracker_video"),
        _HALVES,
    ),
}


@dataclass(frozen=True)
class SamConfig:
    """``family``: "sam2", "edgetam" or "sam3". ``weights``:
    `restage4d.providers.weights.fingerprint` of the folder, for the cache."""

    family: str
    weights: str


class SamMasks:
    """A `restage4d.priors.protocols.MaskProvider`.

    Args:
        name: as in the catalogue.
        folder: config.json and weights (and for words the tokenizer).
        config: see `SamConfig`.

    Raises:
        InputError: the weights are damaged or of another model.
    """

    def __init__(self, name: str, folder: Path, config: SamConfig) -> None:
        self.name, self.folder, self.config = name, folder, config
        self._family = _FAMILIES[config.family]
        self._model: Any = load_pretrained(
            getattr(transformers, self._family.model), folder, self._family.kinds, torch.float32
        )

    def select(self, base: Clip, selection: Selection, progress: Progress) -> Bool:
        """The subject in b_0, (H, W): the model's mask at the point, in the box or by the words, or
        the given mask as it is.

        Where nothing is pointed at, what moves is found as without weights, and the model outlines
        that.

        Raises:
            InputError: there is nothing at the selection, or words were given to a model that does
                not read.
        """
        if selection.mask is not None:
            return select_subject(base, selection, progress)
        if selection.text is not None:
            return self._select_by_words(base, selection.text, progress)
        box, point = selection.box, selection.point
        if box is None and point is None:
            rows, cols = np.nonzero(select_subject(base, selection, progress))
            box = (
                float(cols.min()),
                float(rows.min()),
                float(cols.max() + 1),
                float(rows.max() + 1),
            )
        with progress.task(TaskId.SELECT):

            def outline(device: torch.device) -> Bool:
                session = self._open_session(base.frames[:1], device, device)
                self._prompt(session, 0, base.size, point=point, box=box)
                with torch.inference_mode():
                    return _resize_mask(self._model(session, frame_idx=0).pred_masks, base.size)

            mask = until_it_fits(devices(), outline, self.name)
        return self._check_found(
            mask, "there is nothing that the model would outline at the selection"
        )

    def propagate(self, rewound: Rewound, first: Bool, progress: Progress) -> F32:
        """Masks (T, H, W) as in `Priors.masks`. Every driving video is followed with the base as
        its memory."""
        masks = np.zeros(rewound.clip.frames.shape[:3], bool)
        with progress.task(TaskId.MASKS, len(rewound)) as task:
            for number, path in enumerate(rewound.paths()):
                at = int(np.flatnonzero(path == rewound.seam)[0])
                # the state of a long clip fits into main memory where it does not fit into the
                # GPU's
                attempts = [(d, d) for d in devices()]
                if attempts[0][0].type != "cpu":
                    attempts.insert(1, (attempts[0][0], torch.device("cpu")))
                done = task.step

                def run(
                    where: tuple[torch.device, torch.device],
                    path=path,
                    at=at,
                    number=number,
                    done=done,
                ) -> None:
                    task.step = done
                    session = self._open_session(rewound.clip.frames[path], *where)
                    self._prompt(session, at, rewound.clip.size, mask=first)
                    for t, mask in self._follow(
                        session, at, rewound.clip.size, backwards=number == 0, task=task
                    ):
                        masks[path[t]] = mask

                until_it_fits(attempts, run, self.name)
        return mark_border_unknown(masks)

    def _follow(
        self, session: Any, at: int, size: tuple[int, int], backwards: bool, task: Task
    ) -> Iterator[tuple[int, Bool]]:
        """From frame ``at`` to the end, then (for the first video) to the beginning; only what
        later frames need is kept."""
        ways = [(range(at, len(session.processed_frames)), False)]
        if backwards:
            ways.append((range(at - 1, -1, -1), True))
        for order, reverse in ways:
            for t in order:
                with torch.inference_mode():
                    logits = self._model(session, frame_idx=t, reverse=reverse).pred_masks
                for outputs in session.output_dict_per_obj[0].values():
                    if t in outputs:
                        outputs[t].pop("high_res_masks", None)
                yield t, _resize_mask(logits, size)
                task.advance()

    def _open_session(
        self, frames: NDArray[np.uint8], device: torch.device, state: torch.device
    ) -> Any:
        self._model.to(device=device, dtype=precision(device))
        session = getattr(transformers, self._family.session)(
            video_height=frames.shape[1],
            video_width=frames.shape[2],
            inference_device=device,
            inference_state_device=state,
            video_storage_device="cpu",
            dtype=precision(device),
        )
        session.processed_frames = _Frames(
            frames, self._model.config.image_size, self._family.normal, precision(device)
        )
        return session

    def _prompt(
        self,
        session: Any,
        frame: int,
        size: tuple[int, int],
        *,
        point=None,
        box=None,
        mask: Bool | None = None,
    ) -> None:
        """Adds one prompt, in pixels of a picture of ``size``; the model counts in pixels of its
        own square, centres whole."""
        side = self._model.config.image_size
        index = session.obj_id_to_idx(1)
        if mask is not None:
            large = torch.from_numpy(mask)[None, None].float()
            large = F.interpolate(
                large, (side, side), mode="bilinear", align_corners=False, antialias=True
            )
            session.add_mask_inputs(index, frame, (large >= 0.5).float())
        else:
            xy, labels = ([box[:2], box[2:]], [2, 3]) if box is not None else ([point], [1])
            scaled = (
                torch.tensor(xy, dtype=torch.float32)
                * torch.tensor([side / size[0], side / size[1]])
                - 0.5
            )
            inputs = {
                "point_coords": scaled[None, None].to(session.dtype),
                "point_labels": torch.tensor(labels)[None, None],
            }
            session.add_point_inputs(index, frame, inputs)
        session.obj_with_new_inputs = [1]

    def _select_by_words(self, base: Clip, words: str, progress: Progress) -> Bool:
        """What SAM 3 finds in b_0 for the words; of several, all that it is as sure of as of the
        surest (within a tenth)."""
        if self.config.family != "sam3":
            raise InputError(
                f"{self.name} cannot find a subject by words.", "Use --masks sam3, or --select X,Y."
            )
        detector = load_pretrained(
            transformers.Sam3Model, self.folder, ("sam3_video", "sam3"), torch.float32
        )
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True
            )
        except Exception as error:
            raise InputError(
                f"{self.folder} has no tokenizer for words: {error}.",
                "Get tokenizer.json of facebook/sam3.",
            ) from error
        text = tokenizer(
            words, return_tensors="pt", padding="max_length", max_length=32, truncation=True
        )
        side = detector.config.vision_config.image_size
        frames = _Frames(base.frames[:1], side, _HALVES, torch.float32)
        with progress.task(TaskId.SELECT), torch.inference_mode():

            def run(device: torch.device) -> Any:
                detector.to(device=device, dtype=precision(device))
                picture = frames[0][None].to(device, precision(device))
                return detector(
                    pixel_values=picture,
                    input_ids=text.input_ids.to(device),
                    attention_mask=text.attention_mask.to(device),
                )

            found = until_it_fits(devices(), run, self.name)
        score = found.pred_logits[0].float().sigmoid()
        if found.presence_logits is not None:
            score = score * found.presence_logits[0].float().sigmoid()
        sure = (score > _SCORE) & (score >= 0.9 * score.max())
        if not sure.any():
            raise InputError(
                f'"{words}" was not found in the first frame.',
                "Say it in other words, or use --select X,Y.",
            )
        mask = _resize_mask(found.pred_masks[0][sure].amax(0)[None, None], base.size)
        return self._check_found(mask, f'"{words}" was not found in the first frame')

    @staticmethod
    def _check_found(mask: Bool, complaint: str) -> Bool:
        if not 0 < mask.mean() < 0.95:
            raise InputError(
                f"{complaint[0].upper()}{complaint[1:]}.",
                "Point at the subject elsewhere, or give a mask.",
            )
        return mask


class _Frames(Mapping[int, torch.Tensor]):
    """Frames (T, H, W, 3) uint8 as the model wants them, (3, side, side), each made when it is
    asked for."""

    def __init__(
        self,
        frames: NDArray[np.uint8],
        side: int,
        normal: tuple[tuple[float, ...], tuple[float, ...]],
        dtype: torch.dtype,
    ) -> None:
        self.frames, self.side, self.dtype = frames, side, dtype
        self.mean, self.deviation = (torch.tensor(n)[:, None, None] for n in normal)

    def __getitem__(self, t: int) -> torch.Tensor:
        picture = (
            torch.from_numpy(np.ascontiguousarray(self.frames[t])).permute(2, 0, 1)[None].float()
            / 255
        )
        picture = F.interpolate(
            picture, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )[0]
        return ((picture - self.mean) / self.deviation).to(self.dtype)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.frames)))


def _resize_mask(logits: torch.Tensor, size: tuple[int, int]) -> Bool:  # (1, 1, h, w) -> (H, W)
    large = F.interpolate(logits.float(), (size[1], size[0]), mode="bilinear", align_corners=False)
    return (large[0, 0] > 0).cpu().numpy()
