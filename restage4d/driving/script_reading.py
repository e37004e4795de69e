"""The draft driver's script: from a sentence in any language by a language model where an endpoint
is given, else from simple English by the built-in parser."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from restage4d.driving.draft.directions.schema import script_request
from restage4d.driving.draft.directions.script import Directions, read_script
from restage4d.driving.draft.prompt import parse
from restage4d.driving.endpoint import EndpointConfig, ask_model
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key

PARSER = "built-in parser"


@dataclass(frozen=True)
class Script:
    """What the draft driver will act: ``directions``, and who made them of the sentence,
    ``read_by``: "MODEL at URL", or `PARSER`."""

    directions: Directions
    read_by: str = PARSER

    def to_record(self) -> dict[str, Any]:
        """As report.json has it: ``sentence``, ``actions``, ``left_out`` and ``read_by``."""
        return {
            "sentence": self.directions.describe(),
            "actions": [asdict(action) for action in self.directions.actions],
            "left_out": list(self.directions.ignored),
            "read_by": self.read_by,
        }

    def __str__(self) -> str:
        text = f"The draft driver acts: {self.directions.describe()}"
        if self.directions.ignored:
            text += f"\nIt leaves out: {', '.join(self.directions.ignored)}"
        return text


def make_script(
    prompt: str,
    config: EndpointConfig | None = None,
    cache: Cache | None = None,
    announce: Callable[[str], None] = print,
) -> Script:
    """The script of a sentence.

    A model's reply that is no script is sent back once with what is wrong with it; then, as where
    the endpoint fails, the built-in parser reads the sentence, and that is announced.

    Args:
        prompt: what the subject shall do; for the built-in parser in simple English.
        config: the endpoint; None for the built-in parser.
        cache: where a model's good reply is kept; None for nowhere.
        announce: told that the sentence is sent, and why the parser reads it after all.

    Raises:
        InputError: the parser has to read it and finds nothing that can be acted.
    """
    if config is None or not prompt.strip():
        return Script(parse(prompt))
    try:
        directions = _ask(prompt, config, cache, announce)
    except InputError as error:
        announce(f"{error.what} The {PARSER} reads the directions instead.")
        return Script(parse(prompt))
    return Script(directions, f"{config.model} at {config.base_url}")


def _ask(
    prompt: str, config: EndpointConfig, cache: Cache | None, announce: Callable[[str], None]
) -> Directions:
    task, schema = script_request(prompt)
    key = content_key("script", config, task)
    kept = cache.get(key) if cache else None
    if kept is not None:
        return read_script(str(kept["reply"]))
    announce(f"The directions are sent to {config.base_url} to be made a script.")
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    wrong = None
    for _ in range(2):
        what, remedy = "The script could not be made", "Check --refine-url and --refine-model."
        reply = ask_model(config, messages, what, remedy, schema)
        try:
            directions = read_script(reply)
        except InputError as error:
            wrong = error
            messages += [
                {"role": "assistant", "content": reply},
                {"role": "user", "content": f"{error.what} Give the whole script anew, as JSON."},
            ]
            continue
        if cache:
            cache.put(key, {"reply": np.array(reply)})
        return directions
    assert wrong is not None
    raise InputError(f"{config.model} gave no usable script: {wrong.what}", wrong.remedy)
