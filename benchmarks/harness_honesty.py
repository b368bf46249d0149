#!/usr/bin/env python3
"""The harness against the best hand-written loop and torch.utils.benchmark, in alternation: same figure, time kept.

Every sample of the harness is followed by one of each of the others, so that whatever drifts meets all alike. The last two
figures run the command itself: how well it keeps a budget, and how long a full table of dtypes takes.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import verdict
from torch.utils import benchmark

from dltool import probe
from dltool.bench import devices, harness, stats
from dltool.bench.workloads.gemm import Gemm

SIDE = 1024
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0


def operands(dtype: str) -> tuple[Callable[[], object], Callable[[int], float], Callable[[int], float]]:
    """The product, the plainest loop of it and torch's own timer: seconds of one product, after so many."""
    if dtype == "int8":
        a, b = (torch.randint(-128, 128, (SIDE, SIDE), dtype=torch.int8) for _ in range(2))
        c: Any = torch.empty((SIDE, SIDE), dtype=torch.int32)
        product, statement = lambda: torch._int_mm(a, b.t(), out=c), "torch._int_mm(a, b.t(), out=c)"
    else:
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        a, b, c = (torch.randn(SIDE, SIDE).to(kind) for _ in range(3))
        product, statement = lambda: torch.mm(a, b, out=c), "torch.mm(a, b, out=c)"

    def loop(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            product()
        return (time.perf_counter() - began) / steps

    timer = benchmark.Timer(statement, globals={"torch": torch, "a": a, "b": b, "c": c}, num_threads=torch.get_num_threads())
    return product, loop, lambda steps: timer.timeit(steps).median


def in_turn(dtype: str, device: devices.Device) -> float:
    """The harness's time over that of the better of the two others: the median of pairs that were taken in turn."""
    product, loop, peer = operands(dtype)
    others: dict[str, list[float]] = {"loop": [], "torch.utils.benchmark": []}

    chance = random.Random(0)

    def alternating(step: Callable[[], object], steps: int) -> float:
        """The harness's own timer among the others, in an order by chance: a fixed one may fall in step with the scheduler."""
        samplers = [("loop", loop), ("torch.utils.benchmark", peer), ("", lambda count: device.timer(step, count))]
        took = 0.0
        for name, sampler in chance.sample(samplers, 3):
            (product if name else step)()  # untimed: else each pays for what the one before it left in the cache
            seconds = sampler(steps)
            if name:
                others[name].append(seconds)
            else:
                took = seconds
        return took

    plan = harness.Plan(sampling_s=SECONDS, warmup_s=3.0, cap_s=3 * SECONDS + 30)
    result = harness.measure(
        "gemm", Gemm(m=SIDE, n=SIDE, k=SIDE, dtype=dtype), replace(device, timer=alternating, llc_bytes=0), plan
    )
    count = len(result.seconds)
    kept = {name: seconds[-count:] for name, seconds in others.items()}
    best = min(kept, key=lambda name: statistics.median(kept[name]))
    rates = ", ".join(f"{name} {2e-9 * SIDE**3 / statistics.median(seconds):.1f}" for name, seconds in kept.items())
    print(f"{dtype}: harness {2e-9 * SIDE**3 / (result.median_s or 1):.1f} G/s, {rates}; {count} samples of each")
    ratios = [here / there for here, there in zip(result.seconds, kept[best], strict=True)]
    low, high = stats.median_ci95(ratios) or (0.0, 0.0)
    print(f"      against {best}, pair by pair: {statistics.median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}")
    return statistics.median(ratios)


def command(*arguments: str) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of a bench command, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report.json")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dltool", "bench", *arguments, "-q", "-o", str(out)], check=True)
        return time.perf_counter() - began, json.loads(out.read_text())["measurements"]


def main() -> int:
    device = devices.find("cpu", probe.read(measure_clock=True))
    good = [
        verdict(f"{dtype}: |harness / best of loop and torch.utils.benchmark - 1|", abs(in_turn(dtype, device) - 1), 0.01)
        for dtype in ("fp32", "bf16", "int8")
    ]
    start, _ = command("gemm", "--device", "cpu", "--dtype", "fp32", "--set", "m=64", "--set", "n=64", "--set", "k=64",
                       "--budget", "0.01s")  # fmt: skip
    wall, rows = command("gemm", "--device", "cpu", "--budget", "30s")
    good.append(
        verdict("|a budget of 30 s for all dtypes / what it took beyond an empty run - 1|", abs((wall - start) / 30 - 1), 0.05)
    )
    good.append(verdict(f"a full table of {len(rows)} dtypes, of 90 s", wall / 90, 1.0))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
