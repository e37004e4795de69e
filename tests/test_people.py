"""A person's joints as a prior: conversions proven by a network that answers with exact truth, the
relief bent to known depths, and MediaPipe itself where it is installed."""

import os
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import Cameras, Clip, Selection, rewind
from restage4d.defaults import PriorNames
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou
from restage4d.io import video
from restage4d.priors.people.body import JOINTS, Body, find_body, measure_misfit, measure_scale
from restage4d.priors.people.person_depth import PersonConfig, bend_relief
from restage4d.priors.people.person_masks import PersonMasks
from restage4d.progress import Progress
from restage4d.providers.model_set import choose_estimators
from restage4d.providers.settings import UserSettings
from restage4d.providers.weights import Weights

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
SIZE = 640
# joint k is the one pixel with red = k + 1; in metres it is where its pixel is, 100 to a metre
TRUTH = """
from types import SimpleNamespace as N
import numpy as np

class Pose:
    def __init__(self, **options):
        assert options["static_image_mode"] and options["enable_segmentation"]
    def process(self, picture):
        red = picture[..., 0]
        if not np.isin(np.arange(33) + 1, red).all():  # not whole
            return N(pose_landmarks=None)
        height, width = red.shape
        marks, world = [], []
        for k in range(33):
            row, column = (int(v[0]) for v in np.nonzero(red == k + 1))
            marks.append(N(x=(column + 0.5) / width, y=(row + 0.5) / height, visibility=0.9))
            world.append(N(x=column / 100, y=row / 100, z=k / 10))
        return N(
            pose_landmarks=N(landmark=marks),
            pose_world_landmarks=N(landmark=world),
            segmentation_mask=(picture[..., 2] > 0).astype(np.float32),
        )

solutions = N(pose=N(Pose=Pose))
"""


@pytest.fixture
def truth_network(tmp_path, monkeypatch) -> Path:
    """A Python whose mediapipe reads the joints off the picture."""
    (tmp_path / "mediapipe.py").write_text(textwrap.dedent(TRUTH), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Path(sys.executable)


def draw_people(seed: int, count: int) -> tuple[Clip, np.ndarray]:
    """Frames in which a person walks to the right, and the joints' pixels (T, 33, 2)."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(60 * 200)[:JOINTS]
    joints = np.stack([60 + places % 60, 40 + places // 60], -1)
    frames = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    xy = joints + np.stack([np.array([6 * t, 0]) for t in range(count)])[:, None]
    for t, frame in enumerate(frames):
        frame[40:240, 60 + 6 * t : 120 + 6 * t, 2] = 255
        for k, (x, y) in enumerate(xy[t]):
            frame[y, x, 0] = k + 1
    return Clip(frames, 24.0), xy + 0.5


def test_joints_and_silhouettes_are_where_the_network_saw_them(truth_network):
    """In pixels of the clip, whatever was cut out; frames without a mask are found by their
    neighbours'."""
    clip, xy = draw_people(0, 4)
    rewound = rewind(clip, [])
    masks = np.full((4, SIZE, SIZE), np.nan, np.float32)
    masks[rewound.seam] = clip.frames[0, ..., 2] > 0
    body = find_body(truth_network, rewound, masks, 60.0, Progress())
    assert body.is_person
    np.testing.assert_allclose(body.xy, xy[rewound.index], atol=0.01)
    np.testing.assert_allclose(body.world[0, :, 2], np.arange(JOINTS) / 10, atol=1e-6)
    np.testing.assert_array_equal(body.mask > 0.5, rewound.clip.frames[..., 2] > 0)
    assert measure_scale(body, 0) == pytest.approx(100, rel=1e-4)
    assert measure_misfit(body, 0) < 1e-4


def test_nobody_is_nobody(truth_network):
    clip = Clip(np.zeros((3, SIZE, SIZE, 3), np.uint8), 24.0)
    masks = np.ones((3, SIZE, SIZE), np.float32)
    body = find_body(truth_network, rewind(clip, []), masks, 60.0, Progress())
    assert not body.is_person
    assert not body.visible.any()


def test_a_click_takes_the_person_alone(truth_network):
    clip, _ = draw_people(1, 2)
    masks = PersonMasks(PersonConfig(truth_network))
    person = clip.frames[0, ..., 2] > 0
    clicked = masks.select(clip, Selection(point=(90.0, 140.0)), Progress())
    np.testing.assert_array_equal(clicked, person)
    boxed = masks.select(clip, Selection(box=(55.0, 30.0, 130.0, 250.0)), Progress())
    np.testing.assert_array_equal(boxed, person)


@pytest.mark.parametrize("alone", [True, False])
def test_a_person_is_followed_by_silhouettes_alone(truth_network, monkeypatch, alone):
    """Bystanders that following takes along are cut off, what it loses comes back; a first mask
    that holds more than the person, such as a chair, is followed as it is."""
    clip, _ = draw_people(3, 4)
    rewound = rewind(clip, [])
    people = rewound.clip.frames[..., 2] > 0
    first = people[rewound.seam].copy()
    if not alone:
        first[240:300, 40:140] = True
    plain = people.astype(np.float32)
    plain[:, 60:100, 300:400] = 1  # a bystander
    plain[:, 200:240] = 0  # feet
    masks = PersonMasks(PersonConfig(truth_network))
    monkeypatch.setattr(masks._plain, "propagate", lambda *_: plain)
    found = masks.propagate(rewound, first, Progress())
    if alone:
        np.testing.assert_array_equal(found > 0.5, people)
        assert (found[:, 30, 80:100] == 0).all()
        assert (found == -1).any((1, 2)).all()  # beside the outline nothing is said
    else:
        np.testing.assert_array_equal(found, plain)


def test_a_python_without_mediapipe_is_said():
    clip, _ = draw_people(2, 2)
    masks = np.ones((2, SIZE, SIZE), np.float32)
    python = Path(sys.executable)  # ours has none
    with pytest.raises(
        InputError, match="MediaPipe failed: ModuleNotFoundError: No module named 'mediapipe'"
    ):
        find_body(python, rewind(clip, []), masks, 60.0, Progress())


def test_the_relief_is_bent_to_the_joints():
    """A flat relief, an arm that reaches 0.4 m forward: its depth is the arm's, the rest stays."""
    height, width, focal, distance = 200, 160, 300.0, 4.0
    mask = np.zeros((2, height, width), np.float32)
    mask[:, 20:180, 60:100] = 1  # a trunk
    mask[:, 60:70, 100:150] = 1  # an arm to the right
    relief = np.where(mask > 0.5, distance, 8.0).astype(np.float32)
    xy = np.zeros((2, JOINTS, 2), np.float32)
    xy[:] = [80, 100]
    places = {
        11: (96, 64),
        12: (64, 64),
        23: (90, 120),
        24: (70, 120),
        13: (122, 64),
        15: (148, 64),
    }
    places |= {0: (80, 30), 25: (90, 150), 26: (70, 150), 27: (90, 176), 28: (70, 176)}
    visible = np.zeros((2, JOINTS), bool)
    world = np.zeros((2, JOINTS, 3), np.float32)
    for k, place in places.items():
        xy[:, k], visible[:, k] = place, True
        world[:, k, :2] = (np.array(place) - [80, 120]) / 75.0  # 75 pixels a metre: 4 m at 300
    world[:, 13, 2], world[:, 15, 2] = -0.2, -0.4
    visible[:, [31, 32, 14, 16, 1, 2, 3]] = True  # enough joints for a person
    world[:, [31, 32, 14, 16, 1, 2, 3], :2] = (np.array([80, 100]) - [80, 120]) / 75.0
    body = Body(xy, world, visible, mask)
    clip = Clip(np.zeros((2, height, width, 3), np.uint8), 24.0)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    cameras = Cameras(
        np.tile(K, (2, 1, 1)), np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)), "static"
    )
    bent = bend_relief(relief, mask, cameras, body, rewind(clip, []))
    hand, elbow, trunk = bent[0, 65, 147], bent[0, 65, 122], bent[0, 150, 80]
    assert hand - trunk == pytest.approx(-0.4, abs=0.06)
    assert elbow - trunk == pytest.approx(-0.2, abs=0.06)
    assert abs(trunk - distance) < 0.12
    np.testing.assert_array_equal(bent[mask < 0.5], relief[mask < 0.5])


def test_it_is_taken_by_itself_where_its_python_is_named(tmp_path):
    here = UserSettings(mediapipe_python=sys.executable)
    for settings, expected in ((here, "mediapipe"), (UserSettings(), "grabcut")):
        names = choose_estimators(PriorNames(), Weights(tmp_path), settings, 0, lambda text: None)
        assert names.masks == expected
    assert names.depth == "relief"


@pytest.mark.skipif(
    not os.environ.get("RESTAGE4D_MEDIAPIPE_PYTHON"), reason="no Python with mediapipe is named"
)
@pytest.mark.skipif(not (DATA / "davis" / "dance-twirl").is_dir(), reason="no DAVIS clips here")
def test_mediapipe_finds_the_dancer_and_no_spectator():
    folder = DATA / "davis" / "dance-twirl"
    clip = video.decode(folder / "images", longer_side=384)
    masks = PersonMasks(PersonConfig(Path(os.environ["RESTAGE4D_MEDIAPIPE_PYTHON"])))
    mask = cv2.imread(str(sorted((folder / "masks").glob("*.png"))[0]), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    truth = cv2.resize((mask > 0).astype(np.uint8), clip.size) > 0
    row, column = (int(v.mean()) for v in np.nonzero(truth))
    found = masks.select(clip, Selection(point=(float(column), float(row))), Progress())
    assert iou(found, truth) > 0.75
