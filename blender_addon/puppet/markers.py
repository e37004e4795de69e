# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks found, as markers on the timeline. Each knows its puppet's armature by a custom
property, so that no other marker is ever touched."""

from collections.abc import Sequence

import bpy

from restage4d.finding import Finding

from . import actions

KEY = "restage4d"  # of a marker: the armature


def mark_findings(
    scene: bpy.types.Scene,
    armature: bpy.types.Object,
    findings: Sequence[Finding],
    performance: str,
    n_frames: int,
) -> None:
    """Renews a puppet's markers: those of the performance that plays, one where a finding begins
    and one where it ends; none for what holds from the first frame to the last."""
    clear_markers(scene, armature)
    names: dict[int, list[str]] = {}
    for finding in findings:
        first, last = get_span(finding, n_frames)
        if finding.video != performance or (first, last) == get_scene_span(n_frames):
            continue
        names.setdefault(first, []).append(get_label(finding))
        if last > first:
            names.setdefault(last, []).append(f"{get_label(finding)} ends")
    for frame, labels in names.items():
        marker = scene.timeline_markers.new(f"Restage4D: {', '.join(labels)}", frame=frame)
        marker[KEY] = armature


def clear_markers(scene: bpy.types.Scene, armature: bpy.types.Object) -> None:
    """Removes a puppet's markers."""
    _remove(scene, [m for m in scene.timeline_markers if m.get(KEY) == armature])


def sweep_markers(scene: bpy.types.Scene) -> None:
    """Removes markers of puppets that are in the scene no more."""
    marked = [m for m in scene.timeline_markers if KEY in m.keys()]  # noqa: SIM118
    _remove(scene, [m for m in marked if m.get(KEY) is None or m[KEY].name not in scene.objects])


def _remove(scene: bpy.types.Scene, markers: list[bpy.types.TimelineMarker]) -> None:
    for marker in markers:
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
