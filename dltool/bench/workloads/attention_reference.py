"""Attention and its gradients of single heads in float64, a few rows of the scores at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dltool.bench import dtype_row, verified
from dltool.bench.workloads.kit import relative_error
from dltool.numerics import product_tolerance
from dltool.results import Verified

if TYPE_CHECKING:
    from dltool.bench.workloads.attention import Attention

_ROWS = 256
_SLACK_BACKWARD = 4.0
"""Gradients pass through four roundings to the format: of P, O, dP and dS."""


def verify(torch: Any, workload: Attention, qkv: Any, slope: Any, left: list[Any]) -> Verified:
    """The first and the last head of what the timed steps left behind; the error is the greatest of all its arrays."""
    backward = slope is not None
    what = f"float64 attention{' and gradients' if backward else ''} of two heads"
    tolerance = product_tolerance(dtype_row(workload.dtype), workload.seq) * (_SLACK_BACKWARD if backward else 1.0)
    if not left:
        return verified(what, float("nan"), tolerance)
    error = 0.0
    for batch, head in {(0, 0), (workload.batch - 1, workload.heads - 1)}:
        q, k, v = (array.detach()[batch, head].double() for array in qkv)
        d_o = slope[batch, head].double() if backward else None
        right = one_head(torch, q, k, v, d_o, causal=workload.causal == "yes")
        errors = [
            relative_error(array[batch, head].detach().double(), wanted) for array, wanted in zip(left, right, strict=True)
        ]
        error = max([error, *errors], key=lambda value: (value != value, value))  # not a number is the worst
    return verified(what, error, tolerance)


def one_head(torch: Any, q_SD: Any, k_SD: Any, v_SD: Any, do_SD: Any, *, causal: bool) -> list[Any]:
    """O, and with `do_SD` dQ, dK and dV, by the definition.

    With P = softmax(Q K^T / sqrt(D)): dV = P^T dO, dS = P * (dO V^T - rowsum(dO * O)), dQ = dS K / sqrt(D) and
    dK = dS^T Q / sqrt(D).
    """
    scale = q_SD.shape[1] ** -0.5
    o_SD = torch.zeros_like(q_SD)
    dq_SD, dk_SD, dv_SD = (torch.zeros_like(q_SD) for _ in range(3))
    columns = torch.arange(len(k_SD), device=q_SD.device)
    for first in range(0, len(q_SD), _ROWS):
        rows = slice(first, min(first + _ROWS, len(q_SD)))
        s_RS = q_SD[rows] @ k_SD.T * scale
        if causal:
            s_RS = s_RS.masked_fill(columns[None, :] > columns[rows, None], float("-inf"))
        p_RS = s_RS.softmax(-1)
        o_SD[rows] = p_RS @ v_SD
        if do_SD is not None:
            delta_R = (do_SD[rows] * o_SD[rows]).sum(-1, keepdim=True)
            ds_RS = p_RS * (do_SD[rows] @ v_SD.T - delta_R)
            dq_SD[rows] = ds_RS @ k_SD * scale
            dk_SD += ds_RS.T @ q_SD[rows] * scale
            dv_SD += p_RS.T @ do_SD[rows]
    return [o_SD] if do_SD is None else [o_SD, dq_SD, dk_SD, dv_SD]
