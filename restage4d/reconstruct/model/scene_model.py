"""The scene being fitted: subject Gaussians moved by bases (Eq. 1) and a static background, as
named leaf tensors."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restage4d.clips import Cameras, Rewound
from restage4d.puppet import (
    SH_C0,
    Gaussians,
    Performance,
    Puppet,
)
from restage4d.reconstruct.model import se3_torch as se3
from restage4d.reconstruct.model.blending import blend_few, pack_bases
from restage4d.reconstruct.model.skinning import skin_splats

SPLAT_FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh0")


@dataclass
class Splats:
    """Gaussians ready to render: means (N, 3), quats (N, 4), scales (N, 3), opacities (N,), rgb (N,
    3)."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    rgb: Tensor


class SceneModel:
    """Parameters by name, so that optimiser, density control and checkpoints treat all alike.

    ``params``: ``subject.*`` and ``background.*`` for each of `SPLAT_FIELDS`, ``subject.coefs``
    logits (N, K) or, once pruned, (N, M); ``bases.rots`` (K, T, 6) and ``bases.trans`` (K, T, 3).
    ``support`` (N, M) int64 names the bases of pruned logits, None while they are dense. ``far``
    (N,) is positive for Gaussians that were guessed as the subject's far side: by how much each was
    put behind the surface.
    """

    def __init__(
        self, params: dict[str, Tensor], support: Tensor | None = None, far: Tensor | None = None
    ) -> None:
        self.params = {
            name: value.detach().clone().requires_grad_() for name, value in params.items()
        }
        self.support = support
        self.far = torch.zeros(self.n_subject, device=self.device) if far is None else far

    def take(self, rows: Tensor) -> None:
        """Subject rows that became others: what is no parameter goes along."""
        self.support = None if self.support is None else self.support[rows]
        self.far = self.far[rows]

    @property
    def n_subject(self) -> int:
        return len(self.params["subject.means"])

    @property
    def device(self) -> torch.device:
        return self.params["subject.means"].device

    def compute_coefs(self) -> Tensor:  # (N, K), or (N, M) once pruned
        """β of Eq. 1: non-negative, rows sum to 1."""
        return torch.softmax(self.params["subject.coefs"], dim=-1)

    def compute_bases(self, frames: slice = slice(None)) -> Tensor:  # (K, T', 9)
        """M_k(t) as members of SE(3): the rotation columns are orthonormal."""
        return pack_bases(*(self.params[f"bases.{name}"][:, frames] for name in ("rots", "trans")))

    def blend(
        self, bases: Tensor, coefs: Tensor, rows: Tensor | None = None
    ) -> Tensor:  # (N, ..., 9)
        """The sum of Eq. 1, before γ, for all subject Gaussians (or ``rows``) under ``bases`` (K,
        ..., 9) and ``coefs`` as `compute_coefs` gives them."""
        support = self.support
        if rows is not None:
            coefs = coefs.index_select(0, rows)
            support = None if support is None else support.index_select(0, rows)
        if support is None:
            return se3.blend_columns(bases, coefs)
        return blend_few(bases, support, coefs)

    def skin(self, columns: Tensor) -> Splats:  # (N, 9)
        """The subject in the world; orientations turn by the same rotation as the means."""
        splats = self._activate("subject")
        splats.means, splats.quats = skin_splats(columns, splats.means, splats.quats)
        return splats

    def pose_subject(self, frame: int) -> Splats:
        """The subject in the world at a frame."""
        bases = self.compute_bases(slice(frame, frame + 1))[:, 0]
        return self.skin(self.blend(bases, self.compute_coefs()))

    def compute_positions(self, frame: int) -> Tensor:  # (N, 3)
        """Subject means in the world at a frame."""
        return self.pose_subject(frame).means

    def compute_dense_coefs(self) -> Tensor:  # (N, K)
        """β of Eq. 1 over all bases, also once pruned."""
        coefs = self.compute_coefs()
        if self.support is None:
            return coefs
        return se3.scatter_coefs(self.support, coefs, len(self.params["bases.rots"]))

    def get_background(self) -> Splats:
        return self._activate("background")

    def _activate(self, part: str) -> Splats:
        p = self.params
        return Splats(
            p[f"{part}.means"],
            F.normalize(p[f"{part}.quats"], dim=-1),
            p[f"{part}.log_scales"].exp(),
            p[f"{part}.logit_opacities"].sigmoid(),
            (0.5 + SH_C0 * p[f"{part}.sh0"]).clamp(0.0, 1.0),
        )

    def find_top_influences(
        self, influences: int
    ) -> tuple[Tensor, Tensor]:  # (N, M) int64, (N, M) weights summing to 1
        """The strongest M coefficients of every Gaussian, rescaled to sum to 1."""
        coefs = self.compute_coefs().detach()
        weight, index = coefs.topk(min(influences, coefs.shape[1]), dim=1)
        index = index if self.support is None else self.support.gather(1, index)
        return index, weight / weight.sum(1, keepdim=True)

    def to_puppet(
        self, rewound: Rewound, cameras: Cameras, prompts: list[str], influences: int
    ) -> Puppet:
        """Splits the rewound performance back into "base" and one performance per driving video,
        all starting at b_0."""
        index, weight = (a.cpu().numpy() for a in self.find_top_influences(influences))
        bases = self.compute_bases().detach().cpu().numpy()
        performances = []
        for source in range(rewound.n_branches + 1):
            rows = rewound.video(source)
            performances.append(
                Performance(
                    name="base"
                    if source == 0
                    else "restaged"
                    if rewound.n_branches == 1
                    else f"restaged {source}",
                    bases=np.ascontiguousarray(bases[:, rows], np.float32),
                    fps=rewound.clip.fps,
                    K=cameras.K[rows].astype(np.float32),
                    w2c=cameras.w2c[rows].astype(np.float32),
                    size=rewound.clip.size,
                    prompt="" if source == 0 else prompts[source - 1],
                )
            )
        return Puppet(
            subject=_to_gaussians(self._activate("subject"), self.params["subject.sh0"]),
            index=index.astype(np.uint16),
            weight=np.ascontiguousarray(weight / weight.sum(1, keepdims=True), np.float32),
            performances=performances,
            background=_to_gaussians(self.get_background(), self.params["background.sh0"]),
        )


def _to_gaussians(splats: Splats, sh0: Tensor) -> Gaussians:
    def array(x: Tensor) -> np.ndarray:
        return np.ascontiguousarray(x.detach().cpu().numpy(), np.float32)

    quats, opacities = array(splats.quats), array(splats.opacities)
    return Gaussians(
        array(splats.means), quats, array(splats.scales), opacities, array(sh0)[:, None]
    )
