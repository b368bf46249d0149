"""Run by the environment's own Python, as a file: one step of the probe, told line by line as JSON on what was its stdout.

It knows nothing of dltool, which need not be installed there, and nothing newer than Python 3.8. What it is about to do is told
before it is done, so that a crash has a name; whatever libraries print goes to stderr.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Skip(Exception):
    """This cannot be tried here; says why."""


class Unusable(Exception):
    """A process in which nothing more can be tried: the next one goes on."""


class Teller:
    """Tells of each case before and after it is tried."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self._done = set(task.get("done", ()))
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def say(self, **what: Any) -> None:
        """One line."""
        self._out.write(json.dumps(what, default=str) + "\n")
        self._out.flush()

    def fact(self, **facts: Any) -> None:
        """What was found out besides."""
        self.say(facts=facts)

    def case(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Try one thing; what it raises is its result.

        Raises:
            Unusable: CUDA does not recover from what happened.
        """
        if name in self._done:
            return
        self.say(doing=name)
        try:
            result = {"state": "pass", **work()}
        except Skip as reason:
            result = {"state": "skip", "why": str(reason)}
        except Exception as error:
            traceback.print_exc()
            result = {"state": "fail", "why": f"{type(error).__name__}: {error}"[:1500]}
        self.say(case=name, **result)
        if result["state"] == "fail" and cuda_is_lost():
            raise Unusable


def cuda_is_lost() -> bool:
    """Whether an error stays with this process, as an illegal access does."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except Exception:
        return True
    return False


def main() -> None:
    """Take the step that the JSON in the first argument names."""
    task = json.loads(sys.argv[1])
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != HERE]
    limit = float(task["limit_s"])
    signal.alarm(int(limit) + 5)  # should nobody be left to end us
    faulthandler.enable()
    faulthandler.dump_traceback_later(limit * 0.9, exit=False)
    give_way()
    teller = Teller(task)
    try:
        steps(task["file"])[task["step"]](teller)
    except Unusable:
        teller.say(again=True)
    else:
        teller.say(end=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # what libraries do at exit is not what was asked


def give_way() -> None:
    """Where memory runs out, the kernel shall end this process and none of the user's."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        pass


def steps(file: str) -> dict[str, Callable[[Teller], None]]:
    """The steps in a file beside this one."""
    sys.modules["dltool_probe"] = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location(f"dltool_probe_{Path(file).stem}", HERE / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Callable[[Teller], None]] = module.STEPS
    return found


def torch_devices(torch: Any) -> list[str]:
    """The CPU, and every GPU that is visible."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(f"cuda:{index}" for index in range(count))]


def relative_error(torch: Any, result: Any, reference: Any) -> float:
    """The Frobenius norm of the difference over that of the reference, in float64 on the CPU."""
    wide = torch.float64
    there, wanted = result.to(device="cpu", dtype=wide), reference.to(device="cpu", dtype=wide)
    return float((there - wanted).norm() / wanted.norm())


def checked(error: float, tolerance: float) -> dict[str, Any]:
    """The verdict on a result; what is no number is wrong."""
    told = {"error": error if error == error else None, "tolerance": tolerance}
    if error <= tolerance:
        return {"state": "pass", **told}
    return {"state": "fail", "why": f"the result is wrong: error {error:.1e}, allowed {tolerance:.1e}", **told}


if __name__ == "__main__":
    main()
