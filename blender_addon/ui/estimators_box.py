# SPDX-License-Identifier: GPL-3.0-or-later
"""Better estimators in the panel: the button, the offer, the download, and what is used then."""

import bpy

from .. import preferences, runtime
from ..languages import CONTEXT, translate
from ..session.estimators import Estimators
from .text import fault_box, paragraph


def draw_estimators(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Below the estimators' menus."""
    if preferences.get().connection != "OWN":
        return
    state = runtime.session().estimators.state
    if state.phase == "closed":
        layout.operator("restage4d.get_estimators", icon="IMPORT")
        return
    box = layout.box()
    if state.phase == "looking":
        box.label(text="Looking what fits this computer ...", text_ctxt=CONTEXT, icon="SORTTIME")
        return
    if state.fault is not None:
        fault_box(box, context, state.fault)
    if state.phase == "asking":
        paragraph(box, context, "Is what you make for commercial use? Some models may not be then.")
        row = box.row(align=True)
        yes = row.operator("restage4d.answer_commercial", text="Yes", text_ctxt=CONTEXT)
        no = row.operator("restage4d.answer_commercial", text="No", text_ctxt=CONTEXT)
        yes.commercial, no.commercial = True, False  # pyright: ignore[reportAttributeAccessIssue]
        return
    for offer in state.offers:
        paragraph(box, context, offer.line, icon="CHECKMARK" if offer.here else "IMPORT")
        paragraph(box, context, offer.changes)
    if state.phase == "fetching":
        _draw_progress(box, state)
    else:
        _draw_offer(box, context, state)


def _draw_progress(box: bpy.types.UILayout, state: Estimators) -> None:
    text = translate("Downloading {}  {:.0%}").format(state.model, state.fraction)
    box.progress(factor=state.fraction, text=text, translate=False)
    box.operator("restage4d.stop_fetching", icon="CANCEL", text="Stop", text_ctxt=CONTEXT)


def _draw_offer(box: bpy.types.UILayout, context: bpy.types.Context, state: Estimators) -> None:
    if state.missing:
        size = f"{state.gigabytes:.2g}"
        text = translate("From huggingface.co into {}: {} GB.").format(state.folder, size)
        paragraph(box, context, text)
        if state.libraries:
            text = translate("Python packages, too: {}.").format(", ".join(state.libraries))
            paragraph(box, context, text)
        box.operator(
            "restage4d.fetch_estimators",
            icon="IMPORT",
            text=translate("Download {} GB").format(size),
            translate=False,
        )
    elif state.offers:
        paragraph(box, context, "They are here and used, offline, where nothing else is chosen.")
    else:
        paragraph(box, context, "No other model fits this computer.")
    used = "; ".join(f"{translate(kind.title())}: {who}" for kind, who in state.used.items())
    paragraph(box, context, translate("Automatic takes: {}.").format(used))
    box.operator("restage4d.close_estimators", icon="X", text="Put Away", text_ctxt=CONTEXT)
