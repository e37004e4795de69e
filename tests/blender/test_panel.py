"""The panel where the wheels of the extension are not installed, and what it asks of Blender."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from layout_recorder import draw_panel

import blender_addon
from blender_addon import (
    orders,
    runtime,
    sync,
    takes,
)
from blender_addon.puppet import importer
from blender_addon.puppet.animation import performances
from blender_addon.puppet.playback import nla
from blender_addon.session.models import (
    PRIORS,
    Candidate,
    Preparation,
    ProviderView,
    Shot,
    WatchedJob,
)
from blender_addon.ui.direction_panel import RESTAGE4D_PT_direction
from restage4d.driving.draft.prompt import parse
from restage4d.finding import Finding
from restage4d.puppet import Puppet


def tick(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        sync.tick()
        assert time.monotonic() < end, runtime.session().backend
        time.sleep(0.05)


def test_it_registers_twice(registered):
    blender_addon.unregister()
    blender_addon.register()
    assert hasattr(bpy.context.scene, "restage4d")


def test_every_button_has_a_name_and_a_tip(registered):
    names = dir(bpy.ops.restage4d)
    assert {"restage", "start_backend", "select_subject", "report_bug", "import_puppet"} <= set(
        names
    )
    for name in names:
        told = getattr(bpy.ops.restage4d, name).get_rna_type()
        assert told.name, name
        assert len(told.description) > 3, name


def test_buttons_say_why_they_are_off(registered):
    for name in ("restage", "cancel", "pause", "bring_in"):
        with pytest.raises(RuntimeError, match=r"poll\(\) \w+"):
            getattr(bpy.ops.restage4d, name)()


def test_without_its_wheels_the_panel_says_so(registered, monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    tick(lambda: runtime.session().backend.phase == "refused")
    fault = runtime.session().backend.fault
    assert fault is not None
    assert "missing" in fault.what
    assert "zip" in fault.remedy


def test_a_missing_video_is_told(registered):
    bpy.context.scene.restage4d.video = "/nowhere/film.mp4"
    tick(lambda: runtime.session().shot is not None)
    shot = runtime.session().shot
    assert shot.phase == "failed"
    assert "does not exist" in shot.fault.what


def test_a_finished_puppet_comes_in_with_its_footage_and_waits_for_object_mode(
    registered, puppet: Puppet
):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    scene = bpy.context.scene.restage4d
    job = runtime.session().job = WatchedJob(
        "0" * 32, state="done", loaded=puppet, puppet=Path("x")
    )
    scene.job = job.id
    sync.tick()
    assert not job.brought_in, "the artist is editing"
    bpy.ops.object.mode_set(mode="OBJECT")
    sync.tick()
    assert job.brought_in
    assert scene.job == ""
    armature = next(o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    assert armature.restage4d_display.mode == "GAUSSIANS"


def test_a_second_restaging_goes_into_the_puppet_that_is_there(chosen, puppet, monkeypatch):
    """The puppet is sent with its base alone; what comes back is one more performance."""
    chosen.provider = "kinematic"
    assert "Select the puppet" in why_not(bpy.ops.restage4d.restage_into)
    imported = importer.import_puppet(puppet, name="there", set_up_scene=False)
    sent = []
    here = runtime.session()

    def restage(order):
        sent.append(order)
        here.job = WatchedJob("d" * 32, state="queued")
        return here.job

    monkeypatch.setattr(here, "restage", restage)
    imported.armature.location.x = 3  # moved in the scene: the file is as filmed
    assert bpy.ops.restage4d.restage_into() == {"FINISHED"}
    assert (chosen.job, chosen.into) == ("d" * 32, imported.armature)
    base = Puppet.load(sent[0].into)
    assert [p.name for p in base.performances] == ["base"]
    for part in ("means", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(
            getattr(base.subject, part), getattr(puppet.subject, part), part
        )
    np.testing.assert_allclose(base.performances[0].bases, puppet.performances[0].bases, atol=2e-6)
    new = replace(puppet.performances[1], name="restaged", prompt="it jumps")
    late = Finding("late", "warning", "It is late.", "", 1, 2, "restaged")
    back = replace(base, performances=[base.performances[0], new], findings=[late])
    here.job = WatchedJob("d" * 32, state="done", loaded=back, puppet=Path("x"))
    sync.tick()
    (now,) = importer.find_puppets(bpy.context.scene)
    assert [p.name for p in now.performances] == ["base", "jump", "restaged"]
    assert nla.find_playing(now).name == "restaged"
    assert now.performance("restaged").prompt == "it jumps"
    assert now.about["findings"] == [late]
    imported.armature.location.x = 0
    read = performances.read_performances(now, bpy.context.scene, ["jump", "restaged"])
    np.testing.assert_array_equal(read["jump"].bases, read["restaged"].bases)
    assert chosen.job == ""


def test_what_was_chosen_is_saved(registered, tmp_path):
    chosen = bpy.context.scene.restage4d
    chosen.prompt, chosen.job, chosen.quality, chosen.selection = (
        "it jumps",
        "a" * 32,
        "high",
        "BOX",
    )
    chosen.place = (1, 2, 3, 4)
    path = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert bpy.context.scene.restage4d.job == ""
    bpy.ops.wm.open_mainfile(filepath=path)
    chosen = bpy.context.scene.restage4d
    assert (chosen.prompt, chosen.job, chosen.quality, chosen.selection) == (
        "it jumps",
        "a" * 32,
        "high",
        "BOX",
    )
    assert orders.get_place(chosen) == {"box": (1, 2, 3, 4)}


@pytest.fixture
def chosen(registered, tmp_path):
    """A shot that the backend has, and two providers, one of them paid and one not set up."""
    bpy.context.preferences.system.use_online_access = True
    here, video = runtime.session(), tmp_path / "film.mp4"
    video.write_bytes(b"x")
    scene = bpy.context.scene.restage4d
    scene.video, scene.prompt, scene.provider = str(video), "it jumps", "runway"
    sync.tick()
    sync.tick()
    here.updates.drain(1)
    here.shot = Shot(video, None, 384, phase="ready", content="a" * 64)
    here.backend.phase = "ready"
    here.backend.providers = [
        ProviderView("driving", "kinematic", "the draft driver"),
        ProviderView("driving", "runway", "Runway Gen-4", "Runway API terms", "paid", sends=True),
        ProviderView(
            "driving", "wan2.2", "Wan 2.2", needs=("model_index.json into the weights folder",)
        ),
        *(ProviderView(kind, name, name) for kind, name in PRIORS.items()),
    ]
    return scene


def why_not(operator) -> str:
    with pytest.raises(RuntimeError) as error:
        operator()
    return str(error.value)


def test_a_paid_provider_is_asked_only_after_its_terms_were_shown(chosen, monkeypatch):
    make, here = bpy.ops.restage4d.make_driving, runtime.session()
    assert "Refine the prompt first" in why_not(make)
    assert "look at it first" in why_not(bpy.ops.restage4d.restage)
    here.preparation = Preparation(
        "runway", "it jumps", "ready", "It jumps. The camera stands.", ["Sent to Runway, $0.25."]
    )
    sync.tick()
    assert (chosen.refined, chosen.terms) == (
        "It jumps. The camera stands.",
        "Sent to Runway, $0.25.",
    )
    chosen.refined, chosen.candidates = "It jumps high. The camera stands.", 3
    made = []
    monkeypatch.setattr(
        here,
        "make_driving",
        lambda order: made.append(order) or WatchedJob("b" * 32, kind="driving"),
    )
    assert make() == {"FINISHED"}
    (order,) = made
    assert (order.provider, order.refined_prompt, order.candidates) == (
        "runway",
        "It jumps high. The camera stands.",
        3,
    )
    chosen.prompt = "it sits"
    assert "Refine the prompt first" in why_not(make), "the words are of another prompt"
    chosen.provider = "wan2.2"
    assert "model_index.json" in why_not(make)


def test_nothing_leaves_the_machine_while_blender_may_not_go_online(chosen):
    assert bpy.ops.restage4d.refine_prompt.poll()
    bpy.context.preferences.system.use_online_access = False
    assert "may not go online" in why_not(bpy.ops.restage4d.refine_prompt)
    chosen.provider = "kinematic"
    assert bpy.ops.restage4d.refine_prompt.poll()
    runtime.session().backend.refiner = "gpt at https://api.example.com/v1"
    assert "may not go online" in why_not(bpy.ops.restage4d.refine_prompt)
    runtime.session().backend.refiner = "llava at http://127.0.0.1:11434/v1"
    assert bpy.ops.restage4d.refine_prompt.poll()


def test_the_best_take_is_picked_until_the_artist_picks_another(chosen, tmp_path):
    here = runtime.session()
    figures = {"seam": 35.0, "camera": 0.0, "subject": 0.9, "tracks": 0.8}
    videos = [tmp_path / f"{n}.mp4" for n in (1, 2)]
    for video in videos:
        video.write_bytes(b"x")
    found = [
        Candidate(n, videos[n - 1], figures | {"score": score}) for n, score in ((1, 0.4), (2, 0.7))
    ]
    here.driving_job = WatchedJob(
        "c" * 32,
        state="done",
        kind="driving",
        candidates=found,
        made_by="runway:gen4",
        refined_prompt="It jumps.",
    )
    chosen.driving_job, chosen.takes_for = here.driving_job.id, takes.make_key(chosen)
    sync.tick()
    assert chosen.driving_job == ""
    assert takes.find_picked(chosen).number == 2
    assert bpy.ops.restage4d.pick_take(number=1) == {"FINISHED"}
    order = orders.make_order(chosen)
    assert (order.driving, order.made_by, order.refined_prompt) == (
        videos[0],
        "runway:gen4",
        "It jumps.",
    )
    assert bpy.ops.restage4d.restage.poll()
    chosen.use_range, chosen.first_frame = True, 5
    assert takes.find_picked(chosen) is None, "the shot begins elsewhere"
    chosen.use_range = False
    videos[0].unlink()
    assert takes.find_picked(chosen) is None, "the file is gone"


def test_every_new_mask_is_shown_over_the_view(chosen, monkeypatch):
    """Also one that lies where the last one lay in memory."""
    here, redrawn = runtime.session(), []
    monkeypatch.setattr(sync, "redraw", lambda *, views=True: redrawn.append(views))
    here.shot.first = np.zeros((8, 8, 3), np.uint8)
    for i in range(5):
        here.shot.mask, here.shot.phase = (
            None,
            "selecting",
        )  # as `Session.select` does, without a turn of the timer
        here.updates.put(here.shot, mask=np.full((8, 8), i % 2 == 0), phase="ready")
        sync.tick()
        assert any(redrawn), f"mask {i} is not shown"  # once with the views
        redrawn.clear()


def test_undo_does_not_lose_a_job(chosen):
    bpy.ops.ed.undo_push(message="before")
    here = runtime.session()
    here.job, here.driving_job = (
        WatchedJob("d" * 32, state="running"),
        WatchedJob("e" * 32, state="running", kind="driving"),
    )
    chosen.job, chosen.driving_job = here.job.id, here.driving_job.id
    sync.tick()
    bpy.ops.ed.undo_push(message="a cube was moved")
    assert bpy.ops.ed.undo() == {"FINISHED"}
    now = bpy.context.scene.restage4d
    assert (now.job, now.driving_job) == ("d" * 32, "e" * 32)
    sync.tick()
    assert here.job is not None
    bpy.ops.wm.read_homefile(use_empty=True)
    sync.tick()
    assert here.job is None, "another file has none"


def test_estimators_that_are_not_set_up_are_told(chosen):
    chosen.provider = "kinematic"
    assert bpy.ops.restage4d.restage.poll()
    assert bpy.ops.restage4d.use_provider(kind="masks", name="sam2") == {"FINISHED"}
    assert "estimator of masks is not set up" in why_not(bpy.ops.restage4d.restage)
    runtime.session().backend.providers.append(ProviderView("masks", "sam2", "SAM 2.1 large"))
    assert bpy.ops.restage4d.restage.poll()
    assert orders.make_order(chosen).priors == {"masks": "sam2"}


def test_the_script_stands_below_the_prompt_as_it_is_typed(chosen):
    chosen.provider, chosen.prompt = "kinematic", "it crouches, then jumps twice and barks"
    drawn = draw_panel(RESTAGE4D_PT_direction)
    script = parse(chosen.prompt)
    assert drawn.properties[0] == "prompt"
    assert "; ".join(drawn.texts[:2]) == script.describe()
    assert script.describe().startswith("crouches")
    assert drawn.texts[2] == "Left out: barks"
    chosen.prompt = "it jumps"
    drawn = draw_panel(RESTAGE4D_PT_direction)
    assert drawn.texts[0] == parse("it jumps").describe()
    assert "Left out" not in drawn.text
    chosen.prompt = "xyzzy"
    assert 'The directions "xyzzy" hold nothing' in draw_panel(RESTAGE4D_PT_direction).text
    assert "choose My Own Video" in draw_panel(RESTAGE4D_PT_direction).text
    assert "cannot act this" in why_not(bpy.ops.restage4d.restage)
    chosen.prompt = "it walks for 5000 seconds"
    assert "at most" in draw_panel(RESTAGE4D_PT_direction).text
    chosen.prompt = " "
    assert "directions" not in draw_panel(RESTAGE4D_PT_direction).text
    chosen.provider, chosen.prompt = "runway", "it jumps"
    assert parse("it jumps").describe() not in draw_panel(RESTAGE4D_PT_direction).text


def test_drawing_the_script_again_reads_nothing(chosen, monkeypatch):
    chosen.provider, chosen.prompt = "kinematic", "it rolls over and nods"
    draw_panel(RESTAGE4D_PT_direction)
    monkeypatch.setattr(orders, "parse", None)
    assert "nods" in draw_panel(RESTAGE4D_PT_direction).text


def test_no_heavy_library_is_needed_for_any_of_it(chosen):
    chosen.provider = "kinematic"
    draw_panel(RESTAGE4D_PT_direction)
    assert not {"torch", "cv2", "scipy", "PIL", "numba"} & set(sys.modules)
