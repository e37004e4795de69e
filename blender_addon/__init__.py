# SPDX-License-Identifier: GPL-3.0-or-later
"""Restage4D in Blender. Importing this package needs no Blender; registering it and most of its
modules do."""


def register() -> None:
    import bpy

    from . import preferences, properties, runtime
    from .operators import (
        bring_in,
        bug_report,
        driving,
        import_export,
        jobs,
        select_subject,
    )
    from .ui import panels, puppet_panel

    import_export.register()
    properties.register()
    for module in (
        preferences,
        jobs,
        driving,
        bring_in,
        select_subject,
        bug_report,
        panels,
        puppet_panel,
    ):
        for c in module.CLASSES:
            bpy.utils.register_class(c)
    runtime.register()


def unregister() -> None:
    import bpy

    from . import preferences, properties, runtime
    from .operators import (
        bring_in,
        bug_report,
        driving,
        import_export,
        jobs,
        select_subject,
    )
    from .ui import panels, puppet_panel

    runtime.unregister()
    for module in (
        puppet_panel,
        panels,
        bug_report,
        select_subject,
        bring_in,
        driving,
        jobs,
        preferences,
    ):
        for c in reversed(module.CLASSES):
            bpy.utils.unregister_class(c)
    properties.unregister()
    import_export.unregister()
