"""Single elements of a convolution and of its gradients in float64, from the definition: no convolution is called."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dltool.bench import dtype_row, verified
from dltool.bench.workloads.kit import relative_error
from dltool.numerics import product_tolerance
from dltool.results import Verified

if TYPE_CHECKING:
    from dltool.bench.workloads.conv import Conv

_CHECKED = 64


def verify(torch: Any, workload: Conv, arrays: Any, left: list[Any]) -> Verified:
    """Compare elements spread over what the timed steps left behind.

    Winograd and FFT algorithms round more than sums do: by a factor that is granted.
    """
    terms = {
        "forward": workload.c_in // workload.groups * workload.kernel**2,
        "backward-data": workload.c_out // workload.groups * workload.kernel**2,
        "backward-weight": workload.batch * workload.output**2,
    }[workload.direction]
    tolerance = _ALGORITHMS * product_tolerance(dtype_row(workload.dtype), terms)
    what = f"float64, {_CHECKED} elements from the definition"
    if not left:
        return verified(what, float("nan"), tolerance)
    (found,) = left
    places = _spread(torch, tuple(found.shape))
    wanted = torch.stack([_ELEMENT[workload.direction](workload, arrays, place) for place in places]).cpu()
    measured = torch.stack([found[place].double().cpu() for place in places])
    return verified(what, relative_error(measured, wanted), tolerance)


_ALGORITHMS = 4.0


def _spread(torch: Any, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Places all over the array, corners among them, the same in each run."""
    count = math.prod(shape)
    generator = torch.Generator().manual_seed(4)
    flat = [0, count - 1, *torch.randint(count, (_CHECKED - 2,), generator=generator).tolist()]
    return [tuple(int(part) for part in torch.unravel_index(torch.tensor(place), shape)) for place in flat]


def _forward(case: Conv, arrays: Any, place: tuple[int, ...]) -> Any:
    """Y[n, co, i, j]: the window of X that the filter lies on."""
    x, w, _ = arrays
    n, co, i, j = place
    group = co // (case.c_out // case.groups)
    channels = slice(group * w.shape[1], (group + 1) * w.shape[1])
    rows, taps_i = _window(i * case.stride - case.padding, case.kernel, case.input)
    columns, taps_j = _window(j * case.stride - case.padding, case.kernel, case.input)
    return (x[n, channels, rows, columns].double() * w[co, :, taps_i, taps_j].double()).sum()


def _backward_data(case: Conv, arrays: Any, place: tuple[int, ...]) -> Any:
    """dX[n, ci, h, w]: every output whose window holds this input, by the tap that met it."""
    _, w, dy = arrays
    n, ci, h, v = place
    per_in, per_out = case.c_in // case.groups, case.c_out // case.groups
    group = ci // per_in
    outs = slice(group * per_out, (group + 1) * per_out)
    total = w.new_zeros(()).double()
    for tap_i, i in _meets(h, case):
        for tap_j, j in _meets(v, case):
            total = total + (dy[n, outs, i, j].double() * w[outs, ci % per_in, tap_i, tap_j].double()).sum()
    return total


def _backward_weight(case: Conv, arrays: Any, place: tuple[int, ...]) -> Any:
    """dW[co, ci, a, b]: over all images and places, dY times the input under this tap."""
    x, _, dy = arrays
    co, ci, a, b = place
    channel = co // (case.c_out // case.groups) * (case.c_in // case.groups) + ci
    rows, kept_i = _under(a, case)
    columns, kept_j = _under(b, case)
    return (x[:, channel, rows, columns].double() * dy[:, co, kept_i, kept_j].double()).sum()


def _window(first: int, kernel: int, side: int) -> tuple[slice, slice]:
    """The part of a window that lies on the input, and the taps over it."""
    low = min(max(0, first), side)
    high = max(low, min(side, first + kernel))  # none of it may: padding can be wider than the kernel
    return slice(low, high), slice(max(0, low - first), max(0, high - first))


def _meets(at: int, case: Conv) -> list[tuple[int, int]]:
    """Taps and outputs along one side that read input `at`."""
    found = [(tap, at + case.padding - tap) for tap in range(case.kernel)]
    return [(tap, place // case.stride) for tap, place in found
            if place % case.stride == 0 and 0 <= place // case.stride < case.output]  # fmt: skip


def _under(tap: int, case: Conv) -> tuple[slice, slice]:
    """The inputs under one tap along one side, and the outputs that they belong to."""
    kept = [i for i in range(case.output) if 0 <= i * case.stride + tap - case.padding < case.input]
    if not kept:
        return slice(0, 0), slice(0, 0)
    first = kept[0] * case.stride + tap - case.padding
    last = kept[-1] * case.stride + tap - case.padding
    return slice(first, last + 1, case.stride), slice(kept[0], kept[-1] + 1)


_ELEMENT = {"forward": _forward, "backward-data": _backward_data, "backward-weight": _backward_weight}
