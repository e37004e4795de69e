"""Every label and tooltip of the extension has its words in every language, and no word of
Blender's gets between them."""

import json
import re
from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
import own_messages
import pytest
from own_strings import (
    LAYER_PROPERTIES,
    find_missing,
    get_rna,
    list_classes,
    list_panel_texts,
    list_strings,
)

import blender_addon
import restage4d
from blender_addon import languages
from blender_addon.ui.text import wrap
from blender_addon.wording import name_fields
from restage4d.checks.findings import describe_frames
from restage4d.progress import TaskId

pytestmark = pytest.mark.usefixtures("registered")

ROOT = Path(blender_addon.__file__).parent
ALL = tuple(languages.LANGUAGES)


@pytest.mark.parametrize("language", ALL)
def test_nothing_is_missing(language):
    labels, tips = find_missing(language)
    folder = languages.LANGUAGES[language]
    told = [f'labels.json: "{text}"' for text in labels] + [f'tips.json: "{text}"' for text in tips]
    assert not told, "\n".join(
        [f"blender_addon/languages/{folder} lacks (see own_strings.py):", *told]
    )


@pytest.mark.parametrize("language", ALL)
def test_no_table_holds_what_nobody_says_any_more(language):
    labels, tips = list_strings()
    code = "".join(p.read_text(encoding="utf-8") for p in sorted(ROOT.rglob("*.py")))
    for kind, said in (("labels", labels), ("tips", tips)):
        table = languages.load_table(language, kind)
        assert [text for text in table if text not in said and f'"{text}"' not in code] == []
        assert all(translated.strip() for translated in table.values())


@pytest.mark.parametrize("language", ALL)
def test_placeholders_and_names_survive(language):
    table = languages.load_table(language, "labels") | languages.load_table(language, "tips")
    for text, translated in table.items():
        for part in re.findall(r"\{[^}]*\}|\.puppet|Alembic|USD|PLY|NPZ|EXR|NLA", text):
            assert part in translated, (text, translated)


def test_contexts_are_the_extension_s_own():
    for kind in list_classes():
        rna = get_rna(kind)
        without = bpy.types.FileHandler, bpy.types.GizmoGroup  # these have no context
        if hasattr(kind, "bl_label") and not issubclass(kind, without):
            assert rna.translation_context == languages.CONTEXT, kind
        for name, deferred in languages.list_properties(kind):
            if name in rna.properties and deferred.keywords.get("name"):
                context = rna.properties[name].translation_context
                assert context == languages.CONTEXT, (kind, name)
    for name in LAYER_PROPERTIES:
        assert bpy.types.Action.bl_rna.properties[name].translation_context == languages.CONTEXT
    loose = [
        f"{path.name}:{line} {text!r}" for path, line, text, own in list_panel_texts() if not own
    ]
    assert loose == []


def test_direction_is_no_compass():
    assert languages.load_table("ja_JP", "labels")["Direction"] == "演出"
    assert find("RESTAGE4D_PT_direction").bl_translation_context == languages.CONTEXT
    view = bpy.context.preferences.view
    if "ja_JP" not in bpy.app.translations.locales:  # of the wheel; the window has them
        return
    view.language, view.use_translate_interface, view.use_translate_tooltips = "ja_JP", True, True
    assert languages.translate("Direction") == "演出"
    theirs = bpy.app.translations.pgettext_iface("Direction")
    assert theirs != "演出", "Blender's own word stays what it is"
    tip = bpy.app.translations.pgettext_tip(get_rna(find("RESTAGE4D_OT_restage")).description)
    assert tip.startswith("ショットを")
    assert languages.translate("a sentence of nobody's") == "a sentence of nobody's"


def find(name):
    return next(kind for kind in list_classes() if kind.__name__ == name)


def test_tooltips_are_one_line():
    """Docstrings are wrapped for people who read code."""
    for kind in list_classes():
        if issubclass(kind, bpy.types.Operator):
            assert "\n" not in get_rna(kind).description, kind


def test_tables_are_small_enough_to_read():
    for path in ROOT.rglob("*.json"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_lines_without_spaces_are_wrapped():
    """Blender would cut a long Japanese line short with three dots."""
    text = languages.load_table("ja_JP", "labels")["Waits for the backend"]
    lines = wrap(text * 3, 12)
    assert "".join(lines) == text * 3
    assert max(len(line) for line in lines) <= 7
    assert wrap("重い処理をBlenderの外で。", 8) == ["重い処理", "を", "Blender", "の外で。"]
    assert wrap("one two three", 8) == ["one two", "three"]


def test_whatever_is_told_goes_through_the_tables():
    told = own_messages.find_untranslated()
    assert told == [], "\n".join(told)
    assert len(own_messages.list_messages()) > 250


def test_messages_are_found_with_what_is_put_in():
    find = languages.find_message
    assert find("Pinned; 12 points hold", "de_DE") == "Fixiert; 12 Punkte halten"
    assert find("61 bones keyed over 13 frames", "de_DE") == "61 Bones gekeyt über 13 Bilder"
    told = "'a walk' goes over into 'b' at frame 7; change it in the NLA editor"
    assert find(told, "zh_HANS") == "'a walk' 在第 7 帧过渡到 'b'；可在 NLA 编辑器中修改"
    told = "Simplify failed: RuntimeError: out of room."
    assert find(told, "fr_FR").endswith("a échoué : RuntimeError: out of room.")
    told = "Imported a.puppet; it has 'Suzanne' in it; Blender's cube is hidden"
    assert find(told, "de_DE") == (
        "a.puppet importiert; 'Suzanne' ist darin; Blenders Würfel ist verborgen"
    )
    assert find("nobody's words", "ja_JP") == "nobody's words"
    assert languages.say("Nothing is pinned") == "Nothing is pinned", "in English as it is"


LIBRARY = Path(restage4d.__file__).parent
TOLD_BY = ("checks/driving", "checks/followable", "checks/frames", "checks/masks", "checks/priors",
           "checks/puppet", "driving/draft/anatomy/reading")  # fmt: skip


@pytest.mark.parametrize("language", ALL)
def test_what_the_backend_tells_has_a_translation(language):
    """Names of tasks and of findings, and every sentence of the checks, in the panel's words."""
    table = languages.load_table(language, "backend")
    assert list(table) == list(languages.load_table(ALL[0], "backend"))
    assert all(t.strip() for t in table.values())
    for text, translated in table.items():
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", translated)), (
            text
        )
    said = "\n".join(table)
    for task in TaskId:
        assert task.label in table
    for module in TOLD_BY:
        path = LIBRARY / f"{module}.py"
        for piece in own_messages.list_pieces(path):
            if re.fullmatch(r"[a-z]+(-[a-z]+)+", piece):  # a finding's code
                assert piece.replace("-", " ") in table, (path.name, piece)
            elif len(re.findall("[A-Za-z]{2,}", piece)) > 2:
                assert name_fields(piece).strip() in said, (path.name, piece)


TOLD_OF = {  # what artists meet: where it is told, and as it arrives
    "priors/masks/selecting/select": (
        "There is nothing at (12.5, 40) that stands out from its surroundings."
    ),
    "io/atomic": "There is no room left to write puppet.puppet.",
    "protocol/framing": "A message of protocol version 9 came; this side speaks version 7.",
    "protocol/errors": "Install the same version of Restage4D on both sides.",
    "jobs/restaging": "The puppet was made from another base video, another part of it, or at "
    "another working size.",
}


@pytest.mark.parametrize("language", ALL)
def test_errors_that_artists_meet_are_told_in_their_language(language):
    """What the library and the backend say of wrong videos, clicks and masks, of full disks, and of
    another version on the other side."""
    folder = ROOT / "languages" / languages.LANGUAGES[language]
    table = json.loads((folder / "backend_errors.json").read_text(encoding="utf-8"))
    files = [*LIBRARY.rglob("*.py"), *(LIBRARY.parent / "backend").rglob("*.py")]
    pieces = {name_fields(piece).strip() for path in files for piece in _list_words(path)}
    for text in table:  # as long as somebody says it
        for part in re.split(r"\{\d\}", text):
            rest = part.strip()
            if not any(rest in x for x in pieces):  # put together, of pieces and single words
                for piece in sorted((x for x in pieces if len(x) > 7), key=len, reverse=True):
                    rest = rest.replace(piece, " ")
                assert rest.strip() != part.strip(), text
                assert set(rest.split()) <= pieces, text
    for module, told in TOLD_OF.items():
        assert any(
            part in told for part in map(name_fields, _list_words(LIBRARY / f"{module}.py"))
        ), module
        found = languages.find_message(name_fields(told), language)
        assert found != told, told
        assert not re.search(r"\b(the|another|of)\b", found), found


@lru_cache
def _list_words(path):
    return [piece for piece in own_messages.list_pieces(path) if len(piece) > 3]


def test_a_sentence_of_the_backend_keeps_what_is_put_in():
    find = languages.find_message
    told = "fox.mov cannot be read: no such codec. Check the path and its permissions."
    assert find(told, "de_DE") == (
        "fox.mov lässt sich nicht lesen: no such codec. Den Pfad und die Zugriffsrechte prüfen."
    )
    told = "The mask is 640x480 pixels, the video 1280x720. Give a mask of the video's size."
    assert find(told, "ja_JP") == (
        "マスクは 640x480 ピクセル、動画は 1280x720 です。 "
        "動画と同じ大きさのマスクを指定してください。"
    )
    told = "You have 4 unfinished jobs, which is the limit."
    assert find(told, "fr_FR") == "Vous avez 4 tâches inachevées, c'est la limite."


def test_a_finding_is_read_in_the_interface_s_language():
    find = languages.find_message
    where, _, _ = describe_frames(np.isin(np.arange(9), [3, 4, 7]))
    text = f"The subject is lost in base, {where}."
    assert text == "The subject is lost in base, frames 3-4 and 7."
    assert find(text, "de_DE") == "Das Motiv ist in base, Bilder 3-4 und 7, verloren."
    both = find(name_fields(f"{text} Raise --longer-side or crop the video: few pixels give "
                            "a coarse puppet."), "fr_FR")  # fmt: skip
    assert both.startswith("Le sujet est perdu dans base, images 3-4 et 7. Augmentez la taille")
    assert find("photometric fusion", "zh_HANS") == "光度拟合"
    assert find("12 min left", "ja_JP") == "残り 12 分"
    assert find("Its words are nobody's. Nor are these.", "ja_JP") == (
        "Its words are nobody's. Nor are these."
    )
