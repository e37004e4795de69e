# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks found about a puppet, as a list in the sidebar."""

import bpy

from restage4d.finding import Finding

from ..languages import say, translate
from ..properties import find_open_finding
from ..puppet import importer, markers
from ..wording import name_fields
from .text import paragraph


def draw_findings(
    layout: bpy.types.UILayout, context: bpy.types.Context, imported: importer.ImportedPuppet
) -> None:
    """Warnings before notes, each a button that goes there; the last one clicked is told in
    full."""
    findings: list[Finding] = imported.about["findings"]
    if not findings:
        return
    header, body = layout.panel("restage4d_findings")
    header.label(text=count_findings(findings), icon="INFO")
    if body is None:
        return
    shown = find_open_finding(imported.armature)
    lengths = {p.name: p.n_frames for p in imported.performances}
    column = body.column(align=True)
    for index, finding in sorted(enumerate(findings), key=lambda f: f[1].severity == "note"):
        where = _describe_place(finding, lengths.get(finding.video))
        label = say(markers.get_label(finding))
        button = column.operator(
            "restage4d.show_finding",
            text=f"{label[:1].upper()}{label[1:]}, {where}",
            translate=False,
            icon="DOT" if finding.severity == "note" else "ERROR",
            depress=index == shown,
        )
        button.index = index  # pyright: ignore[reportAttributeAccessIssue]
    if 0 <= shown < len(findings):
        box = body.box()
        paragraph(box, context, name_fields(findings[shown].text))
        if findings[shown].remedy:
            paragraph(box, context, name_fields(findings[shown].remedy), icon="INFO")
        paragraph(box, context, "The text counts a clip's frames from 0, the timeline from 1.")


def count_findings(findings: list[Finding]) -> str:
    """How many there are to look at: the warnings, or the notes where there are only these."""
    warnings = sum(finding.severity != "note" for finding in findings)
    if warnings:
        one, many = translate("1 thing to look at"), translate("{count} things to look at")
    else:
        one, many = translate("1 note"), translate("{count} notes")
    count = warnings or len(findings)
    return one if count == 1 else many.format(count=count)


def _describe_place(finding: Finding, n_frames: int | None) -> str:
    """Scene frames, and which performance."""
    if n_frames is None:
        return finding.video
    first, last = markers.get_span(finding, n_frames)
    if (first, last) == markers.get_scene_span(n_frames):
        return translate("all of {video}").format(video=finding.video)
    return f"{finding.video} {first}" if first == last else f"{finding.video} {first}-{last}"
