"""The puppet: Gaussians, their influences, performances; and the ``.puppet`` file
(docs/puppet_format.md), which holds the same numbers in the same units (`values`).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from restage4d import se3, sh
from restage4d.errors import InputError
from restage4d.finding import Finding
from restage4d.io.atomic import replacing
from restage4d.puppet.header import FORMAT_VERSION, read_metadata
from restage4d.puppet.validity import check
from restage4d.puppet.values import (
    F32,
    SH_C0,
    Camera,
    Gaussians,
    Performance,
    PuppetValues,
    rgb_to_sh,
    sh_to_rgb,
)
from restage4d.skeleton.body_parts import BodyPart

__all__ = [
    "F32",
    "SH_C0",
    "Camera",
    "Gaussians",
    "Performance",
    "Puppet",
    "rgb_to_sh",
    "sh_to_rgb",
]


class Puppet(PuppetValues):
    """A restaged subject that can be posed, saved and loaded."""

    def pose(self, performance: str | Performance | F32, frame: int = 0) -> Gaussians:
        """The subject's Gaussians in the world at a frame (Eq. 1); orientation and SH turn by the
        same rotation as the mean.

        Args:
            performance: its name; a `Performance` of these bases, of this puppet or not; or the
                bases (K, 9) themselves, as they are at one moment.
            frame: from 0, in playing order; bases have no frames.

        Raises:
            InputError: a name or a frame that is not there, or bases of another shape.

        Example:
            >>> puppet.pose("restaged", 20).means.mean(0)  # where the subject is, world
        """
        if isinstance(performance, str):
            performance = self.performance(performance)
        if isinstance(performance, Performance):
            performance.check_frame(frame)
            performance = performance.bases[:, frame]
        if performance.shape != (self.n_bases, 9):
            raise InputError(
                f"Bases of shape {performance.shape} do not move this puppet.",
                f"Give {(self.n_bases, 9)}.",
            )
        R, t = se3.blend(performance, self.index, self.weight)
        quats = se3.quat_multiply(se3.matrix_to_quat(R), self.subject.quats)
        means = se3.transform(R, t, self.subject.means)
        return replace(self.subject, means=means, quats=quats, sh=sh.rotate(self.subject.sh, R))

    def compute_dense_weight(self) -> F32:  # (N, K)
        """The coefficients β of Eq. 1 over all bases: a Gaussian's are 0 but for its few."""
        dense = np.zeros((len(self.subject), self.n_bases), np.float32)
        np.add.at(dense, (np.arange(len(dense))[:, None], self.index), self.weight)
        return dense

    def __repr__(self) -> str:
        performances = "; ".join(p._outline() for p in self.performances)
        return (
            f"<Puppet: {len(self.subject)} subject and {len(self.background)} background "
            f"Gaussians, {self.n_bases} bases; {performances}>"
        )

    def save(self, path: str | Path) -> None:
        """Writes a ``.puppet`` file, whole or not at all. Raises `InputError` if the puppet itself
        is invalid."""
        check(self, "this puppet")
        tensors = {f"subject.{k}": v for k, v in vars(self.subject).items()}
        tensors |= {f"background.{k}": v for k, v in vars(self.background).items()}
        tensors |= {"influences.index": self.index, "influences.weight": self.weight}
        for i, p in enumerate(self.performances):
            tensors |= {f"performance.{i}.{k}": getattr(p, k) for k in ("bases", "K", "w2c")}
        about = {
            "format_version": FORMAT_VERSION,
            "metres_per_unit": self.metres_per_unit,
            "performances": [
                {"name": p.name, "fps": p.fps, "size": list(p.size), "prompt": p.prompt}
                for p in self.performances
            ],
            "provenance": self.provenance,
            "metrics": self.metrics,
        }
        if self.findings:  # files of before had none
            about["findings"] = [finding.to_record() for finding in self.findings]
        if self.body:
            about["body"] = [part.to_record() for part in self.body]
        metadata = {"restage4d.puppet": json.dumps(about, allow_nan=False)}
        with replacing(path) as temporary:
            # Not save_file, which hides "disk full" in an error of its own.
            temporary.write_bytes(
                save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata)
            )

    @staticmethod
    def load(path: str | Path) -> "Puppet":
        """Reads a ``.puppet`` file and checks shapes, dtypes, finiteness and version.

        Raises:
            InputError: missing, truncated, foreign, newer or inconsistent file; says which.
        """
        path = Path(path)
        about = read_metadata(path)
        try:
            tensors = load_file(path)
        except Exception as error:
            raise InputError(
                f"{path} is damaged: the arrays that its header lists are not what its "
                f"{path.stat().st_size} bytes hold.",
                "Make the puppet again or take an older copy.",
            ) from error
        missing = sorted(_list_arrays(len(about["performances"])) - tensors.keys())
        if missing:
            raise InputError(
                f"{path} lacks a part of a puppet: {', '.join(missing)}.",
                "Make it again with this version of Restage4D.",
            )
        try:
            puppet = Puppet(
                subject=_gaussians(tensors, "subject"),
                index=tensors["influences.index"],
                weight=tensors["influences.weight"],
                performances=[
                    Performance(
                        name=p["name"],
                        bases=tensors[f"performance.{i}.bases"],
                        fps=float(p["fps"]),
                        K=tensors[f"performance.{i}.K"],
                        w2c=tensors[f"performance.{i}.w2c"],
                        size=(int(p["size"][0]), int(p["size"][1])),
                        prompt=p["prompt"],
                    )
                    for i, p in enumerate(about["performances"])
                ],
                background=_gaussians(tensors, "background"),
                metres_per_unit=float(about["metres_per_unit"]),
                provenance=about["provenance"],
                metrics=about["metrics"],
                findings=[Finding.from_record(r) for r in about.get("findings", [])],
                body=[BodyPart.from_record(r) for r in about.get("body", [])],
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path} is not a valid puppet: a record of its findings or its body is not as it "
                "must be.",
                "Make it again with this version of Restage4D.",
            ) from error
        check(puppet, str(path))
        return puppet


_PARTS = ("means", "quats", "scales", "opacities", "sh")


def _list_arrays(n_performances: int) -> set[str]:
    """Names of the arrays that a file must have."""
    names = {f"{g}.{part}" for g in ("subject", "background") for part in _PARTS}
    names |= {f"performance.{i}.{k}" for i in range(n_performances) for k in ("bases", "K", "w2c")}
    return names | {"influences.index", "influences.weight"}


def _gaussians(tensors: dict[str, NDArray], name: str) -> Gaussians:
    return Gaussians(*(tensors[f"{name}.{k}"] for k in _PARTS))
