# SPDX-License-Identifier: GPL-3.0-or-later
"""Restage4D in Blender. Importing this package needs no Blender; registering it and most of its
modules do.

From the top: this registration; `sync`, the one timer; operators/; ui/; `orders`, what the artist
chose as requests; `runtime`, the session and its link; viewport/; puppet/; session/, which knows no
Blender. Below all: `failures`, `paths`, `preferences`, `properties`, `takes`, `corrections`,
`compat`. Imports go down only. `headless` is a program of its own.
"""


def register() -> None:
    import bpy

    from . import properties, sync
    from .operators import import_export
    from .puppet.animation import layer_settings
    from .viewport import display

    display.register()
    properties.register()
    layer_settings.register()
    for c in _classes():
        bpy.utils.register_class(c)
    import_export.add_menus()
    sync.register()


def unregister() -> None:
    import bpy

    from . import properties, sync
    from .operators import import_export
    from .puppet.animation import layer_settings
    from .viewport import display

    sync.unregister()
    import_export.remove_menus()
    for c in reversed(_classes()):
        bpy.utils.unregister_class(c)
    layer_settings.unregister()
    properties.unregister()
    display.unregister()


def _classes() -> list[type]:
    """What is registered, in its order: panels stand in the sidebar as they are registered."""
    from .operators import (
        bring_in,
        bug_report,
        driving,
        findings,
        import_export,
        jobs,
        puppet,
        render_splats,
    )
    from .operators.animation import clips, curves, layers
    from .operators.pointing import mask_and_head, select_subject
    from .ui import panels, preferences_page, puppet_panel

    modules = (
        import_export,
        render_splats,
        puppet,
        layers,
        curves,
        clips,
        findings,
        preferences_page,
        jobs,
        driving,
        bring_in,
        select_subject,
        mask_and_head,
        bug_report,
        panels,
        puppet_panel,
    )
    return [c for module in modules for c in module.CLASSES]
