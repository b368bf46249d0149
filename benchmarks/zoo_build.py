#!/usr/bin/env python3
"""How long does a model take to be made? Every model on the meta device, of 0.3 s; and the list, of the start of Python.

python benchmarks/zoo_build.py [NAME ..]
"""

from __future__ import annotations

import statistics
import sys
import time

from common import BIN, alternate, verdict

_LIMIT_S = 0.3
_ROUNDS = 5


def main() -> int:
    times = alternate(
        {"models": [str(BIN / "dltool"), "models"], "bare": [sys.executable, "-c", "import typer, rich"]}, _ROUNDS
    )
    good = [verdict("dltool models / python -c 'import typer, rich'", times["models"] / times["bare"], 2.0)]

    from dltool.zoo import build, entries

    wanted = sys.argv[1:]
    slowest: dict[str, float] = {}
    for entry in entries():
        if wanted and entry.name not in wanted:
            continue
        build(entry.name, device="meta", **entry.options)  # its file is loaded, torch's meta functions are found
        took = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            build(entry.name, device="meta", **entry.options)
            took.append(time.perf_counter() - began)
        slowest[entry.label] = statistics.median(took)
    for label, seconds in sorted(slowest.items(), key=lambda pair: -pair[1])[:10]:
        print(f"      {label}: {seconds:.3f} s")
    good.append(
        verdict(f"slowest of {len(slowest)} models on the meta device, of {_LIMIT_S} s", max(slowest.values()) / _LIMIT_S, 1)
    )
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
