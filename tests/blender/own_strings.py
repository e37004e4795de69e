"""Every label and tooltip of the extension's own classes, as Blender looks them up.

``python tests/blender/own_strings.py`` (with bpy) lists what the tables of
``blender_addon/languages/`` lack, as lines to be filled in there.
"""

import ast
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import bpy
import own_messages

import blender_addon
from blender_addon import languages, properties
from blender_addon.operators import in_view
from blender_addon.puppet.animation import layer_settings
from blender_addon.session.models import Backend, WatchedJob
from blender_addon.ui.tour import STEPS
from blender_addon.viewport import display, filmed_angle

LAYER_PROPERTIES = layer_settings.WEIGHT, layer_settings.RAMP_IN, layer_settings.RAMP_OUT


def list_classes():
    """What is registered, property groups too."""
    groups = [
        *(properties.RESTAGE4D_PG_take, properties.RESTAGE4D_PG_correction),
        *(properties.RESTAGE4D_PG_shot, display.RESTAGE4D_PG_display),
    ]
    return [*blender_addon._classes(), *groups]


def list_panel_texts():
    """File, line, text and whether it has the extension's context, of every text that stands in
    the code of panels and menus. One with values put into it has none, unless its words went
    through `languages.translate` before."""
    root, found = Path(blender_addon.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            text = given.get("text") if name in _DRAWN else None
            if name == "paragraph" and len(call.args) > 2:
                text = call.args[2]
            if name == "translate" and call.args:
                text = call.args[0]
            own = name in ("paragraph", "translate") or "text_ctxt" in given
            for words, whole in _list_words(text):
                found.append((path, call.lineno, words, own and whole))
    return found


_DRAWN = ("label", "operator", "operator_menu_enum", "menu", "prop", "progress")


def _list_words(text):
    """Of an expression: texts that it may be, and whether they are whole, with nothing put in."""
    if isinstance(text, ast.IfExp):
        return [*_list_words(text.body), *_list_words(text.orelse)]
    if isinstance(text, ast.JoinedStr):
        parts = "".join(p.value for p in text.values if isinstance(p, ast.Constant))
        own = parts.replace("Restage4D", "")  # a name
        return [(ast.unparse(text), False)] if any(map(str.isalpha, own)) else []
    known = isinstance(text, ast.Constant) and isinstance(text.value, str)
    return [(text.value, True)] if known and any(map(str.isalpha, text.value)) else []


def get_rna(kind):
    """The class as Blender knows it."""
    if issubclass(kind, bpy.types.Operator):
        room, name = kind.bl_idname.split(".")
        return getattr(getattr(bpy.ops, room), name).get_rna_type()
    return kind.bl_rna


def list_strings():
    """Labels and tips, each once, in the order of the classes."""
    labels, tips = {}, {}
    for kind in list_classes():
        rna = get_rna(kind)
        if hasattr(kind, "bl_label"):
            labels[kind.bl_label] = kind
        if issubclass(kind, in_view.InView):
            labels[kind.text] = kind
        if issubclass(kind, bpy.types.Operator):
            tips[rna.description] = kind
        for name, deferred in languages.list_properties(kind):
            given = deferred.keywords
            if "HIDDEN" in given.get("options", ()):
                continue
            for table, key in ((labels, "name"), (tips, "description")):
                if given.get(key):
                    table[given[key]] = (kind, name)
            items = given.get("items", ())
            for item in items if not callable(items) else ():
                labels[item[1]], tips[item[2]] = (kind, name), (kind, name)
    for name in LAYER_PROPERTIES:
        prop = bpy.types.Action.bl_rna.properties[name]
        labels[prop.name] = tips[prop.description] = name
    for _, title, text in STEPS:
        labels[title] = labels[text] = "tour"
    for path, _, text, _ in list_panel_texts():
        labels[text] = path.name
    for text in ("Connection", "Time Limits", "New Scenes"):
        labels[text] = "preferences_page.py"
    for phase in ("unknown", "absent", "setting up", "starting", "lost", "refused"):
        labels[Backend(phase=phase).headline] = "models.py"
    for state in ("sending", "queued", "running", "paused", "done", "failed", "cancelled"):
        for kind in ("restage", "driving"):
            labels[WatchedJob("0", state=state, kind=kind).headline] = "models.py"
    for text in filmed_angle.WORDS.values():
        labels[text] = "filmed_angle.py"
    labels |= own_messages.list_messages()
    for texts in (labels, tips):
        texts.pop("", None)
    return labels, tips


def find_missing(language):
    """What a language lacks: labels and tips."""
    labels, tips = list_strings()
    have = [languages.load_table(language, kind) for kind in ("labels", "tips")]
    return [
        [text for text in texts if text not in table]
        for texts, table in zip((labels, tips), have, strict=True)
    ]


if __name__ == "__main__":
    blender_addon.register()
    for language, folder in languages.LANGUAGES.items():
        for kind, texts in zip(("labels", "tips"), find_missing(language), strict=True):
            print(f"{folder}/{kind}.json lacks {len(texts)}:")
            for text in texts:
                print(f'  {json.dumps(text, ensure_ascii=False)}: "",')
    sys.stdout.flush()
