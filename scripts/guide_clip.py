"""Makes a clip of about 30 seconds of a puppet being directed, without a window or Blender.

    python scripts/guide_clip.py out/puppet.puppet --out directed.mp4 [--width 480] [--sheet s.png]

What was filmed and what was restaged; the head turned; a front paw raised; the filmed performance
and then the restaged one; the same from beside and from behind. ``--sheet`` also writes every 45th
frame as one picture. The puppet needs a skeleton with a head and a limb, and two performances.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from restage4d import se3, sh  # noqa: E402
from restage4d.errors import InputError  # noqa: E402
from restage4d.io.video import encode  # noqa: E402
from restage4d.puppet import Camera, Gaussians, Performance, Puppet  # noqa: E402
from restage4d.se3 import Array  # noqa: E402
from restage4d.skeleton.finding import find_skeleton  # noqa: E402
from restage4d.skeleton.motion import compute_motion  # noqa: E402
from restage4d.skeleton.posing import blend_changes  # noqa: E402
from restage4d.skeleton.skeleton import Skeleton  # noqa: E402
from restage4d.splatting.gaussians import render_gaussians  # noqa: E402
from restage4d.splatting.orbit import orbit_cameras  # noqa: E402

U8 = NDArray[np.uint8]

FPS = 24.0
SLOW = 2.5  # times as long, where a tweak is shown
HEAD = 40.0  # degrees about the vertical
PAW = (-60.0, 75.0)  # degrees of the upper and of the lower leg, about the body's side
SEAM = 8  # frames, from one performance into the other
BACKDROP = 0.78  # of the views that nobody filmed
EVERY = 45  # frames of the sheet


@dataclass(frozen=True)
class Turn:
    """A bone turned on top of what was filmed: degrees about an axis of the world."""

    bone: int
    degrees: float
    axis: Array  # (3,)


def main() -> None:
    parser = argparse.ArgumentParser(description="A clip of a puppet being directed.")
    parser.add_argument("puppet", type=Path)
    parser.add_argument("--out", type=Path, default=Path("directed.mp4"))
    parser.add_argument("--width", type=int, default=480, help="of the picture, pixels")
    parser.add_argument("--sheet", type=Path, help="also a picture of every 45th frame")
    given = parser.parse_args()
    puppet = Puppet.load(given.puppet)
    kept: list[U8] = []

    def frames() -> Iterator[U8]:
        for t, picture in enumerate(direct(puppet, given.width)):
            if t % EVERY == 0:
                kept.append(picture)
            yield picture

    encode(given.out, frames(), FPS, crf=20)
    if given.sheet is not None:
        kept += [np.zeros_like(kept[0])] * (-len(kept) % 4)
        rows = [np.concatenate(kept[i : i + 4], 1) for i in range(0, len(kept), 4)]
        cv2.imwrite(str(given.sheet), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    print(given.out)


def direct(puppet: Puppet, width: int) -> Iterator[U8]:  # of (H, W, 3)
    """The clip's frames."""
    skeleton = find_skeleton(puppet)
    if skeleton is None or len(puppet.performances) < 2:
        raise InputError(
            "The clip needs a puppet with a skeleton and two performances.",
            "Take that of the demo: scripts/run.sh makes it.",
        )
    filmed, restaged = puppet.performances[0], puppet.performances[-1]
    head, paw = turn_head(skeleton), raise_paw(skeleton)
    both = follow(puppet, skeleton, filmed, restaged)
    said = f"Restaged: {restaged.prompt or restaged.name}"
    for performance, slow, turns, degrees, text in (
        (filmed, 1.5, [], 0, "Filmed"),
        (restaged, 1.5, [], 0, said),
        (restaged, SLOW, head, 0, f"The head turned by {HEAD:.0f} degrees"),
        (restaged, SLOW, paw, 0, "A front paw raised"),
        (both, 1.0, [], 0, "The filmed walk, then the restaged performance"),
        (both, 1.0, [*head, *paw], 90, "The same with head and paw, from beside"),
        (both, 1.0, [*head, *paw], 180, "From behind, where no camera was"),
    ):
        motion = compute_motion(skeleton, puppet, performance.bases).bones  # (S, T, 4, 4)
        cameras = (
            orbit_cameras(puppet, performance, degrees)
            if degrees
            else [performance.camera(t) for t in range(performance.n_frames)]
        )
        last = performance.n_frames - 1
        count = round(slow * performance.n_frames)
        for i, at in enumerate(np.linspace(0, last, count)):
            t = round(at)
            ramp = ease(i / (count - 1))
            body = puppet.pose(interpolate(performance.bases, at))
            body = carry(body, skeleton, change(skeleton, motion[:, t], turns, ramp))
            sets = [body] if degrees else [body, puppet.background]
            rgba, _ = render_gaussians(sets, scale(cameras[t], width))
            picture = rgba[..., :3] + (1 - rgba[..., 3:]) * BACKDROP
            yield label((picture.clip(0, 1) * 255).round().astype(np.uint8), text)


def ease(u: float) -> float:
    """0 at both ends, 1 in between, in ramps of a quarter."""
    x = float(np.clip(4 * min(u, 1 - u), 0, 1))
    return x * x * (3 - 2 * x)


def interpolate(bases: Array, at: float) -> Array:  # (K, T, 9) -> (K, 9)
    """The bases between two frames; Eq. 1 makes rotations of them."""
    t = min(int(at), bases.shape[1] - 2)
    share = np.float32(at - t)
    return (1 - share) * bases[:, t] + share * bases[:, t + 1]


def turn_head(skeleton: Skeleton) -> list[Turn]:
    """About the vertical, the neck where there is one."""
    bones = [i for i, b in enumerate(skeleton.bones) if b.part == "head"]
    if not bones:
        raise InputError("No head was found in this puppet.", "Take another one.")
    return [Turn(bones[0], HEAD, np.array([0.0, 0.0, 1.0]))]


def raise_paw(skeleton: Skeleton) -> list[Turn]:
    """The first front limb, forward and bent."""
    limbs = skeleton.find_limbs()
    if not limbs:
        raise InputError("No limb was found in this puppet.", "Take another one.")
    front = [x for x in limbs if skeleton.bones[x[1]].part.startswith(("leg_front", "arm"))]
    pair = (front or limbs)[0]
    forward = skeleton.bones[1].tail - skeleton.bones[0].head  # from the hips to the chest's end
    side = np.cross([0.0, 0.0, 1.0], forward)
    side = side / max(float(np.linalg.norm(side)), 1e-9)
    return [Turn(bone, angle, side) for bone, angle in zip(pair, PAW, strict=True)]


def change(skeleton: Skeleton, motion: Array, turns: list[Turn], ramp: float) -> Array:
    """What the turns change of every bone, (S, 4, 4): each turns about its joint where the frame
    has it (``motion``, (S, 4, 4)), and takes along the bones below it. Axes turn with the body's
    first bone."""
    own = np.tile(np.eye(4), (len(skeleton.bones), 1, 1))
    for turn in turns:
        M = motion[turn.bone]
        joint = M[:3, :3] @ skeleton.bones[turn.bone].head + M[:3, 3]
        vector = np.radians(turn.degrees * ramp) * (motion[0, :3, :3] @ turn.axis)
        own[turn.bone, :3, :3] = cv2.Rodrigues(vector)[0]
        own[turn.bone, :3, 3] = joint - own[turn.bone, :3, :3] @ joint
    for i, bone in enumerate(skeleton.bones):
        if bone.parent >= 0:
            own[i] = own[bone.parent] @ own[i]
    return own


def carry(body: Gaussians, skeleton: Skeleton, changes: Array) -> Gaussians:
    """The posed Gaussians, carried on by changed bones."""
    R, t = blend_changes(changes, skeleton.index, skeleton.weight.astype(np.float64))
    R, t = R.astype(np.float32), t.astype(np.float32)
    quats = se3.quat_multiply(se3.matrix_to_quat(R), body.quats)
    means = se3.transform(R, t, body.means)
    return replace(body, means=means, quats=quats, sh=sh.rotate(body.sh, R))


def follow(puppet: Puppet, skeleton: Skeleton, a: Performance, b: Performance) -> Performance:
    """``b`` after ``a``: turned about the vertical and moved over the ground, so that the body
    goes on where it is."""
    end = compute_motion(skeleton, puppet, a.bases).whole[-1]
    start = compute_motion(skeleton, puppet, b.bases).whole[0]
    turned = end[:3, :3] @ start[:3, :3].T
    yaw = np.arctan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1])
    R = cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0]
    middle = puppet.subject.means.mean(0).astype(np.float64)
    here, there = (M[:3, :3] @ middle + M[:3, 3] for M in (end, start))
    shift = (here - R @ there) * np.array([1.0, 1.0, 0.0])
    moved = b.bases.astype(np.float64)
    turns = R @ se3.gram_schmidt(moved[..., :6])
    moved = se3.pack(turns, moved[..., 6:] @ R.T + shift).astype(np.float32)
    share = np.linspace(0, 1, SEAM + 2, dtype=np.float32)[1:-1, None]
    seam = (1 - share) * a.bases[:, -1:] + share * moved[:, :1]
    bases = np.concatenate([a.bases, seam, moved], 1)
    rest = bases.shape[1] - a.n_frames
    K = np.concatenate([a.K, np.repeat(a.K[-1:], rest, 0)])
    w2c = np.concatenate([a.w2c, np.repeat(a.w2c[-1:], rest, 0)])
    return replace(a, name="both", bases=bases, K=K, w2c=w2c)


def scale(camera: Camera, width: int) -> Camera:
    """The camera with a picture of another width."""
    by = width / camera.size[0]
    K = camera.K.copy()
    K[:2] *= by
    return Camera(K, camera.w2c, (width, round(by * camera.size[1])))


def label(picture: U8, text: str) -> U8:
    """A caption in a strip at the lower border, smaller where it is long."""
    picture, size = picture.copy(), picture.shape[1] / 800
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    size *= min(1.0, (picture.shape[1] - 20) / width)
    picture[-round(44 * picture.shape[1] / 800) :] //= 3
    at = 10, picture.shape[0] - round(14 * picture.shape[1] / 800)
    white = (255, 255, 255)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, white, 1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    main()
