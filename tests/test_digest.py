"""Hashing beside other work gives what hashing in one go gives."""

import hashlib

import numpy as np

from restage4d.protocol.digest import Digest


def test_blocks_of_any_size_are_hashed_in_order():
    rng = np.random.default_rng(0)
    data = rng.bytes(5 << 20)
    cuts = np.sort(rng.integers(0, len(data), 12)).tolist()
    digest = Digest()
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        digest.update(memoryview(data)[start:stop])
        assert digest.hexdigest() == hashlib.sha256(data[:stop]).hexdigest()
    again = Digest()
    for start in range(0, len(data), 1 << 20):
        again.update(data[start : start + (1 << 20)])
    assert again.hexdigest() == hashlib.sha256(data).hexdigest()
