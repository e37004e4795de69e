"""What the checks found about a puppet, on the timeline and in the panel."""

import bpy
import puppets
import pytest
from layout_recorder import draw_panel

from blender_addon import runtime, sync
from blender_addon.puppet import capture, importer
from blender_addon.puppet.markers import pack_labels
from blender_addon.session.models import WatchedJob
from blender_addon.ui.puppet_panel import RESTAGE4D_PT_puppet
from restage4d.finding import Finding

FINDINGS = [
    Finding("repeated", "note", "The video repeats itself in base.", "Cut it.", 3, 4, "base"),
    Finding("flash", "warning", "A flash in base.", "Cut the flash out.", 2, 2, "base"),
    Finding("mask-jump", "warning", "The mask leaps.", "Correct it.", 5, 7, "jump"),
    Finding("mask-shrunk", "warning", "The mask shrinks.", "Look.", 7, 99, "jump"),
    Finding("camera-doubtful", "warning", "The camera.", "", 0, 9, "jump"),
]


@pytest.fixture
def found(registered):
    """A puppet with findings, and a marker of the artist's own on a frame with a finding."""
    bpy.context.scene.timeline_markers.new("Restage4D: mine", frame=6)
    puppet = puppets.random_puppet()
    puppet.findings = list(FINDINGS)
    return importer.import_puppet(puppet, name="stress")


def markers() -> dict[str, int]:
    return {m.name: m.frame for m in bpy.context.scene.timeline_markers}


MINE = {"Restage4D: mine": 6}
OF_BASE = {"Restage4D: flash": 3, "Restage4D: repeated": 4, "Restage4D: repeated ends": 5}
OF_JUMP = {
    "Restage4D: mask jump": 6,
    "Restage4D: mask jump ends, mask shrunk": 8,
    "Restage4D: mask shrunk ends": 10,
}


def test_markers_follow_the_performance_that_plays(found):
    assert markers() == MINE | OF_JUMP
    importer.activate(found, "base", scene=bpy.context.scene)
    assert markers() == MINE | OF_BASE
    importer.activate(found, "jump", scene=bpy.context.scene)
    assert markers() == MINE | OF_JUMP


def test_a_marker_that_was_renamed_or_moved_is_the_artist_s(found):
    for marker in bpy.context.scene.timeline_markers:
        if marker.name == "Restage4D: mask jump":
            marker.name = "look here"
        elif marker.name == "Restage4D: mask shrunk ends":
            marker.frame = 1
    importer.activate(found, "base", scene=bpy.context.scene)
    kept = MINE | {"look here": 6, "Restage4D: mask shrunk ends": 1}
    assert markers() == kept | OF_BASE


def test_the_artist_s_own_marker_of_the_same_name_stays(found):
    bpy.context.scene.timeline_markers.new("Restage4D: mask jump", frame=2)
    importer.activate(found, "base", scene=None)
    assert markers() == MINE | OF_BASE | {"Restage4D: mask jump": 2}


def test_they_go_with_their_puppet_and_with_no_other(found, tmp_path):
    other = puppets.random_puppet(names=("base", "nod"), seed=1)
    other.findings = [Finding("flash", "warning", "A flash.", "", 1, 1, "nod")]
    importer.import_puppet(other, name="other")
    both = MINE | OF_JUMP | {"Restage4D: flash": 2}
    sync.tick()
    assert markers() == both
    path = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    sync.tick()
    assert markers() == both, "they are saved"
    first, _ = importer.find_puppets(bpy.context.scene)
    with bpy.context.temp_override(selected_objects=[first.armature], selected_ids=[]):
        bpy.ops.object.delete()
    sync.tick()
    assert markers() == MINE | {"Restage4D: flash": 2}
    importer.activate(importer.find_puppets(bpy.context.scene)[0], "base", scene=None)
    assert markers() == MINE
    assert "restage4d_markers" not in bpy.context.scene


def test_the_list_tells_warnings_first_and_a_click_goes_there(found):
    layout = draw_panel(RESTAGE4D_PT_puppet)
    assert "4 things to look at" in layout.texts
    order = [values["index"] for name, values in layout.buttons if name.endswith("show_finding")]
    assert order == [1, 2, 3, 4, 0]
    assert "Mask jump, jump 6-8" in layout.texts
    assert "Camera doubtful, all of jump" in layout.texts
    assert "A flash in base." not in layout.text
    assert bpy.ops.restage4d.show_finding(index=1) == {"FINISHED"}
    assert bpy.context.scene.frame_current == 3
    assert found.armature.animation_data.action == found.performance("base").action
    assert {"A flash in base.", "Cut the flash out."} <= set(draw_panel(RESTAGE4D_PT_puppet).texts)
    assert bpy.ops.restage4d.show_finding(index=2) == {"FINISHED"}
    assert bpy.context.scene.frame_current == 6
    assert found.armature.animation_data.action == found.performance("jump").action
    assert "The mask leaps." in draw_panel(RESTAGE4D_PT_puppet).text
    assert bpy.ops.restage4d.show_finding(index=99) == {"CANCELLED"}


def test_notes_alone_are_counted_as_notes_and_a_clean_puppet_has_no_list(registered):
    puppet = puppets.random_puppet()
    imported = importer.import_puppet(puppet, name="clean")
    assert markers() == {}
    assert "look at" not in draw_panel(RESTAGE4D_PT_puppet).text
    imported.about["findings"] = FINDINGS[:1]
    importer.remember(imported)
    assert "1 note" in draw_panel(RESTAGE4D_PT_puppet).texts


def test_they_go_out_again_with_an_exported_puppet(found):
    assert capture.capture_puppet(found, bpy.context.scene).findings == FINDINGS


def test_a_job_s_puppet_brings_them_along(registered):
    puppet = puppets.random_puppet()
    puppet.findings = list(FINDINGS)
    job = runtime.session().job = WatchedJob("0" * 32, state="done", loaded=puppet)
    bpy.context.scene.restage4d.job = job.id
    sync.tick()
    assert job.brought_in
    assert markers() == OF_JUMP


def test_no_label_of_a_marker_is_cut_off():
    """Blender keeps 63 bytes of a name."""
    labels = [f"leg_{end}.{side} down" for end in ("front", "hind") for side in "LR"]
    names = pack_labels([*labels, "äußerste Länge " * 2])
    assert all(len(name.encode()) <= 63 for name in names)
    assert all(any(label in name for name in names) for label in labels)
    assert len(names) < 5
    assert pack_labels([]) == []
