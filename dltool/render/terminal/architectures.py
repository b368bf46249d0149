"""The architectures: what each brought, its rates, which number formats it takes; and what those formats are."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.catalog import Architecture, NumberFormat
from dltool.render.terminal.page import Page
from dltool.results import Report

_KINDS: tuple[tuple[str, str | None, str | None], ...] = (
    ("FP64", "fp64", "fp64_tensor"),
    ("FP32", "fp32", None),
    ("TF32", None, "tf32_tensor"),
    ("FP16", "fp16", "fp16_tensor_acc32"),
    ("BF16", "bf16", "bf16_tensor"),
    ("FP8", None, "fp8_tensor_acc32"),
    ("FP6", None, "fp6_tensor"),
    ("FP4", None, "fp4_tensor"),
    ("INT8", "int8", "int8_tensor"),
    ("INT4", None, "int4_tensor"),
    ("INT1", None, "int1_tensor"),
)
"""Title, key on the ordinary cores, key on tensor cores."""


def show(report: Report, page: Page) -> None:
    """Three tables: which arithmetic each architecture has, what it is, and the formats."""
    if len(report.architectures) == 1:
        _in_full(report.architectures[0], page)
        return
    page.line("Arithmetic: c on the ordinary cores, T on tensor cores", style="bold")
    rows = [[_title(own), *(_where(own, *keys) for _, *keys in _KINDS)] for own in report.architectures]
    page.columns(["", *(title for title, _, _ in _KINDS)], rows, gap=1)
    for place, where in ((1, "ordinary cores"), (2, "tensor cores, dense")):
        kinds = [(kind[0], key) for kind in _KINDS if (key := kind[place]) is not None]
        page.line()
        page.line(f"Operations per clock per SM, {where}", style="bold")
        having = [own for own in report.architectures if any(key in own.ops for _, key in kinds)]
        rows = [[_title(own), *(_rate(own, key) for _, key in kinds)] for own in having]
        page.columns(["", *(title for title, _ in kinds)], rows, right=range(1, len(kinds) + 1), gap=1)
    page.line("-: none; 1?: one source only. A board may be cut below this: FP64 and tensor rates of GeForce.", style="dim")
    page.line()
    _what_it_is(report.architectures, page)
    if report.formats:
        page.line()
        _formats(report.formats, page)


def _title(own: Architecture) -> str:
    return f"{own.compute_capability} {own.name}"


def _where(own: Architecture, vector: str | None, tensor: str | None) -> str:
    return "".join(letter for letter, key in (("c", vector), ("T", tensor)) if key is not None and key in own.ops) or "-"


def _rate(own: Architecture, key: str) -> str:
    if key not in own.ops:
        return "-"
    return f"{own.ops[key]:g}" + ("?" if key in own.unverified else "")


def _what_it_is(architectures: Sequence[Architecture], page: Page) -> None:
    page.line("What they are, and what supports them", style="bold")
    rows = [
        [
            own.compute_capability,
            own.year,
            str(own.cuda_cores_per_sm),
            own.tensor_core_generation or "-",
            own.rt_core_generation or "-",
            f"{own.sparsity:g}x" if own.sparsity else "-",
            f"{own.cuda_first} to {own.cuda_last}" if own.cuda_last else f"{own.cuda_first} on",
            own.driver_last or "now",
            " ".join(own.chips),
        ]
        for own in architectures
    ]
    page.table(["cc", "year", "cores", "tensor", "RT", "2:4", "CUDA", "driver", "chips"], rows, right=(2,))


def _in_full(own: Architecture, page: Page) -> None:
    page.line(f"{own.name}, compute capability {own.compute_capability}", style="bold")
    rates = (f"{title} {_pair(own, *keys)}" for title, *keys in _KINDS if any(key in own.ops for key in keys))
    facts = {
        "brought": own.trait,
        "chips": " ".join(own.chips),
        "one SM": f"{own.cuda_cores_per_sm} CUDA cores, {own.tensor_cores_per_sm or 0} tensor cores, "
        f"{own.rt_cores_per_sm or 0} RT cores, {own.shared_kib_per_sm or '?'} KiB shared memory, "
        f"{own.max_threads_per_sm or '?'} threads",
        "a clock": f"operations per SM, ordinary / tensor cores: {', '.join(rates)}",
        "sparsity": f"2:4 on tensor cores, {own.sparsity:g}x" if own.sparsity else "none",
        "CUDA": f"{own.cuda_first} to {own.cuda_last}" if own.cuda_last else f"{own.cuda_first} and later",
        "driver": f"up to branch {own.driver_last}" if own.driver_last else "current ones",
        "note": own.note,
        "source": own.source if page.style.explain else "",
    }
    for label, text in facts.items():
        if text:
            page.labelled(label, text, indent=2)


def _pair(own: Architecture, vector: str | None, tensor: str | None) -> str:
    return " / ".join(_rate(own, key) if key else "-" for key in (vector, tensor))


def _formats(formats: Sequence[NumberFormat], page: Page) -> None:
    page.line("Number formats: bits, range, and what they are for", style="bold")
    rows = [
        [
            own.name,
            str(own.bits),
            "-" if own.exponent_bits is None else str(own.exponent_bits),
            "-" if own.mantissa_bits is None else str(own.mantissa_bits),
            _range(own.largest),
            _range(own.smallest_normal),
            own.first_tensor_cc or "-",
        ]
        for own in formats
    ]
    page.columns(["", "bits", "exponent", "mantissa", "largest", "smallest", "tensor cores from"], rows, right=range(1, 7))
    page.line()
    for own in formats:
        page.labelled(own.name, own.use + (f" (scale: {own.block})" if own.block else ""), indent=2)


def _range(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
