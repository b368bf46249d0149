"""The child of `dltool.bench.matrix`: tries cases one by one and says a line of JSON of each.

Arguments: the device, the seconds that a case may take, and the cases as [number, class, parameters]. A case that takes longer
ends the process, wherever it hangs.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from typing import Any

import msgspec

from dltool.bench import witness
from dltool.bench.devices import Device, host_timer
from dltool.bench.matrix import Answer
from dltool.bench.workloads.gemm import Gemm
from dltool.bench.workloads.instruction import Instruction
from dltool.catalog import Board
from dltool.errors import DltoolError

_KINDS: dict[str, Any] = {"Gemm": Gemm, "Instruction": Instruction}


def main(arguments: list[str]) -> None:
    """Answer for every case."""
    name, limit_s, cases = arguments[0], float(arguments[1]), json.loads(arguments[2])
    device = Device(name=name, board=Board(name=name), timer=host_timer)
    for number, kind, parameters in cases:
        faulthandler.dump_traceback_later(limit_s, exit=True)
        answer = attempt(number, _KINDS[kind](**parameters), device)
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()


def attempt(number: int, case: Any, device: Device) -> Answer:
    """Run a case once, look who did it, and look at the result."""
    try:
        prepared = case.prepare(device)
        kernel = witness.watch(device, prepared.step)
        return Answer(case=number, kernel=kernel, verified=prepared.verify())
    except DltoolError as error:
        return Answer(case=number, error=str(error))
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, MemoryError) as error:
        lines = str(error).strip().splitlines()
        return Answer(case=number, error=f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__)


if __name__ == "__main__":
    main(sys.argv[1:])
