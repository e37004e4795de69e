# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator that collects a bug report."""

from dataclasses import fields

import bpy

from .. import failures, paths, preferences, runtime
from ..languages import say
from ..session import bug_report
from .writing import WritesFiles


class RESTAGE4D_OT_report_bug(WritesFiles, bpy.types.Operator):
    """Collect versions, settings and the ends of logs in a zip: no keys, no video, no prompt"""

    bl_idname = "restage4d.report_bug"
    bl_label = "Collect a Bug Report"
    suffixes = (".zip",)

    filepath: bpy.props.StringProperty(
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    filter_glob: bpy.props.StringProperty(default="*.zip", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = "restage4d_bug_report.zip"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.ask(context) or self._collect()

    def _collect(self) -> set[str]:
        session = runtime.session()
        facts = {
            "blender": bpy.app.version_string,
            "restage4d": paths.version(),
            "wheels": paths.wheel_versions(),
            "backend": {k: v for k, v in vars(session.backend).items() if k != "fault"}
            | {"fault": str(session.backend.fault)},
            "job": None
            if session.job is None
            else {k: getattr(session.job, k) for k in ("id", "state", "stage", "fraction")},
            "job_fault": None if session.job is None else str(session.job.fault),
        }
        settings = {
            name: getattr(preferences.get(), name)
            for name in (field.name for field in fields(preferences.Preferences))
        }
        try:
            names = bug_report.write(self.place, facts, settings, paths.logs())
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        self.report({"INFO"}, say(f"Wrote {self.place}: {', '.join(names)}"))
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_report_bug,)
