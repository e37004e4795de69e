# SPDX-License-Identifier: GPL-3.0-or-later
"""Restage4D in Blender. Importing this package needs no Blender; registering it and most of its modules do."""


def register() -> None:
    from . import operators

    operators.register()


def unregister() -> None:
    from . import operators

    operators.unregister()
