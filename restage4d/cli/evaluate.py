"""``restage4d evaluate``: one stage, a folder of stages with all tables and plots, or a public
benchmark."""

import argparse
from pathlib import Path
from typing import Any

from restage4d.cli.console import console_progress
from restage4d.defaults import QUALITIES, QUALITY
from restage4d.errors import InputError


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "evaluate", help="figures and ablation tables on stages with known truth"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--stage", type=Path, metavar="DIR", help="one stage made by scripts/render_stage.py"
    )
    what.add_argument(
        "--stages",
        type=Path,
        metavar="DIR",
        help="a folder of stages: the whole set of tables and plots",
    )
    what.add_argument(
        "--davis", type=Path, metavar="DIR", help="DAVIS clips with BADJA's joints: the real pairs"
    )
    what.add_argument(
        "--dycheck", type=Path, metavar="DIR", help="DyCheck's iPhone sequences, or one of them"
    )
    what.add_argument("--tapvid3d", type=Path, metavar="DIR", help="TAPVid-3D's videos (npz files)")
    parser.add_argument(
        "--ablation",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these (default: all; docs/evaluate.md)",
    )
    parser.add_argument(
        "--noise",
        choices=("clean", "learned"),
        default="learned",
        help="of the priors made from a stage's truth",
    )
    parser.add_argument(
        "--product",
        nargs="?",
        const=QUALITY,
        default="",
        choices=QUALITIES,
        metavar="QUALITY",
        help="the default, weight-free path on the stages, from a click and two videos, in the "
        "place of the ablations (docs/evaluate.md)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every fit"
    )
    parser.add_argument(
        "--clip", type=Path, metavar="DIR", help="a folder with a CLIP model, for OCV CLIP"
    )
    parser.add_argument(
        "--lpips", type=Path, metavar="DIR", help="a folder with AlexNet's and LPIPS's weights"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="results; the same command goes on where it stopped",
    )
    parser.set_defaults(do=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    layout = next((name for name in ("davis", "dycheck", "tapvid3d") if vars(arguments)[name]), "")
    if arguments.product and (layout or arguments.ablation):
        raise InputError("--product runs on stages, without ablations.", "Leave one of them out.")
    # torch and matplotlib: seconds that the other commands do without
    from restage4d.evaluate.metrics.perceptual import PerceptualWeights
    from restage4d.evaluate.suite import Suite, evaluate

    suite = Suite(
        out=arguments.out,
        stage=arguments.stage,
        stages=arguments.stages,
        benchmark=vars(arguments)[layout] if layout else None,
        layout=layout,
        ablations=arguments.ablation,
        noise=arguments.noise,
        seed=arguments.seed,
        settings=tuple(arguments.set),
        perceptual=PerceptualWeights(arguments.clip, arguments.lpips),
        product=arguments.product,
    )
    evaluate(suite, console_progress())
