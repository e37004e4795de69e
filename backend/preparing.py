"""What a provider of driving videos would be asked for, before there is a job."""

import tempfile
from pathlib import Path

from numpy.typing import NDArray

from backend.jobs.inputs import footage
from backend.jobs.job_folder import Folder
from backend.store.content_store import Store
from restage4d.protocol.messages import Prepare, Prepared


def prepared(store: Store, request: Prepare) -> tuple[Prepared, list[NDArray]]:
    """The refined prompt and the terms, see `Prepared`.

    Raises:
        WireError: the content is not here or damaged.
        InputError: it is no video, the prompt cannot be used, the provider lacks something, or
            nobody refines the prompt.
    """
    from restage4d.driving.prompt_refinement import RefinedPromptDriving
    from restage4d.io import video
    from restage4d.io.content_cache import Cache
    from restage4d.jobs.footage import decode_part
    from restage4d.jobs.provider_choice import DriverChoice
    from restage4d.jobs.provider_factory import make_driving_provider
    from restage4d.progress import Progress
    from restage4d.providers.weights import Weights

    announced: list[str] = []
    choice = DriverChoice(driver=request.driving, candidates=request.candidates)
    weights = Weights.from_settings(None, False)
    driver = make_driving_provider(choice, weights, cache=Cache(), announce=announced.append)
    if not isinstance(driver, RefinedPromptDriving):
        # the draft driver reads the artist's own words
        return Prepared(prompt=request.prompt), []
    with tempfile.TemporaryDirectory(prefix="restage4d_prepare_") as place:
        path = footage(request.content, store, Folder(Path(place)), "base")
        base = decode_part(path, video.probe(path).fps, request.longer_side, request.first, 2)
    prompt = driver.refine_prompt(base, request.prompt, Progress())
    return Prepared(prompt=prompt, terms=[*announced, *driver.terms()]), []
