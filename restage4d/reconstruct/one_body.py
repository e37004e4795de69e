"""The fit's puppet as one body: what tore off, hangs loose or hangs apart is mended."""

from collections.abc import Sequence

from restage4d.evaluate.metrics.pieces import REACH
from restage4d.progress import Progress, TaskId
from restage4d.puppet import F32, Puppet
from restage4d.reconstruct.bridging import bridge_gaps
from restage4d.reconstruct.loose_pieces import find_loose_pieces, remove_gaussians
from restage4d.reconstruct.torn_pieces import rejoin_torn_pieces

_SPECK = 0.005, 3.0  # share of all Gaussians, and gap: a larger piece, a hoof, may be a part
_UNJOINED = 0.01, REACH  # what is larger is a part that tore off: `check_unity` tells


def make_one_body(puppet: Puppet, masks: Sequence[F32], progress: Progress) -> tuple[Puppet, int]:
    """The puppet mended, and how many of its Gaussians bridge gaps; they come last.

    Args:
        puppet: of a fit; its performances begin with one frame that all share.
        masks: (T, H, W) of each performance, 0..1, the subject in its frames; below 0: not known.
        progress: told the task; ends cancelled work.
    """
    check = progress.check
    with progress.task(TaskId.JOIN_PIECES, 3) as task:
        rejoined = rejoin_torn_pieces(puppet, masks, check, first=True)
        rejoined = remove_gaussians(rejoined, find_loose_pieces(rejoined, *_SPECK))
        task.advance()
        whole = bridge_gaps(rejoined, check, masks)
        task.advance()
        loose = find_loose_pieces(whole, *_UNJOINED)
        bridging = int((~loose[len(rejoined.subject) :]).sum())
        whole = remove_gaussians(whole, loose)
        # what tore off a part that hung apart itself, or loose pieces, has a body to come back to
        whole = rejoin_torn_pieces(whole, masks, check, first=True)
    return whole, bridging
