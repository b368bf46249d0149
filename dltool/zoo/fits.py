"""The largest batch that fits on a board: from two runs on the meta device what one sample takes, and a third to prove it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

from msgspec import Struct

from dltool import tables
from dltool.catalog import Board
from dltool.errors import UsageError
from dltool.model_results import Fit, Fits, Memory
from dltool.zoo import memory
from dltool.zoo.subject import Subject

TRAINED = ("fp32", "mixed", "bf16")
INFERRED = ("fp32", "bf16")
_FIRST = 2
"""Batch of the first run: batch norm over a map of one value needs two samples."""
_SECOND = 64
"""Batch of the second on the meta device, where it costs the same."""
_PROOFS = 3
_NEAR = 0.005
"""An answer that is this near to the next is not tried again."""
_MOST = 2**20
_ECC_SEGMENTS = ("datacenter", "workstation", "mobile-workstation")
_TEXTS = {
    "visible": "a program sees {value:.1%} of the marketed memory",
    "visible_ecc": "a program sees {value:.1%} of the marketed memory, as ECC is on",
    "context": "the CUDA context takes {value:g} MiB",
    "cublas": "cuBLAS takes {value:g} MiB",
    "cudnn": "convolutions take {value:g} MiB of workspace",
    "holes": "{value:.0%} of what the model holds is lost between blocks",
}


class Line(Struct, frozen=True):
    """How memory grows with the batch, and what that means for the room there is."""

    batch: int
    """The largest that fits."""
    peak: int
    """Bytes there; of one sample where none fits."""
    base: int
    per_sample: int
    grows: bool
    """False: the input is one whatever the batch."""


def of(subject: Subject, board: Board, *, optimizer: str = "adamw", training: bool = True) -> Fits:
    """The largest batch of each precision for training and inference.

    Args:
        subject: the model.
        board: of the catalogue.
        optimizer: see `memory.OPTIMIZERS`.
        training: look at training too.

    Raises:
        UsageError: the board's memory is not known, or the optimizer is not.
    """
    if board.memory_gb is None:
        raise UsageError(f"the memory of {board.name} is not known", remedy="Name a board with memory: dltool gpu-info --list")
    seen = int(board.memory_gb * 2**30 * _values()[_visible(board)])
    taken = sum(int(_values()[name] * 2**20) for name in ("context", "cublas", "cudnn"))
    room = max(0, int((seen - taken) / (1 + _values()["holes"])))
    names = (_visible(board), "context", "cublas", "cudnn", "holes")
    return Fits(
        board=board.name,
        memory=seen,
        reserved=seen - room,
        fits=tuple(_fits(subject, room, optimizer, training)),
        assumed=tuple(_TEXTS[name].format(value=_values()[name]) for name in names),
    )


def _fits(subject: Subject, room: int, optimizer: str, training: bool) -> Iterator[Fit]:
    for dtype in TRAINED if training else ():
        ask = partial(memory.training, subject, dtype=dtype, optimizer=optimizer)
        yield _fit("training", dtype, optimizer, ask, room)
    for dtype in INFERRED:
        yield _fit("inference", dtype, None, partial(memory.inference, subject, dtype=dtype), room)


def _fit(purpose: str, dtype: str, optimizer: str | None, ask: Callable[[int], Memory], room: int) -> Fit:
    first = ask(_FIRST)
    meta = first.found_on != "cpu"
    line = largest(
        lambda batch: (first if batch == _FIRST else ask(batch)).peak,
        room,
        second=_SECOND if meta else 2 * _FIRST,
        proofs=_PROOFS if meta else 0,
    )
    note = "more was not tried" if line.batch == _MOST else "" if line.grows else "its input is one, whatever the batch"
    return Fit(
        purpose=purpose,
        dtype=dtype,
        optimizer=optimizer,
        batch=line.batch,
        peak=line.peak,
        base=line.base,
        per_sample=line.per_sample,
        note=note,
    )


def largest(peak_of: Callable[[int], int], room: int, *, second: int = _SECOND, proofs: int = _PROOFS) -> Line:
    """The largest batch whose peak is within `room`, by a straight line through two peaks.

    The line bends where another phase of the step becomes the peak: so the answer is tried, and the line drawn anew through
    what was seen. What was tried last is never above `room`.

    Args:
        peak_of: bytes at a batch; grows with it.
        room: bytes.
        second: batch of the second point.
        proofs: how often the answer may be tried; 0 takes the line at its word.
    """
    points = {batch: peak_of(batch) for batch in (_FIRST, second)}
    base, slope = _line(points)
    if slope <= 0:
        fits = points[_FIRST] <= room
        return Line(batch=int(fits), peak=points[_FIRST], base=points[_FIRST], per_sample=0, grows=False)
    guess = _clamped((room - base) // slope)
    for _ in range(proofs):
        if guess < 1:
            break
        if guess not in points:
            points[guess] = peak_of(guess)
        base, slope = _line(points, near=guess)
        better = _clamped((room - base) // slope)
        if points[guess] <= room and better - guess <= _NEAR * guess:
            break
        guess = better if points[guess] <= room else min(better, guess - 1)
    if proofs and (guess < 1 or points.get(guess, room + 1) > room):
        guess = max((batch for batch, peak in points.items() if peak <= room), default=0)
    at = max(guess, 1)
    return Line(batch=guess, peak=points.get(at, base + slope * at), base=base, per_sample=slope, grows=True)


def _clamped(batch: int) -> int:
    return max(0, min(batch, _MOST))


def _line(points: Mapping[int, int], near: int | None = None) -> tuple[int, int]:
    """Base and slope (rounded up) through the two points nearest to a batch."""
    (x1, y1), (x2, y2) = sorted(sorted(points.items(), key=lambda point: abs(point[0] - (near or 0)))[:2])
    slope = -(-(y2 - y1) // (x2 - x1))
    return y2 - slope * x2, slope


def _visible(board: Board) -> str:
    in_memory = (board.memory_type or "").startswith("GDDR")
    return "visible_ecc" if in_memory and board.segment in _ECC_SEGMENTS else "visible"


@cache
def _values() -> Mapping[str, float]:
    return {row["name"]: float(row["value"]) for row in tables.rows("memory_overheads")}
