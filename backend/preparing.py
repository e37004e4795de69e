"""What a provider of driving videos would be asked for, before there is a job."""

import tempfile
from pathlib import Path

from numpy.typing import NDArray

from backend.folder import Folder
from backend.inputs import footage
from backend.store import Store
from restage4d.wire.messages import Prepare, Prepared


def prepared(store: Store, request: Prepare) -> tuple[Prepared, list[NDArray]]:
    """The refined prompt and the terms, see `Prepared`.

    Raises:
        WireError: the content is not here or damaged.
        InputError: it is no video, the prompt cannot be used, the provider lacks something, or nobody refines the prompt.
    """
    from restage4d import video
    from restage4d.choices import DriverChoice
    from restage4d.driving.choose import choose_driver
    from restage4d.driving.refine import Refined
    from restage4d.priors.cache import Cache
    from restage4d.progress import Progress
    from restage4d.shot import decode_part
    from restage4d.weights import Weights

    told: list[str] = []
    choice = DriverChoice(driver=request.driving, candidates=request.candidates)
    driver = choose_driver(choice, Weights.chosen(None, False), cache=Cache(), announce=told.append)
    if not isinstance(driver, Refined):  # the draft driver reads the artist's own words
        return Prepared(prompt=request.prompt), []
    with tempfile.TemporaryDirectory(prefix="restage4d_prepare_") as place:
        path = footage(request.content, store, Folder(Path(place)), "base")
        base = decode_part(path, video.probe(path).fps, request.longer_side, request.first, 2)
    prompt = driver.prompt_for(base, request.prompt, Progress())
    return Prepared(prompt=prompt, terms=[*told, *driver.terms()]), []
