"""A layout that draws nothing: it keeps what a panel puts into it, and refuses buttons and
properties that do not exist."""

from types import SimpleNamespace
from typing import Any

import bpy


class LayoutRecorder:
    """Stands in for `bpy.types.UILayout`.

    Attributes:
        texts: of labels, buttons and progress bars.
        buttons: (operator, the values set on it).
        properties: names of those shown.
        chosen: items of properties that have a button of their own.
    """

    def __init__(self, root: "LayoutRecorder | None" = None) -> None:
        self.root = root or self
        if root is None:
            self.texts: list[str] = []
            self.buttons: list[tuple[str, dict[str, Any]]] = []
            self.properties: list[str] = []
            self.chosen: list[str] = []

    def _nest(self, *_: Any, **__: Any) -> "LayoutRecorder":
        return LayoutRecorder(self.root)

    row = column = box = split = menu_pie = _nest

    def panel(self, idname: str, default_closed: bool = False) -> Any:
        return self._nest(), self._nest()

    def label(self, text: str = "", icon: str = "NONE", **_: Any) -> None:
        assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        self.root.texts.append(text)

    def progress(self, *, text: str, factor: float, **_: Any) -> None:
        assert 0 <= factor <= 1
        self.root.texts.append(text)

    def operator(self, name: str, *, text: str | None = None, icon: str = "NONE", **_: Any) -> Any:
        operator = getattr(getattr(bpy.ops, name.split(".")[0]), name.split(".")[1])
        known = operator.get_rna_type()
        assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        self.root.texts.append(known.name if text is None else text)
        values: dict[str, Any] = {}
        self.root.buttons.append((name, values))
        allowed = set(known.properties.keys())

        class Values(SimpleNamespace):
            def __setattr__(self, key: str, value: Any) -> None:
                assert key in allowed, f"{name} has no {key}"
                values[key] = value

        return Values()

    def operator_menu_enum(
        self, name: str, prop: str, *, text: str | None = None, icon: str = "NONE"
    ) -> None:
        values = self.operator(name, text=text, icon=icon)
        setattr(values, prop, "")

    def prop(self, data: Any, name: str, *, text: str = "", **_: Any) -> None:
        known = name[2:-2] in data if name.startswith('["') else name in data.bl_rna.properties
        assert known, f"{data} has no {name}"
        self.root.properties.append(name)
        self.root.texts += [text] * bool(text)

    def prop_enum(self, data: Any, name: str, value: str) -> None:
        assert value in data.bl_rna.properties[name].enum_items, f"{name} has no {value}"
        self.root.chosen.append(value)

    def menu(self, name: str, *, text: str = "", **_: Any) -> None:
        assert hasattr(bpy.types, name), name
        self.root.texts.append(text)

    def template_icon(self, *, icon_value: int, scale: float) -> None:
        assert icon_value > 0

    @property
    def text(self) -> str:
        """All of it, wrapped lines joined."""
        return " ".join(self.root.texts)


def draw_panel(panel: Any) -> LayoutRecorder:
    """What a panel draws now, its header included."""
    layout = LayoutRecorder()
    stand_in = SimpleNamespace(layout=layout)
    assert isinstance(panel.done(bpy.context), bool)
    panel.draw(stand_in, bpy.context)
    return layout
