# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks found, as markers on the timeline. A scene's custom property remembers them by
name and frame (Blender 5 gives markers no properties of their own), so that no other is touched."""

from collections.abc import Iterator, Sequence

import bpy

from restage4d.finding import Finding

from . import actions

_LONGEST = 63  # bytes of a marker's name; Blender cuts the rest off
KEY = "restage4d_markers"  # of a scene: name, frame and armature of each


def mark_findings(
    scene: bpy.types.Scene,
    armature: bpy.types.Object,
    findings: Sequence[Finding],
    performance: str,
    n_frames: int,
    spans: Sequence[tuple[str, int, int]] = (),
) -> None:
    """Renews a puppet's markers: those of the performance that plays, one where a finding begins
    and one where it ends; none for what holds from the first frame to the last. ``spans`` are
    further ones: label, first and last scene frame.

    A marker that the artist moved or renamed is the artist's.
    """
    kept = [m for m in _recall(scene) if m[2] != armature]
    _forget(scene, [m for m in _recall(scene) if m[2] == armature])
    names: dict[int, list[str]] = {}
    for finding in findings:
        first, last = get_span(finding, n_frames)
        if finding.video != performance or (first, last) == get_scene_span(n_frames):
            continue
        names.setdefault(first, []).append(get_label(finding))
        if last > first:
            names.setdefault(last, []).append(f"{get_label(finding)} ends")
    for label, first, last in spans:
        names.setdefault(first, []).append(label)
        names.setdefault(last, []).append(f"{label} ends")
    made = [(name, frame) for frame, labels in names.items() for name in pack_labels(labels)]
    for name, frame in made:
        scene.timeline_markers.new(name, frame=frame)
    _remember(scene, [*kept, *((name, frame, armature) for name, frame in made)])


def pack_labels(labels: Sequence[str]) -> list[str]:
    """Names of markers that tell all labels, as few as Blender's `_LONGEST` bytes allow."""
    out: list[str] = []
    for label in labels:
        both = f"{out[-1]}, {label}" if out else ""
        if out and len(both.encode()) <= _LONGEST:
            out[-1] = both
        else:
            out.append(f"Restage4D: {label}")
    return out


def sweep_markers(scene: bpy.types.Scene) -> None:
    """Removes markers of puppets that are in the scene no more."""
    if KEY not in scene:
        return
    known = list(_recall(scene))
    gone = [m for m in known if m[2] is None or m[2].name not in scene.objects]
    if gone:
        _forget(scene, gone)
        _remember(scene, [m for m in known if m not in gone])


_Known = tuple[str, int, bpy.types.Object | None]  # name, frame, armature


def _recall(scene: bpy.types.Scene) -> Iterator[_Known]:
    for kept in scene.get(KEY, {}).values():
        yield kept["name"], kept["frame"], kept.get("armature")


def _remember(scene: bpy.types.Scene, known: Sequence[_Known]) -> None:
    """Keeps which markers are ours; nothing is kept of none."""
    if known:
        scene[KEY] = {
            str(i): {"name": name, "frame": frame}
            | ({"armature": armature} if armature is not None else {})
            for i, (name, frame, armature) in enumerate(known)
        }
    elif KEY in scene:
        del scene[KEY]


def _forget(scene: bpy.types.Scene, known: Sequence[_Known]) -> None:
    """Removes the markers themselves."""
    places = [(name, frame) for name, frame, _ in known]
    for marker in list(scene.timeline_markers):
        if (marker.name, marker.frame) in places:
            places.remove((marker.name, marker.frame))
            scene.timeline_markers.remove(marker)


def get_label(finding: Finding) -> str:
    """What it is in a word or two: its code without hyphens."""
    return finding.code.replace("-", " ")


def get_span(finding: Finding, n_frames: int) -> tuple[int, int]:
    """First and last scene frame of a finding in a performance of so many frames."""
    first, last = sorted(
        min(max(frame, 0), n_frames - 1) for frame in (finding.first_frame, finding.last_frame)
    )
    return actions.FIRST_FRAME + first, actions.FIRST_FRAME + last


def get_scene_span(n_frames: int) -> tuple[int, int]:
    """First and last scene frame of a performance."""
    return actions.FIRST_FRAME, actions.FIRST_FRAME + n_frames - 1
