# SPDX-License-Identifier: GPL-3.0-or-later
"""Restage4D in Blender. Importing this package needs no Blender; registering it and most of its modules do."""


def register() -> None:
    import bpy

    from . import (
        bringing,
        directing,
        operators,
        panel,
        preferences,
        properties,
        pump,
        puppet_panel,
        reporting,
        selecting,
        working,
    )

    operators.register()
    properties.register()
    for module in (preferences, working, directing, bringing, selecting, reporting, panel, puppet_panel):
        for c in module.CLASSES:
            bpy.utils.register_class(c)
    pump.register()


def unregister() -> None:
    import bpy

    from . import (
        bringing,
        directing,
        operators,
        panel,
        preferences,
        properties,
        pump,
        puppet_panel,
        reporting,
        selecting,
        working,
    )

    pump.unregister()
    for module in (puppet_panel, panel, reporting, selecting, bringing, directing, working, preferences):
        for c in reversed(module.CLASSES):
            bpy.utils.unregister_class(c)
    properties.unregister()
    operators.unregister()
