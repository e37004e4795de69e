"""What users of Blender look for: a pie menu, presets, assets, a tour on first use."""

import bpy
import pytest
from layout_recorder import LayoutRecorder, draw_panel

from blender_addon import preferences
from blender_addon.operators.guidance import presets
from blender_addon.ui import pie_menu, tour
from blender_addon.ui.panels import RESTAGE4D_PT_restage

pytestmark = pytest.mark.usefixtures("registered")


class _Menu:
    def __init__(self, kind):
        self.layout = LayoutRecorder()
        kind.draw(self, bpy.context)


def test_the_pie_menu_has_eight_things_to_do_with_a_puppet(imported):
    drawn = _Menu(pie_menu.RESTAGE4D_MT_pie).layout
    assert drawn.chosen == ["ELLIPSOIDS", "GAUSSIANS", "POINTS"]
    assert [name for name, _ in drawn.buttons] == [
        "restage4d.pick_bones",
        "restage4d.use_shot_settings",
        "restage4d.playblast",
    ]
    assert drawn.properties == ["background"]
    performances = _Menu(pie_menu.RESTAGE4D_MT_performances).layout
    assert [values["name"] for _, values in performances.buttons] == ["base", "jump"]


def test_without_a_puppet_the_pie_menu_offers_to_import_one():
    assert [name for name, _ in _Menu(pie_menu.RESTAGE4D_MT_pie).layout.buttons] == [
        "restage4d.import_puppet"
    ]


def test_a_preset_keeps_how_a_shot_is_restaged_and_nothing_of_the_shot(tmp_path, monkeypatch):
    (tmp_path / "presets" / presets.FOLDER).mkdir(parents=True)
    monkeypatch.setattr(bpy.utils, "user_resource", lambda kind, path="", **_: str(tmp_path / path))
    chosen = bpy.context.scene.restage4d
    chosen.quality, chosen.longer_side, chosen.depth = "draft", 300, "relief"
    chosen.prompt = "it jumps"
    bpy.ops.restage4d.add_preset(name="quick look")
    (kept,) = tmp_path.rglob("quick_look.py")
    assert kept.parent.name == presets.FOLDER
    assert "jumps" not in kept.read_text()
    chosen.quality, chosen.longer_side, chosen.depth, chosen.prompt = "high", 900, "x", "it nods"
    bpy.ops.script.execute_preset(
        filepath=str(kept), menu_idname=presets.RESTAGE4D_MT_presets.bl_idname
    )
    assert (chosen.quality, chosen.longer_side, chosen.depth) == ("draft", 300, "relief")
    assert chosen.prompt == "it nods"
    assert "restage4d.add_preset" in [name for name, _ in draw_panel(RESTAGE4D_PT_restage).buttons]


def test_node_groups_are_assets(imported):
    for obj, modifier in ((imported.points, "Eq. 1"), (imported.splats, "Viewport")):
        about = obj.modifiers[modifier].node_group.asset_data
        assert about is not None
        assert len(about.description) > 20


def test_the_tour_is_read_page_by_page_and_closed(monkeypatch):
    kept = _Writable(preferences.DEFAULTS)
    monkeypatch.setattr(preferences, "find", lambda: kept)
    assert 3 <= len(tour.STEPS) <= 5
    seen = []
    for _ in tour.STEPS:
        assert tour.RESTAGE4D_PT_tour.poll(bpy.context)
        drawn = _Menu(tour.RESTAGE4D_PT_tour).layout
        seen.append(drawn.texts[0])
        bpy.ops.restage4d.tour(by=1)
    assert [text[:3] for text in seen] == [f"{i + 1}/5" for i in range(5)]
    bpy.ops.restage4d.tour(by=0)
    assert not tour.RESTAGE4D_PT_tour.poll(bpy.context)


class _Writable:
    """Preferences as Blender keeps them: fields that can be set."""

    def __init__(self, usual):
        self.__dict__.update(vars(usual))
