"""Vectors inside numba functions.

LLVM does not reliably vectorise the short masked loops of a rasteriser (array aliasing, exp, early
outs), so the kernels state their vectors. These intrinsics emit LLVM's portable vector code.
Scalars mix freely with vectors and are spread over the lanes. Indices count array elements and are
not checked.
"""

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, extending, types
from numba.core.datamodel.models import PrimitiveModel
from numba.core.extending import register_model
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, builtin_registry, signature


def intrinsic(function) -> Callable[..., Any]:
    """numba's, typed as it is called: without the typing context."""
    return extending.intrinsic(function)


_SOURCES = tuple(
    (p.name, p.stat().st_mtime_ns, p.stat().st_size)
    for p in sorted(Path(__file__).parent.glob("*.py"))
)


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function that runs without the GIL, and keeps it on disk until a file of this
    folder changes.

    numba alone would look at the function's own file, and join old code to new constants of
    another.
    """
    dispatcher = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    dispatcher._cache._cache_file._source_stamp = _SOURCES  # pyright: ignore[reportAttributeAccessIssue]
    return dispatcher


def _lanes() -> int:
    """One register of AVX-512 or AVX2, or two of SSE or NEON: wider vectors would waste lanes on
    small Gaussians."""
    try:
        return 16 if get_host_cpu_features().get("avx512f") else 8
    except RuntimeError:  # LLVM cannot tell on some ARM systems
        return 8


LANES = _lanes()

_F32, _I32, _I1 = ir.FloatType(), ir.IntType(32), ir.IntType(1)


class Vector(types.Type):
    """A numba type of `LANES` values: float32 ("f32"), int32 ("i32") or bool ("mask")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"Vector({kind})")


f32s, i32s, mask = Vector("f32"), Vector("i32"), Vector("mask")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        lane = {"f32": _F32, "i32": _I32, "mask": _I1}[fe_type.kind]
        super().__init__(dmm, fe_type, ir.VectorType(lane, LANES))


_F32S, _I32S = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)


def _const(value):
    return ir.Constant(_F32S, [value] * LANES)


def _wide(context, builder, ty, value):
    """The value itself if it is a vector, else a vector of it."""
    if isinstance(ty, Vector):
        return value
    if ty == types.int32:
        lane, kind = value, _I32S
    else:
        lane, kind = context.cast(builder, value, ty, types.float32), _F32S
    if isinstance(lane, ir.Constant):
        return ir.Constant(kind, [lane.constant] * LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), lane, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_I32S, [0] * LANES))


def _call(builder, name, *args):
    kind = args[0].type
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [a.type for a in args]), f"llvm.{name}.v{LANES}f32"
    )
    return builder.call(function, args)


def _pointer(context, builder, array_type, array, index_type, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [context.cast(builder, index, index_type, types.intp)])


def _operator(symbol, result, emit):
    """Lets ``symbol`` take two float vectors, or one and a scalar."""
    pairs = [(f32s, f32s)] + [
        p for s in (types.float32, types.float64) for p in ((f32s, s), (s, f32s))
    ]

    class Template(ConcreteTemplate):
        key = symbol
        cases = tuple(signature(result, *pair) for pair in pairs)

    builtin_registry.register_global(symbol, types.Function(Template))
    for pair in pairs:

        @lower_builtin(symbol, *pair)
        def _lower(context, builder, sig, args):
            return emit(
                builder,
                *(_wide(context, builder, t, a) for t, a in zip(sig.args, args, strict=True)),
            )


_operator(operator.add, f32s, lambda b, x, y: b.fadd(x, y))
_operator(operator.sub, f32s, lambda b, x, y: b.fsub(x, y))
_operator(operator.mul, f32s, lambda b, x, y: b.fmul(x, y))
_operator(operator.truediv, f32s, lambda b, x, y: b.fdiv(x, y))
_operator(operator.le, mask, lambda b, x, y: b.fcmp_ordered("<=", x, y))
_operator(operator.gt, mask, lambda b, x, y: b.fcmp_ordered(">", x, y))


@intrinsic
def at(typingctx, array, index):
    """One element of a contiguous array."""

    def emit(context, builder, sig, args):
        return builder.load(_pointer(context, builder, array, args[0], index, args[1]))

    return array.dtype(array, index), emit


@intrinsic
def prefetch(typingctx, array, index):
    """Asks for the element's cache line, to be read soon."""

    def emit(context, builder, sig, args):
        pointer = builder.bitcast(
            _pointer(context, builder, array, args[0], index, args[1]), ir.IntType(8).as_pointer()
        )
        flags = [ir.Constant(_I32, v) for v in (0, 3, 1)]  # read, keep, data
        kind = ir.FunctionType(ir.VoidType(), [pointer.type] + [_I32] * 3)
        builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"),
            [pointer, *flags],
        )
        return context.get_dummy_value()

    return types.void(array, index), emit


@intrinsic
def count(typingctx, counter, index):
    """Adds one to an element of an int64 array that several threads share and returns what it held
    before."""

    def emit(context, builder, sig, args):
        pointer = _pointer(context, builder, counter, args[0], index, args[1])
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "acq_rel")

    return types.int64(counter, index), emit


@intrinsic
def counted(typingctx, counter, index):
    """What an element of an array that several threads share holds now."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(
            _pointer(context, builder, counter, args[0], index, args[1]), "acquire", 8
        )

    return types.int64(counter, index), emit


@intrinsic
def load(typingctx, array, index):
    """The `LANES` elements of a contiguous float32 or int32 array from ``index`` on."""
    kind = f32s if array.dtype == types.float32 else i32s

    def emit(context, builder, sig, args):
        pointer = _pointer(context, builder, array, args[0], index, args[1])
        vector = context.get_value_type(kind)
        return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4, typ=vector)

    return kind(array, index), emit


@intrinsic
def store(typingctx, array, index, value):
    """Writes a vector to the array from ``index`` on."""

    def emit(context, builder, sig, args):
        pointer = _pointer(context, builder, array, args[0], index, args[1])
        vector = _wide(context, builder, value, args[2])
        builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), emit


@intrinsic
def ramp(typingctx, start):
    """start, start + 1, ... start + LANES - 1."""

    def emit(context, builder, sig, args):
        return builder.fadd(
            _wide(context, builder, start, args[0]),
            ir.Constant(_F32S, [float(i) for i in range(LANES)]),
        )

    return f32s(start), emit


@intrinsic
def spread(typingctx, value):
    """A vector of one float."""
    return f32s(value), lambda context, builder, sig, args: _wide(context, builder, value, args[0])


@intrinsic
def fma(typingctx, x, y, z):
    """x * y + z, fused where the processor can."""

    def emit(context, builder, sig, args):
        return _call(
            builder,
            "fmuladd",
            *(_wide(context, builder, t, a) for t, a in zip(sig.args, args, strict=True)),
        )

    return f32s(x, y, z), emit


@intrinsic
def least(typingctx, x, y):
    """The smaller of each pair of lanes."""

    def emit(context, builder, sig, args):
        a, b = (_wide(context, builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    return f32s(x, y), emit


@intrinsic
def greatest(typingctx, x, y):
    """The larger of each pair of lanes."""

    def emit(context, builder, sig, args):
        a, b = (_wide(context, builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return f32s(x, y), emit


@intrinsic
def choose(typingctx, condition, x, y):
    """x in the lanes where the mask holds, else y."""
    kind = x if isinstance(x, Vector) else y

    def emit(context, builder, sig, args):
        a, b = (_wide(context, builder, t, v) for t, v in zip(sig.args[1:], args[1:], strict=True))
        return builder.select(args[0], a, b)

    return kind(condition, x, y), emit


@intrinsic
def both(typingctx, m, n):
    """Lanes where both masks hold."""
    return mask(m, n), lambda context, builder, sig, args: builder.and_(args[0], args[1])


@intrinsic
def reaches(typingctx, x, limit):
    """Lanes of an int32 vector that are at least ``limit``."""

    def emit(context, builder, sig, args):
        bound = _wide(
            context, builder, types.int32, context.cast(builder, args[1], limit, types.int32)
        )
        return builder.icmp_signed(">=", args[0], bound)

    return mask(x, limit), emit


@intrinsic
def some(typingctx, m):
    """Whether the mask holds in any lane."""

    def emit(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(m), emit


@intrinsic
def totals(typingctx, array, index):
    """Sums over the lanes of the `LANES` vectors that follow one another from ``index`` on: lane i
    is the sum of vector i."""

    def emit(context, builder, sig, args):
        first = _pointer(context, builder, array, args[0], index, args[1])
        pointers = [
            builder.gep(first, [context.get_constant(types.intp, LANES * i)]) for i in range(LANES)
        ]
        vectors = [
            builder.load(builder.bitcast(p, _F32S.as_pointer()), align=4, typ=_F32S)
            for p in pointers
        ]
        bit = 1
        while (
            bit < LANES
            # two vectors become one: lanes with this bit are of the second, each added to its
            # neighbour's
        ):
            stay = ir.Constant(_I32S, [i + LANES * bool(i & bit) for i in range(LANES)])
            move = ir.Constant(_I32S, [(i ^ bit) + LANES * bool(i & bit) for i in range(LANES)])
            vectors = [
                builder.fadd(builder.shuffle_vector(a, b, stay), builder.shuffle_vector(a, b, move))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            bit *= 2
        return vectors[0]

    return f32s(array, index), emit


# 2**x on [-0.5, 0.5] with relative error 1e-7 (least squares at Chebyshev nodes).
_EXP2 = (1.0, 0.693146856, 0.24022238, 0.0555089295, 0.00967169794, 0.00132186725)
_ROUND = (
    12582912.0  # 1.5 * 2^23: adding it rounds a float to the nearest integer, kept in the low bits
)


@intrinsic
def exp2(typingctx, x):
    """2**x for -126 <= x <= 127; meaningless beyond."""

    def emit(context, builder, sig, args):
        rounded = builder.fadd(args[0], _const(_ROUND))
        fraction = builder.fsub(args[0], builder.fsub(rounded, _const(_ROUND)))
        value = _const(_EXP2[-1])
        for c in _EXP2[-2::-1]:
            value = _call(builder, "fmuladd", value, fraction, _const(c))
        exponent = builder.shl(builder.bitcast(rounded, _I32S), ir.Constant(_I32S, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(value, _I32S), exponent), _F32S)

    return f32s(x), emit
