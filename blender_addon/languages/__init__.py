# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's own words in Blender's languages.

A language is a folder of JSON tables, English text to translation: ``labels*.json`` for names of
panels, buttons, properties and their items and for words in panels, ``tips*.json`` for tooltips.
Labels have a context of their own, since Blender's words mean other things (*Direction* is a
compass there); tooltips have none, since Blender looks them up without. What a table lacks shows in
English; ``tests/blender/test_languages.py`` names it.
"""

import inspect
import json
from pathlib import Path
from typing import Any, cast

import bpy

CONTEXT = "Restage4D"
LANGUAGES = {"ja_JP": "ja", "de_DE": "de", "zh_HANS": "zh_hans", "fr_FR": "fr"}  # to folders
_NAME = __package__ or __name__
_PACKAGE = _NAME.rpartition(".")[0]


def load_table(language: str, kind: str) -> dict[str, str]:
    """The tables of a language; ``kind``: "labels" or "tips"."""
    folder, table = Path(__file__).parent / LANGUAGES[language], {}
    for path in sorted(folder.glob(f"{kind}*.json")):
        table |= json.loads(path.read_text(encoding="utf-8"))
    return table


def translate(text: str) -> str:
    """A label or a sentence in the interface's language, where it has one of its own."""
    return cast(Any, bpy.app.translations).pgettext_iface(text, CONTEXT)


def adopt(kind: type) -> type:
    """Gives a class that is going to be registered, and the properties of its own, the extension's
    context; returns it."""
    if issubclass(kind, (bpy.types.Operator, bpy.types.Panel, bpy.types.Menu)):
        kind.bl_translation_context = CONTEXT  # type: ignore[union-attr]
        if kind.__doc__ and not hasattr(kind, "bl_description"):
            kind.bl_description = " ".join(kind.__doc__.split())  # type: ignore[union-attr]
    for _, deferred in list_properties(kind):
        if "translation_context" not in deferred.keywords:
            deferred.keywords["translation_context"] = CONTEXT
    return kind


def list_properties(kind: type) -> list[tuple[str, Any]]:
    """Names and deferred properties that a class has from the extension's own classes."""
    own = [base for base in kind.__mro__ if base.__module__.startswith(_PACKAGE)]
    return [
        (name, deferred)
        for base in own
        for name, deferred in inspect.get_annotations(base).items()
        if hasattr(deferred, "keywords")
    ]


def register() -> None:
    words: Any = {
        language: {
            (context, text): translated
            for kind, context in (("labels", CONTEXT), ("tips", "*"))
            for text, translated in load_table(language, kind).items()
        }
        for language in LANGUAGES
    }
    bpy.app.translations.register(_NAME, words)


def unregister() -> None:
    bpy.app.translations.unregister(_NAME)
