"""The process in which a plugin's checks live: run as `python -m dltool.checks.plugin_child` (see `checks.plugins`).

It reads an `Order` from standard input, imports the plugin, says what that brings and judges, one line of JSON a step. What a
plugin prints goes to standard error: the lines are written to a copy of standard output that only this module knows.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from importlib.metadata import EntryPoint
from typing import IO

import msgspec

from dltool import lang
from dltool.checks import CHECKS, Check
from dltool.checks.plugins import Declared, Order, Step
from dltool.machine import Machine
from dltool.results import Finding

MAX_FINDINGS = 1000
"""Of one check: a rule that never stops to yield shall not fill the memory."""


def main() -> None:
    """Carry out the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        EntryPoint(order.name, order.value, order.group).load()
        brought = {item.id: item for item in CHECKS.added() if item.rule.__module__.partition(".")[0] != "dltool"}
        _say(answers, Step(declared=tuple(map(_declared, brought.values()))))
        if order.machine is not None:
            with lang.speaking(order.language):
                for name in order.checks:
                    _judge(answers, brought[name], order.machine)
    os._exit(0)  # what the plugin left running, or registered for the end, is nobody's concern


def _declared(item: Check) -> Declared:
    doc = inspect.cleandoc(item.rule.__doc__ or "")
    return Declared(
        id=item.id, doc=doc, zh=item.zh, caused_by=item.caused_by,
        facts=item.facts, platforms=item.platforms, limit_s=item.limit_s,
    )  # fmt: skip


def _judge(answers: IO[bytes], item: Check, machine: Machine) -> None:
    """Run one check; the alarm ends this whole process, wherever it hangs, if it is not done in time."""
    _say(answers, Step(began=item.id))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, item.limit_s)
    try:
        for number, finding in enumerate(item.rule(machine)):
            if not isinstance(finding, Finding):
                raise TypeError(f"it yields {type(finding).__name__}, not Finding")
            if number == MAX_FINDINGS:
                raise RuntimeError(f"it yields more than {MAX_FINDINGS} findings")
            _say(answers, Step(found=msgspec.to_builtins(finding)))
    except BaseException as error:
        _say(answers, Step(raised=f"{type(error).__name__}: {error}", at=_where(error)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    _say(answers, Step(ended=True))


def _where(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "unknown"


def _say(answers: IO[bytes], step: Step) -> None:
    data = msgspec.json.encode(step) + b"\n"
    while data:
        data = data[answers.write(data) :]


if __name__ == "__main__":
    main()
