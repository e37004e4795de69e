"""Masks of later frames, the head, and the frame of the video that both are pointed at in."""

from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import puppets
import pytest
from layout_recorder import draw_panel

import blender_addon
from blender_addon import corrections, orders, runtime, sync, takes
from blender_addon.operators.pointing import mask_and_head
from blender_addon.operators.pointing.frame_view import FrameView, find_frame
from blender_addon.properties import get_head, set_head
from blender_addon.session.models import PRIORS, Fault, ProviderView, Shot, WatchedJob
from blender_addon.ui import thumbnails
from blender_addon.ui.direction_panel import RESTAGE4D_PT_direction
from blender_addon.ui.panels import CLASSES, RESTAGE4D_PT_shot
from blender_addon.ui.puppet_panel import CLASSES as PUPPET_CLASSES
from restage4d.jobs.mask_file import write_masks

MASK = np.zeros((30, 40), bool)
MASK[5:10, 8:30] = True
AREA, REGION, SIDEBAR = (0, 0, 400, 300), (0, 0, 400, 280), (340, 0, 60, 280)
SIZE = (160, 120)  # of the video


@pytest.fixture
def chosen(empty_scene, tmp_path):
    blender_addon.register()
    here, video = runtime.session(), tmp_path / "film.mp4"
    video.write_bytes(b"x")
    scene = bpy.context.scene.restage4d
    scene.video, scene.prompt = str(video), "it jumps"
    sync.tick()
    sync.tick()
    here.updates.drain(1)
    frame = np.zeros((30, 40, 3), np.uint8)
    here.shot = Shot(
        video, None, 384, phase="ready", content="a" * 64, size=SIZE, first=frame, mask=MASK
    )
    here.backend.phase = "ready"
    here.backend.providers = [
        ProviderView("driving", "kinematic", "the draft driver"),
        *(ProviderView(kind, name, name) for kind, name in PRIORS.items()),
    ]
    yield scene
    blender_addon.unregister()


def region(kind, place):
    return SimpleNamespace(
        type=kind, **dict(zip(("x", "y", "width", "height"), place, strict=True))
    )


@pytest.fixture
def context(chosen):
    """What Blender gives a modal operator, as far as it is asked for."""
    regions = [region("WINDOW", REGION), region("UI", SIDEBAR)]
    area = SimpleNamespace(
        type="VIEW_3D", regions=regions, as_pointer=lambda: 77, tag_redraw=lambda: None
    )
    window = SimpleNamespace(
        screen=SimpleNamespace(areas=[area]),
        cursor_modal_set=lambda _: None,
        cursor_modal_restore=lambda: None,
    )
    return SimpleNamespace(
        area=area,
        window=window,
        window_manager=SimpleNamespace(modal_handler_add=lambda _: None),
        workspace=SimpleNamespace(name="none", status_text_set=lambda _: None),
        scene=bpy.context.scene,
    )


def stand_in(operator, **values):
    """An operator that Blender did not make: the same methods on a plain object."""
    methods = {k: v for k, v in vars(operator).items() if callable(v) or k == "__doc__"}
    made = type("StandIn", (FrameView,), methods)()
    for name, value in ({"report": lambda *_: None} | values).items():
        setattr(made, name, value)
    return made


def event(kind, value="PRESS", at=(200, 140)):
    return SimpleNamespace(type=kind, value=value, mouse_x=at[0], mouse_y=at[1], alt=False)


def on_screen(context, u, v):
    """The screen's pixel of a pixel of the video."""
    x, y, scale = find_frame(context.area, context.area.regions[0], SIZE)
    return round(x + u * scale), round(y + (SIZE[1] - v) * scale)


def click(operator, context, *places):
    first, last = on_screen(context, *places[0]), on_screen(context, *places[-1])
    operator.modal(context, event("LEFTMOUSE", at=first))
    operator.modal(context, event("MOUSEMOVE", "NOTHING", last))
    return operator.modal(context, event("LEFTMOUSE", "RELEASE", last))


@pytest.fixture
def looks(chosen, monkeypatch):
    """What the backend is asked for of later frames; it answers when the test says so."""
    asked = []
    here = runtime.session()
    monkeypatch.setattr(here._requests, "look_at_frame", lambda shot, look: asked.append(look))
    return asked


def test_a_click_says_where_the_head_is_and_the_job_is_told(chosen, context):
    operator = stand_in(mask_and_head.RESTAGE4D_OT_point_at_head)
    assert operator.invoke(context, event("LEFTMOUSE")) == {"RUNNING_MODAL"}
    assert orders.make_order(chosen).head is None
    assert click(operator, context, (50, 30)) == {"FINISHED"}
    assert get_head(chosen) == pytest.approx((50, 30), abs=1)
    assert operator.get_cross() == get_head(chosen)
    assert orders.make_order(chosen).head == get_head(chosen)
    assert orders.make_driving_order(chosen).head == get_head(chosen)
    assert "Head at" in draw_panel(RESTAGE4D_PT_direction).text
    chosen.provider = "runway"
    assert orders.make_driving_order(chosen).head is None, "only the draft driver knows it"
    chosen.provider = "kinematic"
    chosen.use_range, chosen.first_frame = True, 5
    assert get_head(chosen) is None, "another first frame"
    chosen.first_frame = 1
    assert bpy.ops.restage4d.forget_head() == {"FINISHED"}
    assert orders.make_order(chosen).head is None
    assert "Head at" not in draw_panel(RESTAGE4D_PT_direction).text


def test_a_driving_video_is_of_the_head_it_was_made_with(chosen):
    without = takes.make_key(chosen)
    set_head(chosen, (50, 30))
    assert takes.make_key(chosen) != without
    set_head(chosen, None)
    assert takes.make_key(chosen) == without


def test_the_head_is_marked_in_the_panel(chosen, monkeypatch):
    shown = []
    monkeypatch.setattr(sync.thumbnails, "show", lambda name, picture: shown.append(picture))
    set_head(chosen, (80, 60))
    sync.tick()
    sync.tick()
    assert len(shown) == 1, "once"
    plain = thumbnails.draw_mask(runtime.session().shot.first, MASK)
    marked = np.argwhere((shown[0] != plain).any(-1))
    assert marked.mean(0) == pytest.approx((15, 20), abs=1), "in the middle"
    assert (np.ptp(marked, axis=0) < 12).all()
    set_head(chosen, None)
    sync.tick()
    assert (shown[1] == plain).all()


def test_keys_do_not_reach_the_scene_behind_the_picture(chosen, context):
    operator = stand_in(mask_and_head.RESTAGE4D_OT_point_at_head)
    operator.invoke(context, None)
    for key in ("X", "DEL", "G", "TAB", "SPACE", "Z", "LEFT_ARROW"):
        assert operator.modal(context, event(key)) == {"RUNNING_MODAL"}, key
    assert operator.modal(context, event("LEFTMOUSE", at=(360, 100))) == {"RUNNING_MODAL"}
    assert operator.modal(context, event("LEFTMOUSE", "RELEASE", (360, 100))) == {"RUNNING_MODAL"}
    assert operator.modal(context, event("ESC")) == {"CANCELLED"}
    assert operator.overlay.handle is None
    assert get_head(chosen) is None


def test_a_later_frame_s_mask_is_looked_at_and_kept(chosen, context, looks):
    chosen.correct_frame = 7
    operator = stand_in(mask_and_head.RESTAGE4D_OT_correct_mask, frame=0)
    assert operator.invoke(context, None) == {"RUNNING_MODAL"}
    (look,) = looks
    assert (look.number, look.place) == (6, {})
    assert operator.get_picture() == (None, None)
    assert "fetching" in operator.get_words()
    look.picture, look.phase = np.zeros((30, 40, 3), np.uint8), "ready"
    assert operator.get_picture() == (look.picture, None)
    assert operator.modal(context, event("RET")) == {"RUNNING_MODAL"}, "nothing to keep yet"
    click(operator, context, (50, 30))
    assert looks[1].place["point"] == pytest.approx((50, 30), abs=1)
    assert looks[1].picture is look.picture, "the frame stays in sight"
    click(operator, context, (120, 90), (40, 20))
    assert looks[2].place["box"] == pytest.approx((40, 20, 120, 90), abs=1)
    looks[2].phase, looks[2].fault = "failed", Fault("Nothing is there.", "Click elsewhere.")
    assert "Nothing is there. Click elsewhere." in operator.get_words()
    click(operator, context, (60, 30))
    looks[3].mask, looks[3].phase = MASK, "ready"
    assert operator.get_picture()[1] is MASK
    assert operator.modal(context, event("RET")) == {"FINISHED"}
    assert [c.frame for c in corrections.find_valid(chosen)] == [7]
    assert (corrections.read_mask(chosen, 7) == MASK).all()


def test_arrow_keys_go_through_the_frames_that_are_used(chosen, context, looks):
    chosen.use_range, chosen.first_frame, chosen.last_frame, chosen.correct_frame = True, 3, 5, 4
    operator = stand_in(mask_and_head.RESTAGE4D_OT_correct_mask, frame=0)
    operator.invoke(context, None)
    for key in ("RIGHT_ARROW", "RIGHT_ARROW", "LEFT_ARROW", "LEFT_ARROW", "LEFT_ARROW"):
        operator.modal(context, event(key))
    assert [look.number for look in looks] == [3, 4, 3], "frames 4, 5 and 4, from 1"
    assert chosen.correct_frame == 4
    said = []
    chosen.correct_frame = 3
    operator = stand_in(
        mask_and_head.RESTAGE4D_OT_correct_mask, frame=0, report=lambda _, text: said.append(text)
    )
    assert operator.invoke(context, None) == {"CANCELLED"}
    assert said == ["Choose a later frame that is used: 4 to 5."]


def test_the_masks_of_the_last_restaging_are_proposed(chosen, context, looks, tmp_path):
    masks = np.stack([np.zeros_like(MASK), MASK, ~MASK])
    write_masks(tmp_path / "base_masks.npz", masks)
    job = runtime.session().job = WatchedJob(
        "0" * 32, state="done", loaded=puppets.random_puppet(), masks=tmp_path / "base_masks.npz"
    )
    chosen.use_range, chosen.first_frame, chosen.job = True, 4, job.id
    sync.tick()
    assert job.brought_in
    assert (corrections.read_mask(chosen, 5) == MASK).all()
    assert (corrections.read_mask(chosen, 6) == ~MASK).all()
    assert corrections.read_mask(chosen, 7) is None
    operator = stand_in(mask_and_head.RESTAGE4D_OT_correct_mask, frame=5)
    operator.invoke(context, None)
    looks[-1].picture, looks[-1].phase = np.zeros((30, 40, 3), np.uint8), "ready"
    assert (operator.get_picture()[1] == MASK).all()
    assert "its mask now" in operator.get_words()
    looks[-1].picture = np.zeros((60, 80, 3), np.uint8)
    assert operator.get_picture()[1] is None, "made at another size"
    (tmp_path / "base_masks.npz").write_bytes(b"PK\3\4 damaged")
    assert corrections.read_mask(chosen, 5) is None
    chosen.first_frame = 1
    assert corrections.read_mask(chosen, 5) is None, "of another part"


def test_corrections_are_sent_with_the_restaging_as_pictures_of_the_video_s_size(chosen):
    for frame, mask in ((9, ~MASK), (7, MASK), (7, MASK), (20, MASK), (2, MASK)):
        corrections.keep(chosen, frame, mask)
    chosen.use_range, chosen.first_frame, chosen.last_frame = True, 5, 12
    order = orders.make_order(chosen)
    assert [*order.corrections] == [2, 4], "frames 7 and 9 of a part that begins at 5"
    assert orders.make_driving_order(chosen).corrections == {}
    image = bpy.data.images.load(str(order.corrections[2]))
    assert tuple(image.size) == SIZE
    pixels = np.empty(SIZE[0] * SIZE[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    sent = pixels.reshape(SIZE[1], SIZE[0], 4)[::-1, :, 0] > 0.5
    assert (sent != np.kron(MASK, np.ones((4, 4), bool))).mean() < 0.01
    drawn = draw_panel(RESTAGE4D_PT_shot)
    assert {"Mask at frame 7", "Mask at frame 9", "Mask at frame 20 (not used)"} <= set(drawn.texts)
    assert bpy.ops.restage4d.remove_correction(frame=9) == {"FINISHED"}
    assert [*orders.make_order(chosen).corrections] == [2]
    assert not [i for i in bpy.data.images if i.name == "Mask of frame 9"]


def test_corrections_are_saved_and_belong_to_their_video(chosen, tmp_path):
    corrections.keep(chosen, 7, MASK)
    path = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    chosen = bpy.context.scene.restage4d
    assert (corrections.read_mask(chosen, 7) == MASK).all()
    film = chosen.video
    chosen.video = str(tmp_path / "other.mp4")
    assert corrections.find_valid(chosen) == []
    chosen.video = film
    assert len(corrections.find_valid(chosen)) == 1, "picked again"
    chosen.video = str(tmp_path / "other.mp4")
    corrections.keep(chosen, 3, MASK)
    assert [c.frame for c in chosen.corrections] == [3], "those of the other video are gone"


def test_every_panel_draws_in_every_state(chosen):
    """One walk: from an empty scene to a puppet with findings."""
    here = runtime.session()
    panels = [c for c in (*CLASSES, *PUPPET_CLASSES) if issubclass(c, bpy.types.Panel)]

    def walk():
        return " ".join(draw_panel(panel).text for panel in panels)

    assert "Correct Mask" in walk()
    for phase in ("absent", "starting", "lost", "refused", "ready"):
        here.backend.phase = phase
        walk()
    shot, here.shot = here.shot, None
    assert "Correct Mask" not in walk()
    for phase in ("waiting", "uploading", "selecting", "failed"):
        here.shot = Shot(Path("x"), None, 384, phase=phase, fault=Fault("It failed.", "Do."))
        walk()
    here.shot = shot
    corrections.keep(chosen, 7, MASK)
    set_head(chosen, (1, 2))
    for source in ("PROMPT", "FILE"):
        for provider in ("kinematic", "runway"):
            chosen.source, chosen.provider = source, provider
            walk()
    chosen.source, chosen.provider = "PROMPT", "kinematic"
    for state in ("sending", "queued", "running", "paused", "done", "failed", "cancelled"):
        here.job = WatchedJob("1" * 32, state=state, seconds_left=70.0, fault=Fault("No."))
        here.driving_job = WatchedJob("2" * 32, state=state, kind="driving")
        walk()
    here.driving_job = None
    here.job = WatchedJob("0" * 32, state="done", loaded=puppets.random_puppet())
    chosen.job = here.job.id
    sync.tick()
    text = walk()
    assert "base" in text
    assert "Mask at frame 7" in text
