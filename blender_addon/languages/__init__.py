# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's own words in Blender's languages.

A language is a folder of JSON tables, English text to translation: ``labels*.json`` for names of
panels, buttons, properties and their items and for words in panels, ``tips*.json`` for tooltips.
``labels_messages*.json`` has whole messages as they are told, with ``{0}`` for what is put in;
``backend*.json`` has those that come from the library and the backend, in the panel's words.
Labels have a context of their own, since Blender's words mean other things (*Direction* is a
compass there); tooltips have none, since Blender looks them up without. What a table lacks shows in
English; ``tests/blender/test_languages.py`` names it.
"""

import inspect
import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

import bpy

CONTEXT = "Restage4D"
LANGUAGES = {"ja_JP": "ja", "de_DE": "de", "zh_HANS": "zh_hans", "fr_FR": "fr"}  # to folders
_NAME = __package__ or __name__
_PACKAGE = _NAME.rpartition(".")[0]


def load_table(language: str, kind: str) -> dict[str, str]:
    """The tables of a language; ``kind``: "labels", "tips" or "backend"."""
    folder, table = Path(__file__).parent / LANGUAGES[language], {}
    for path in sorted(folder.glob(f"{kind}*.json")):
        table |= json.loads(path.read_text(encoding="utf-8"))
    return table


def translate(text: str) -> str:
    """A label or a sentence in the interface's language, where it has one of its own."""
    return cast(Any, bpy.app.translations).pgettext_iface(text, CONTEXT)


def say(text: str) -> str:
    """A message, as it would be told in English, in the interface's language."""
    language = bpy.app.translations.locale
    if (
        language not in LANGUAGES
        or not cast(bpy.types.Preferences, bpy.context.preferences).view.use_translate_interface
    ):
        return text
    return find_message(text, language)


@lru_cache(maxsize=1000)  # panels ask at every redraw
def find_message(text: str, language: str) -> str:
    """A message in a language: as the tables have it, or as the one with places ``{0}`` that it is
    made of; what stands in these is looked up as well. Else its sentences each by itself; what no
    table has stays as it is.

    Example:
        >>> find_message("3 splats are back", "de_DE")
        '3 Splats sind wieder da'
    """
    table, patterns = _load_messages(language)
    if text in table:
        return table[text]
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    told = [find_message(one, language) for one in sentences] if len(sentences) > 1 else []
    if told and not set(told) & set(sentences):  # else they may be one message
        return " ".join(told)
    for pattern, translated in patterns:
        found = pattern.fullmatch(text)
        if found is not None:
            return _put(translated, found.groupdict(), language)
    if told:
        return " ".join(told)
    parts = text.split("; ")
    return "; ".join(find_message(p, language) for p in parts) if len(parts) > 1 else text


def _put(translated: str, places: dict[str, str], language: str) -> str:
    return re.sub(r"\{(\d)\}", lambda at: find_message(places[f"_{at[1]}"], language), translated)


@cache
def _load_messages(language: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """All labels, and patterns of those with places, the wordiest first."""
    table = load_table(language, "backend") | load_table(language, "labels")
    placed = [text for text in table if "{0}" in text]
    placed.sort(key=lambda text: -len(re.sub(r"\{\d\}", "", text)))
    return table, [(_make_pattern(text), table[text]) for text in placed]


def _make_pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\d)\}", text)  # words and numbers by turns
    made = [re.escape(p) if i % 2 == 0 else f"(?P<_{p}>.*?)" for i, p in enumerate(parts)]
    return re.compile("".join(made), re.DOTALL)


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
