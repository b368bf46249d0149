"""What this device can multiply: every dtype in every layout, tried at a tiny size in a child process.

A case that hangs or kills the process costs that one case: the next child goes on after it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from dltool import child, tables
from dltool.bench import dtype_row
from dltool.bench.devices import Device
from dltool.bench.support import Support
from dltool.bench.workloads.gemm import Gemm
from dltool.bench.workloads.instruction import Instruction
from dltool.results import SupportCell, Verified

CASE_LIMIT_S = 30.0
"""One product of this size takes milliseconds; compiling a kernel, or loading a library, seconds."""
_START_S = 120.0
"""What importing torch and starting CUDA may take."""
Progress = Callable[[str], None]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says of one case."""

    case: int
    kernel: str | None = None
    error: str | None = None
    died: bool = False
    """The process did, so this says nothing of the device."""
    verified: Verified | None = None


def workloads(device: Device, dtypes: Sequence[str] | None = None) -> list[Gemm | Instruction]:
    """Every dtype in each layout that it can be stored for; of those that dltool brings its own kernel for, one each.

    Raises:
        UsageError: an unknown dtype.
    """
    rows = tables.rows("dtypes") if dtypes is None else tuple(dtype_row(name) for name in dtypes)
    found: list[Gemm | Instruction] = []
    for row in rows:
        if row["operation"].startswith("kernel_"):
            found.append(Instruction(dtype=row["name"], blocks=device.board.sms or 1, rounds=8))
        else:
            found += [Gemm(dtype=row["name"], layout=layout, m=128, n=128, k=256) for layout in row["layouts"].split()]
    return found


def probe(
    device: Device,
    cases: Sequence[Gemm | Instruction],
    *,
    limit_s: float = CASE_LIMIT_S,
    progress: Progress = lambda _text: None,
) -> Iterator[SupportCell]:
    """Try each case; what cannot be tried is a cell that says why.

    Args:
        device: where.
        cases: of `workloads`.
        limit_s: what one case may take.
        progress: told the case in hand.
    """
    left = list(range(len(cases)))
    while left:
        progress(f"{len(left)} cases left")
        answers = _child(device, cases, left, limit_s)
        for answer in answers:
            yield _cell(device, cases[answer.case], answer)
        left = left[len(answers) :]


def _child(device: Device, cases: Sequence[Any], numbers: Sequence[int], limit_s: float) -> list[Answer]:
    """The answers of one child, in order; of the case in which it ended early, how it ended. Never none at all."""
    asked = [[number, type(cases[number]).__name__, msgspec.to_builtins(cases[number])] for number in numbers]
    command = [sys.executable, "-W", "ignore", "-m", "dltool.bench.matrix_child", device.name, str(limit_s), json.dumps(asked)]
    began = time.monotonic()
    try:
        ended = child.run(command, timeout_s=_START_S + limit_s * len(asked), keep_bytes=1 << 20)
    except OSError as error:
        return [Answer(case=number, error=f"no child process: {error}", died=True) for number in numbers]
    answers = list(_answers(ended.output, numbers))
    if len(answers) < len(numbers):
        took = f" after {time.monotonic() - began:.0f} s" if ended.returncode is not None else ""
        how = "did not end in time" if _OVERDUE in ended.errors else child.how_it_ended(ended.returncode, limit_s) + took
        answers.append(Answer(case=numbers[len(answers)], error=f"the process {how}", died=True))
    return answers


_OVERDUE = "Timeout ("
"""What `faulthandler` writes when a case's time is up."""


def _answers(output: str, numbers: Sequence[int]) -> Iterator[Answer]:
    """Those lines that are answers, as long as they come in the order asked; libraries may print lines of their own."""
    expected = iter(numbers)
    for line in output.splitlines():
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except msgspec.DecodeError:
            continue
        if answer.case == next(expected, None):
            yield answer


def _cell(device: Device, case: Gemm | Instruction, answer: Answer) -> SupportCell:
    row = dtype_row(case.dtype)
    verdict = case.support(device, answer.kernel, answer.error)
    if answer.died:
        verdict = Support(state=None, why=answer.error or "")
    elif answer.verified is not None and not answer.verified.ok:
        verdict = Support(state=None, why=f"WRONG RESULT, {verdict}")
    return SupportCell(
        dtype=case.dtype,
        operation=row["operation"],
        layout=getattr(case, "layout", ""),
        device=f"{device.name} {device.board.name}",
        state=verdict.state,
        why=verdict.why,
        kernel=verdict.kernel or answer.kernel,
        verified=answer.verified,
    )
