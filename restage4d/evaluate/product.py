"""The product on stages: the default path, weight-free, from a click and two videos to a puppet,
judged from 45 degrees, beside and behind."""

import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from restage4d.clips import Selection, rewind
from restage4d.driving.draft.driver import model_body
from restage4d.evaluate import held_out
from restage4d.evaluate.metrics import image
from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.evaluate.runs import Record, read_record, replace_non_finite, write_json
from restage4d.evaluate.stage import Stage, StageClip, list_stages, read_stage
from restage4d.evaluate.tables import format_markdown
from restage4d.frame_arrays import take_frames
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache, content_key
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.body_parts import find_body_parts
from restage4d.reconstruct.config import preset, with_settings
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.one_body import make_one_body

FORMAT = 1
_FIRST = (  # columns of the table: title, metric, digits
    ("IoU 45°", "iou_oblique", 2),
    ("IoU beside", "iou_beside", 2),
    ("IoU behind", "iou_behind", 2),
    ("PSNR 45°", "psnr_oblique", 1),
    ("PSNR beside", "psnr_beside", 1),
    ("PSNR behind", "psnr_behind", 1),
    ("sharpness far / near", "sharpness_ratio", 2),
    ("depth slope", "depth_slope", 2),
    ("depth error", "depth_error", 3),
    ("turn found / true", "turn_ratio", 2),
    ("lower cover, first", "lower_cover_first", 2),
    ("last", "lower_cover_last", 2),
    ("one body", "unity", 3),
)
_REFERENCES = (
    ("PSNR empty", "psnr_empty", 1),
    ("one colour", "psnr_flat", 1),
    ("shifted 1 px", "psnr_shift1", 1),
    ("2 px", "psnr_shift2", 1),
    ("IoU shifted 1 px", "iou_shift1", 2),
    ("2 px", "iou_shift2", 2),
    ("sharpness far / near", "sharpness_ratio_true", 2),
)


def run_products(
    stages: Path, out: Path, quality: str, settings: tuple[str, ...], seed: int, progress: Progress
) -> list[Record]:
    """Runs and measures the default path on a stage, or on every stage of a folder; each is kept in
    ``out/product`` as it is done. Writes product.md and a sheet per puppet.

    Raises:
        InputError: there is no stage, or a setting is wrong.
    """
    with_settings(preset(quality), settings)  # a wrong one is said before work starts
    records = []
    for folder in list_stages(stages):
        stage = read_stage(folder)
        for driving in range(1, len(stage.driving) + 1):
            record = _run_product(
                stage, driving, out / "product", quality, settings, seed, progress
            )
            records.append(record)
            m = record["metrics"]
            print(
                f"{record['stage']} ({driving}): IoU beside {m.get('iou_beside') or 0:.2f}, behind "
                f"{m.get('iou_behind') or 0:.2f}, {record['seconds']:.0f} s",
                flush=True,
            )
            with replacing(out / "product.md") as temporary:
                temporary.write_text(write_product_tables(records), encoding="utf-8")
    return records


def choose_click(mask: NDArray[np.bool_]) -> Selection:  # (H, W)
    """A click where the subject is thickest, as an artist would make it."""
    inside = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(inside.argmax()), mask.shape)
    return Selection(point=(float(column) + 0.5, float(row) + 0.5))


def _run_product(
    stage: Stage,
    driving: int,
    out: Path,
    quality: str,
    settings: tuple[str, ...],
    seed: int,
    progress: Progress,
) -> Record:
    name = f"{stage.name}_{driving}"
    at = out / f"{name}.json"
    config = with_settings(preset(quality), (f"seed={seed}", *settings))
    filmed = stage.driving[driving - 1]
    fingerprint = content_key(
        "product",
        FORMAT,
        quality,
        sorted(settings),
        seed,
        stage.base.clip.frames,
        filmed.clip.frames,
    )
    kept = read_record(at, fingerprint)
    if kept:
        return kept
    began = time.perf_counter()
    providers = weight_free_providers()
    click = choose_click(stage.base.masks[0])
    first = providers.masks.select(stage.base.clip, click, progress)
    body = model_body(stage.base.clip, first, progress) if config.fusion.guessed_views else None
    rewound = rewind(stage.base.clip, [filmed.clip])
    priors = estimate_priors(
        rewound, first, providers, priors_dir=None, cache=Cache(), progress=progress
    )
    checkpoint = out / f"{name}.checkpoint.safetensors"
    fusion = fit(rewound, priors, config, checkpoint, progress, body=body)
    seconds = time.perf_counter() - began
    puppet = fusion.model.to_puppet(rewound, fusion.cameras(), ["as filmed"], config.influences)
    videos = [rewound.video(i) for i in range(len(puppet.performances))]
    followed = [take_frames(priors.masks, rows) for rows in videos]
    puppet, _ = make_one_body(puppet, followed, progress)
    puppet.body = find_body_parts(puppet, first)
    puppet.save(out / f"{name}.puppet")
    metrics, rows = measure_product(puppet, stage.base, filmed, stage.extent)
    with replacing(out / f"{name}.png") as temporary:
        sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
    masks = priors.masks[rewound.video(0)] > 0.5
    metrics["mask_iou"] = float(
        np.mean([image.iou(a, b) for a, b in zip(masks, stage.base.masks, strict=True)])
    )
    record = {
        "stage": stage.name,
        "driving": driving,
        "quality": quality,
        "settings": list(settings),
        "seed": seed,
        "seconds": round(seconds, 2),
        "fingerprint": fingerprint,
        "metrics": replace_non_finite(metrics),
    }
    write_json(at, record)
    (out / f"{name}.checkpoint.safetensors").unlink(missing_ok=True)
    return record


def measure_product(
    puppet: Puppet, base: StageClip, driving: StageClip, extent: float
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """All figures, and rows of pictures: of every held-out view, truth above puppet.

    Args:
        puppet: performances "base" and the driving one, both from the shared first frame.
        base, driving: the truth.
        extent: of the subject, in the truth's units.
    """
    performances = puppet.performances[0], puppet.performances[-1]
    overlay = held_out.overlay_worlds(puppet, performances[1], driving)
    out: dict[str, float] = {}
    rows: list[NDArray[np.uint8]] = []
    references: list[dict[str, float]] = []
    for name, view in driving.views.items():
        figures, pictures = held_out.measure_view(puppet, performances[1], view, overlay)
        out |= {f"{key}_{name}": figures[key] for key in ("iou", "psnr", "sharpness")}
        references.append(figures)
        true = [image.cut_out(p, m) for p, m in zip(view.pictures, view.masks, strict=True)]
        rows += [np.concatenate(true, 1), np.concatenate(pictures, 1)]
    film = _measure_film_sharpness(puppet, driving)
    behind = next((r for n, r in zip(driving.views, references, strict=True) if n == "behind"), {})
    out["sharpness_ratio"] = behind.get("sharpness", np.nan) / film[0]
    out["sharpness_ratio_true"] = behind.get("sharpness_true", np.nan) / film[1]
    for name in [n for n in (references[0] if references else {}) if "_" in n and "sharp" not in n]:
        out[name] = float(np.nanmean([r[name] for r in references]))
    out |= held_out.measure_depth(puppet, performances[1], driving, overlay, extent)
    out |= held_out.measure_turn(puppet, performances[1], driving, overlay)
    first, last = held_out.measure_lower_cover(puppet, performances[0], base)
    out |= {"lower_cover_first": first, "lower_cover_last": last}
    out["unity"] = min(float(measure_unity(puppet, p).min()) for p in performances)
    return out, rows


def _measure_film_sharpness(puppet: Puppet, truth: StageClip) -> tuple[float, float]:
    """Sharpness of the puppet and of the truth through the clip's camera, means over frames."""
    performance = puppet.performances[-1]
    values = []
    for t in range(0, performance.n_frames, 4):
        drawn, alpha, _ = held_out.draw_alone(puppet, performance, t, performance.camera(t))
        values.append(
            (
                held_out.measure_sharpness(drawn, alpha > 0.5),
                held_out.measure_sharpness(truth.clip.frames[t], truth.masks[t]),
            )
        )
    ours, true = np.nanmean(values, axis=0)
    return float(ours), float(true)


def write_product_tables(records: list[Record]) -> str:
    """Markdown: every puppet and the mean; then the reference values."""
    parts = []
    for columns in (_FIRST, _REFERENCES):
        lines = [["stage", *(title for title, _, _ in columns)]]
        for record in records:
            lines.append([_name(record), *_format(record["metrics"], columns)])
        if len(records) > 1:
            lines.append(["mean", *_format(_average(records), columns)])
        parts.append(format_markdown(lines))
    return "\n\n".join(parts) + "\n"


def _name(record: Record) -> str:
    return record["stage"] + (f" ({record['driving']})" if record["driving"] > 1 else "")


def _average(records: list[Record]) -> dict[str, float | None]:
    names = {name for record in records for name in record["metrics"]}
    found = {
        n: [r["metrics"][n] for r in records if r["metrics"].get(n) is not None] for n in names
    }
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _format(metrics: dict[str, float | None], columns: tuple) -> list[str]:
    return ["" if metrics.get(m) is None else f"{metrics[m]:.{d}f}" for _, m, d in columns]
