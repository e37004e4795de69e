# SPDX-License-Identifier: GPL-3.0-or-later
"""Restage4D in Blender. Importing this package needs no Blender; registering it and most of its
modules do.

From the top: this registration; `sync`, the one timer; operators/; ui/; `orders`, what the artist
chose as requests; `runtime`, the session and its link; viewport/; puppet/; session/, which knows no
Blender. Below all: `failures`, `wording`, `languages`, `paths`, `preferences`, `properties`,
`takes`, `corrections`, `compat`. Imports go down only. `headless` is a program of its own.
"""


def register() -> None:
    import bpy

    from . import languages, properties, sync
    from .operators import import_export, playblast
    from .operators.output import other_programs
    from .operators.posing import tools
    from .operators.scenery import splats_in
    from .puppet.animation import layer_settings
    from .ui import pie_menu
    from .viewport import display

    languages.register()
    display.register()
    properties.register()
    layer_settings.register()
    for c in _classes():
        bpy.utils.register_class(languages.adopt(c))
    import_export.add_menus()
    other_programs.add_menus()
    splats_in.add_menus()
    playblast.add_menus()
    tools.register()
    pie_menu.add_keys()
    sync.register()


def unregister() -> None:
    import bpy

    from . import languages, properties, sync
    from .operators import import_export, playblast
    from .operators.output import other_programs
    from .operators.posing import tools
    from .operators.scenery import splats_in
    from .puppet.animation import layer_settings
    from .ui import pie_menu
    from .viewport import display

    pie_menu.remove_keys()
    sync.unregister()
    tools.unregister()
    playblast.remove_menus()
    splats_in.remove_menus()
    other_programs.remove_menus()
    import_export.remove_menus()
    for c in reversed(_classes()):
        bpy.utils.unregister_class(c)
    layer_settings.unregister()
    properties.unregister()
    display.unregister()
    languages.unregister()


def _classes() -> list[type]:
    """What is registered, in its order: panels stand in the sidebar as they are registered."""
    from .operators import (
        bring_in,
        bug_report,
        driving,
        findings,
        import_export,
        jobs,
        playblast,
        puppet,
        render_splats,
        skeleton,
    )
    from .operators.animation import clips, curves, layers, refining
    from .operators.guidance import estimators, presets, tour_pages
    from .operators.output import other_programs
    from .operators.pointing import mask_and_head, select_subject
    from .operators.posing import drag, gizmos
    from .operators.scenery import splats_in
    from .operators.shaping import brush, proxy, splats
    from .ui import panels, pie_menu, preferences_page, puppet_panel, tour

    modules = (
        import_export,
        other_programs,
        splats_in,
        render_splats,
        playblast,
        puppet,
        skeleton,
        layers,
        curves,
        clips,
        refining,
        findings,
        gizmos,
        drag,
        brush,
        splats,
        proxy,
        preferences_page,
        jobs,
        estimators,
        driving,
        bring_in,
        select_subject,
        mask_and_head,
        bug_report,
        presets,
        tour_pages,
        pie_menu,
        tour,
        panels,
        puppet_panel,
    )
    return [c for module in modules for c in module.CLASSES]
