"""Lists which Gaussians each tile draws, nearest first, in numba.

An "entry" is one Gaussian in one tile. Entries are numbered tile by tile; before that they are
found Gaussian by Gaussian and stand in "slots". Functions with a ``counter`` run on several threads
at once and take `PARTS` parts of the depth order in turn; each part has its own places in every
tile's list, so the lists are the same for any number of threads.
"""

import numpy as np

from restage4d.splatting.projection import (
    FAINTEST,
    PARTS,
    RECORD,
    TILE,
    tile_range,
)
from restage4d.splatting.simd import (
    LANES,
    at,
    count,
    kernel,
    prefetch,
)

AHEAD = 8  # Gaussians between asking for one's data and using it


@kernel
def order_slots(bits, radii, room):
    """Sorts by depth and makes room for entries.

    Args:
        bits: (N,) uint32, the depths' bits: for positive floats they sort as the floats do.
        radii, room: (N,) int32.

    Returns:
        order: indices of the Gaussians with a radius, nearest first, by a stable radix sort.
        first_slot: (N + 1,) int64, sums of ``room``: a slot is a place for an entry, numbered
            Gaussian by Gaussian.
    """
    n = len(radii)
    first_slot = np.empty(n + 1, np.int64)
    first_slot[0] = 0
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    drawn = 0
    for i in range(n):
        first_slot[i + 1] = first_slot[i] + room[i]
        order[drawn] = i
        drawn += radii[i] > 0
    order, other = order[:drawn], other[:drawn]
    place = np.empty(2048, np.int64)
    for shift in (0, 11, 22):
        place[:] = 0
        for i in order:
            place[(bits[i] >> shift) & 2047] += 1
        start = 0
        for digit in range(2048):
            place[digit], start = start, start + place[digit]
        for i in order:
            digit = (bits[i] >> shift) & 2047
            other[place[digit]] = i
            place[digit] += 1
        order, other = other, order
    return order, first_slot


@kernel
def find_slots(
    counter, width, height, order, records, first_slot, slots, slot_tile, slot_rows, counts
):
    """Finds each Gaussian's tiles and the rows in them; fills the slot arrays, slots (N,): how many
    slots are used, and counts (PARTS, tiles): entries of each part of the depth order in each tile,
    which come in as 0."""
    tiles_x = (width + LANES - 1) // LANES
    while True:
        part = count(counter, 0)
        if part >= PARTS:
            return PARTS
        for r in range(part * len(order) // PARTS, (part + 1) * len(order) // PARTS):
            ahead = np.int64(at(order, min(r + AHEAD, len(order) - 1)))
            prefetch(records, RECORD * ahead)
            prefetch(first_slot, ahead)
            i = np.int64(at(order, r))
            g = RECORD * i
            x, y, k = np.float64(records[g]), np.float64(records[g + 1]), np.float64(records[g + 3])
            a, h = -np.float64(records[g + 2]), -np.float64(records[g + 4])
            q = records[g + 5] + FAINTEST  # the footprint is a (X + k Y)^2 + h Y^2 < q
            c = a * k * k + h
            rc = 1 / c
            rx, ry = np.float64(records[g + 6]), np.float64(records[g + 7])
            first, stop = tile_range(x - rx, x + rx, width, LANES)
            slot, end = first_slot[i], first_slot[i + 1]
            for column in range(first, stop):
                left = column * LANES + 0.5 - x
                right = left + LANES - 1
                # The footprint is highest at X = -k ry and lowest at k ry, or where the column of
                # tiles cuts it off.
                high, low = ry, -ry
                if not (left <= -k * ry <= right):
                    X = left if -k * ry < left else right
                    high = (np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) * rc
                if not (left <= k * ry <= right):
                    X = left if k * ry < left else right
                    low = (-np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) * rc
                top = int(np.ceil(max(y + low - 0.501, 0.0)))
                bottom = int(np.floor(min(y + high - 0.499, height - 1.0)))
                if bottom < top:
                    continue
                for row in range(top // TILE, min(bottom // TILE + 1, top // TILE + end - slot)):
                    tile = row * tiles_x + column
                    slot_tile[slot] = tile
                    slot_rows[slot] = max(top - row * TILE, 0) | (
                        min(bottom + 1 - row * TILE, TILE) << 8
                    )
                    counts[part, tile] += 1
                    slot += 1
            slots[i] = slot - first_slot[i]
        count(counter, 1)


@kernel
def place_entries(counts):
    """Turns counts (PARTS, tiles) into where each part's first entry of a tile goes; returns
    first_entry (tiles + 1,)."""
    tiles = counts.shape[1]
    first_entry = np.empty(tiles + 1, np.int64)
    entry = 0
    for tile in range(tiles):
        first_entry[tile] = entry
        for part in range(PARTS):
            counts[part, tile], entry = entry, entry + counts[part, tile]
    first_entry[tiles] = entry
    return first_entry


@kernel
def fill_entries(
    counter,
    order,
    first_slot,
    slots,
    slot_tile,
    slot_rows,
    places,
    slot_entry,
    entry_gaussian,
    entry_rows,
):
    """Lists the slots by tile; ``places`` as `place_entries` left it."""
    while True:
        part = count(counter, 0)
        if part >= PARTS:
            return PARTS
        for r in range(part * len(order) // PARTS, (part + 1) * len(order) // PARTS):
            ahead = np.int64(at(order, min(r + 2 * AHEAD, len(order) - 1)))
            prefetch(first_slot, ahead)
            prefetch(slots, ahead)
            ahead = at(first_slot, np.int64(at(order, min(r + AHEAD, len(order) - 1))))
            prefetch(slot_tile, ahead)
            prefetch(slot_rows, ahead)
            i = np.int64(at(order, r))
            for slot in range(first_slot[i], first_slot[i] + slots[i]):
                tile = slot_tile[slot]
                entry = places[part, tile]
                places[part, tile] = entry + 1
                slot_entry[slot] = entry
                entry_gaussian[entry] = i
                entry_rows[entry] = slot_rows[slot]
        count(counter, 1)
