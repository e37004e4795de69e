"""The program that `restage4d.priors.people.body` runs in the Python that has mediapipe; imports
nothing of ours.

python mediapipe_program.py IN.npz OUT.npz

IN: ``frames`` (T, H, W, 3) uint8, ``boxes`` (T, 4) x0 y0 x1 y1 in pixels, NaN where a frame's
person is sought near its parent's, and ``order`` (T - 1, 2) pairs parent, child.
OUT: ``xy`` (T, 33, 2) pixels, ``world`` (T, 33, 3) metres about the hips, x right, y down, z
away from the camera, ``visibility`` (T, 33), ``found`` (T,) and ``mask`` (T, H, W) 0..1.
"""

import sys

import numpy as np

AROUND = 0.35  # of the box's longer side, on each side of it
LEAST = 0.4  # confidence of a person


def main(in_file: str, out_file: str) -> None:
    import cv2  # type: ignore
    import mediapipe  # type: ignore

    with np.load(in_file, allow_pickle=False) as file:
        frames, boxes, order = file["frames"], file["boxes"], file["order"]
    count, height, width = frames.shape[:3]
    out = {
        "xy": np.zeros((count, 33, 2), np.float32),
        "world": np.zeros((count, 33, 3), np.float32),
        "visibility": np.zeros((count, 33), np.float32),
        "found": np.zeros(count, bool),
        "mask": np.zeros((count, height, width), np.float32),
    }
    seeker = mediapipe.solutions.pose.Pose(
        static_image_mode=True,
        model_complexity=1,
        enable_segmentation=True,
        min_detection_confidence=LEAST,
    )
    boxes = boxes.copy()
    start = order[0, 0] if len(order) else 0
    for parent, t in [(start, start), *order]:
        box = boxes[t] if np.isfinite(boxes[t]).all() else boxes[parent]
        if not np.isfinite(box).all():
            continue
        x0, y0, x1, y1 = cut(box, width, height)
        picture = np.ascontiguousarray(frames[t, y0:y1, x0:x1])
        scale = max(1.0, 256 / max(picture.shape[:2]))  # the network's own size is 256
        large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        answer = seeker.process(large)
        if answer.pose_landmarks is None:
            boxes[t] = box
            continue
        size = np.array([x1 - x0, y1 - y0], np.float32)
        marks = answer.pose_landmarks.landmark
        out["xy"][t] = np.array([[m.x, m.y] for m in marks]) * size + [x0, y0]
        out["world"][t] = [[m.x, m.y, m.z] for m in answer.pose_world_landmarks.landmark]
        out["visibility"][t] = [m.visibility for m in marks]
        out["found"][t] = True
        if answer.segmentation_mask is not None:
            small = cv2.resize(answer.segmentation_mask, (x1 - x0, y1 - y0))
            out["mask"][t, y0:y1, x0:x1] = small
        seen = out["xy"][t][out["visibility"][t] > 0.3]
        boxes[t] = [*seen.min(0), *seen.max(0)] if len(seen) > 4 else box
    np.savez(out_file, **out)


def cut(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """The box with room around it, inside the picture and not empty."""
    room = AROUND * max(box[2] - box[0], box[3] - box[1], 8)
    x0, y0 = (int(max(v - room, 0)) for v in box[:2])
    x1, y1 = int(min(box[2] + room, width)), int(min(box[3] + room, height))
    x0, y0 = min(x0, width - 2), min(y0, height - 2)
    return x0, y0, max(x1, x0 + 2), max(y1, y0 + 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
