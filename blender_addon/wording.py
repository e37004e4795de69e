# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of the library and the backend in the panel's words: they also serve the command line,
and speak of its options, of its commands and of files by the names that a job gave them."""

import re

_FIELDS = (
    (r"with --select, --box or --mask", "with Select the Subject"),
    (r"Use --masks sam3, or --select X,Y", "Choose SAM 3 for the masks, or use Select the Subject"),
    (r"use --select X,Y", "use Select the Subject"),
    (r"with --driving FILE", "of your own: choose My Own Video"),
    (r"give it with --driving", "choose My Own Video"),
    (r"correct it with --mask FRAME=FILE", "use Correct Mask at Frame"),
    (r"and so does --mask \d+=\S+?(?=\.?$|\.? )", "and so does Correct Mask at Frame"),
    (
        r"See body_plan\.png, and say where its head is: --head X,Y in pixels of the first frame",
        "Say where its head is, with Head in the Direction panel",
    ),
    (
        r"Give cameras or depth with --priors, or another provider of them",
        "Choose other Estimators",
    ),
    (r"\(--first\)", "(First)"),
    (r"(?:the )?--longer-side", "Working Size"),
    (r"a smaller Working Size", "a smaller Working Size beside Quality"),
    (r", or allow --download", ", or let the backend's keeper allow downloads"),
    (r" ?\(or use --download, which fetches both\)", ""),
    (r"\(--weights DIR or RESTAGE4D_WEIGHTS\)", "of the backend"),
    (r"give (?:a|their) folder with --weights", "put them into the backend's weights folder"),
    (
        r"Check --refine-url and --refine-model",
        "Check the address and the model of the prompt refiner",
    ),
    (r"(?:change it )?with --refined-prompt", "change it in the panel"),
    (r"cannot use --priors", "cannot use priors from a folder"),
    (r"[Cc]hoose another: restage4d doctor lists them", "Choose another in the menu"),
    (r"see restage4d doctor", "the menu lists them"),
    (r"Start the service: restage4d serve\.", "Press Start the Backend."),
    (r"Start the service \(restage4d serve\)", "Press Start the Backend"),
    (r" \(restage4d keys make NAME\)", ""),
)
_FILES = (  # a job's own names for what the artist gave
    (r"base", "the shot"),
    (r"driving\d*", "the driving video"),
    (r"mask(\d+)", r"the mask of frame \1"),
)


def name_fields(text: str) -> str:
    """The command line's options become fields and buttons, a job's files what the artist gave.

    Example:
        >>> name_fields("What works is the part with --frames 11 --first 9.")
        'What works is the part with First 10, Last 20.'
    """
    for pattern, field in _FIELDS:
        text = re.sub(pattern, field, text)
    for pattern, name in _FILES:
        text = re.sub(rf"[^\s'\"]*[/\\]inputs[/\\]{pattern}(?:\.\w+)?(?!\w)", name, text)
    found = dict(re.findall(r"--(first|frames) (\d+)", text))
    first, count = int(found.get("first", 0)), found.get("frames")
    fields = [f"First {first + 1}"] if "first" in found else []
    fields += [f"Last {first + int(count)}"] if count is not None else []
    text = re.sub(r"(--(first|frames) \d+ ?)+(?<! )", ", ".join(fields), text)
    return re.sub(r"--([a-z][a-z-]+)", lambda option: option[1].replace("-", " "), text)
