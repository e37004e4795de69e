"""What is told names the panel's fields, not the command line's options."""

import ast
import re
from pathlib import Path

import pytest

from blender_addon.wording import name_fields


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("What works is the part with --frames 11.", "What works is the part with Last 11."),
        ("What works is the part with --first 9.", "What works is the part with First 10."),
        (
            "What works is the part with --frames 11 --first 9.",
            "What works is the part with First 10, Last 20.",
        ),
        (
            "Raise --longer-side or crop the video.",
            "Raise Working Size or crop the video.",
        ),
        (
            "Select it alone, with --select, --box or --mask.",
            "Select it alone, with Select the Subject.",
        ),
        ("Cut the standstill out.", "Cut the standstill out."),
        ("Start the service: restage4d serve.", "Press Start the Backend."),
        ("/tmp/tmpq1/inputs/base.mp4 is no video.", "the shot is no video."),
        (
            "'/var/jobs/12ab/inputs/mask12.png' is not black and white.",
            "'the mask of frame 12' is not black and white.",
        ),
    ],
)
def test_remedies_name_the_panel_s_fields(told, named):
    assert name_fields(told) == named


def test_no_sentence_of_a_job_names_an_option_of_the_command_line():
    """Whatever the library can tell of a job, in the words of the panel."""
    root, wrong = Path(__file__).parents[2] / "restage4d", []
    rooms = ("checks", "driving", "io", "jobs", "priors", "protocol", "providers", "reconstruct")
    for path in (path for room in rooms for path in sorted((root / room).rglob("*.py"))):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or "Error" not in ast.unparse(call.func):
                continue
            for given in call.args:
                parts = given.values if isinstance(given, ast.JoinedStr) else [given]
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "12" for part in parts
                )
                named = name_fields(text)
                if re.search(r"(^|\s)--[a-z]|restage4d (doctor|serve|run|keys)", named):
                    wrong.append(f"{path.name}: {named}")
    assert not wrong, "\n".join(wrong)
    assert name_fields("Check --refine-url and --refine-model.").count("--") == 0
