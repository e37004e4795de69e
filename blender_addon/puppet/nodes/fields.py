# SPDX-License-Identifier: GPL-3.0-or-later
"""Geometry Nodes from plain formulas: numbers per point that add and multiply, and radiance that
turns with its Gaussian."""

from collections.abc import Sequence
from typing import Any

import bpy

from restage4d import sh

from .node_tree import NodeTree


class Field:
    """A number per point: what is computed with it becomes math nodes of its tree."""

    def __init__(self, tree: NodeTree, socket: Any) -> None:
        self.tree, self.socket = tree, socket

    def _compute(self, operation: str, *values: Any) -> "Field":
        sockets = [v.socket if isinstance(v, Field) else v for v in values]
        return Field(self.tree, self.tree.math(operation, *sockets))

    def __add__(self, other: Any) -> "Field":
        return self._compute("ADD", self, other)

    def __sub__(self, other: Any) -> "Field":
        return self._compute("SUBTRACT", self, other)

    def __mul__(self, other: Any) -> "Field":
        return self._compute("MULTIPLY", self, other)

    def __rmul__(self, other: Any) -> "Field":
        return self._compute("MULTIPLY", other, self)


def turn_radiance(
    t: NodeTree, old: Sequence[bpy.types.NodeSocket], back: bpy.types.NodeSocket
) -> list[bpy.types.NodeSocket]:
    """SH coefficients of degree 1 on, turned with their Gaussians; the twin of `sh.rotate`.

    Args:
        t: of a Geometry Nodes tree.
        old: coefficients 1, 2, ... (vectors of red, green, blue): 3, 8 or 15 of them.
        back: the inverse of each Gaussian's turn, a rotation.
    """
    degree = sh.degree_of(len(old) + 1)
    rows = []  # Y_i of each direction, turned back
    for direction in sh.DIRECTIONS[: 2 * degree + 1]:
        turned = t.node(
            "FunctionNodeRotateVector", {"Vector": tuple(map(float, direction)), "Rotation": back}
        ).outputs[0]
        axes = t.node("ShaderNodeSeparateXYZ", {0: turned})
        fields: list[Any] = [Field(t, axes.outputs[i]) for i in range(3)]
        rows.append(sh.basis_rows(fields[0], fields[1], fields[2], degree))
    new = []
    for band, inverse in enumerate(sh.INVERSES[:degree], 1):
        part = range(band * band, (band + 1) ** 2)
        seen = [
            _add_products(t, [(row[i].socket, old[i - 1]) for i in part])
            for row in rows[: 2 * band + 1]
        ]
        new += [
            _add_products(t, [((float(c),) * 3, v) for c, v in zip(line, seen, strict=True)])
            for line in inverse
        ]
    return new


def _add_products(t: NodeTree, pairs: Sequence[tuple[Any, Any]]) -> bpy.types.NodeSocket:
    """The sum of the products of vectors, or of a number and a vector."""
    total: Any = None
    for a, b in pairs:
        total = (
            t.vector("MULTIPLY", a, b) if total is None else t.vector("MULTIPLY_ADD", a, b, total)
        )
    return total
