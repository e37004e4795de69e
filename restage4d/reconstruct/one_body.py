"""The fit's puppet as one body: what tore off, hangs loose or hangs apart is mended."""

from collections.abc import Callable, Sequence

from restage4d.puppet import F32, Puppet
from restage4d.reconstruct.bridging import bridge_gaps
from restage4d.reconstruct.loose_pieces import remove_loose_pieces
from restage4d.reconstruct.torn_pieces import rejoin_torn_pieces


def make_one_body(
    puppet: Puppet, masks: Sequence[F32], check: Callable[[], None]
) -> tuple[Puppet, int]:
    """The puppet mended, and how many of its Gaussians bridge gaps; they come last.

    Args:
        puppet: of a fit; its performances begin with one frame that all share.
        masks: (T, H, W) of each performance, 0..1, the subject in its frames.
        check: called now and then; may raise `Cancelled`.
    """
    rejoined = remove_loose_pieces(rejoin_torn_pieces(puppet, masks, check, first=True))
    whole = bridge_gaps(rejoined, check)
    bridging = len(whole.subject) - len(rejoined.subject)
    if bridging:  # what has torn off a part that hung apart itself has a body to come back to now
        whole = rejoin_torn_pieces(whole, masks, check, first=True)
    return whole, bridging
