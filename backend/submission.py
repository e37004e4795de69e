"""What can be said of a job without its files."""

from restage4d.defaults import DRAFT_DRIVER
from restage4d.errors import InputError
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Submit
from restage4d.reconstruct.config import preset, with_settings


def check_submit(spec: Submit, providers: dict[str, list[str]]) -> None:
    """What can be said of a job without its files. Raises `WireError` "bad_input"."""
    if len(spec.base) != 64:
        raise WireError(
            "The job names no base video.", "Upload one and give its content id.", "bad_input"
        )
    if isinstance(spec.driving, str):
        check_driver(spec.driving, spec.candidates, providers)
    elif spec.job_kind == "driving":
        raise WireError(
            "The driving videos are there already.",
            "Name a provider that shall make some.",
            "bad_input",
        )
    for kind, name in spec.providers.items():
        if name not in providers.get(kind, []):
            there = ", ".join(providers.get(kind, []))
            raise WireError(
                f"There is no provider {name!r} of {kind}.", f"There are: {there}.", "bad_input"
            )
    set_ways = [
        way
        for way in (spec.selection.point, spec.selection.box, spec.selection.mask)
        if way is not None
    ]
    if len(set_ways) > 1:
        raise WireError(
            "The selection has a point, a box and a mask at once.", "Give one of them.", "bad_input"
        )
    try:
        with_settings(
            preset(spec.quality), [f"{name}={value}" for name, value in spec.settings.items()]
        )
    except InputError as error:
        raise WireError(error.what, error.remedy, "bad_input") from error


def check_driver(name: str, candidates: int, providers: dict[str, list[str]]) -> None:
    """Raises `WireError` "bad_input" where nobody of that name makes so many driving videos."""
    names = providers.get("driving", [])
    if name not in names:
        raise WireError(
            f"There is no driving provider {name!r}.",
            f"There are: {', '.join(names)}.",
            "bad_input",
        )
    if name == DRAFT_DRIVER and candidates > 1:
        raise WireError(
            "The draft driver makes the same video every time.",
            "Ask for one candidate.",
            "bad_input",
        )
