#!/usr/bin/env python3
"""The harness against the best hand-written loop, timed in alternation: same figure, little time lost outside the samples."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from common import verdict

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.workloads.gemm import Gemm

SIDE = 1024


def by_hand() -> Callable[[int], float]:
    """The plainest loop there is: seconds of one product, when called, after so many."""
    a, b, c = (torch.randn(SIDE, SIDE) for _ in range(3))

    def loop(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            torch.mm(a, b, out=c)
        return (time.perf_counter() - began) / steps

    return loop


def main() -> int:
    device = devices.find("cpu", probe.read(measure_clock=True))
    gemm = Gemm(m=SIDE, n=SIDE, k=SIDE)
    loop, hand = by_hand(), []

    def alternating(step: Callable[[], object], steps: int) -> float:
        """The harness's own timer, and after each of its samples one of the hand-written loop."""
        took = device.timer(step, steps)
        hand.append(loop(steps))
        return took

    plan = harness.Plan(sampling_s=20.0, warmup_s=2.0, cap_s=60.0)
    result = harness.measure("gemm", gemm, replace(device, timer=alternating), plan)
    samples = len(result.seconds)
    ratio = (result.median_s or 0) / statistics.median(hand[-samples:])
    print(f"harness {SIDE**3 * 2 / (result.median_s or 1) / 1e9:.1f} GFLOP/s, {samples} samples of each, in turn")
    good = [verdict("|harness / hand-written loop - 1|", abs(ratio - 1), 0.01)]
    began = time.perf_counter()
    (result,) = harness.run([("gemm", gemm)], device, harness.Plan.for_budget(10.0, 1))
    wall = time.perf_counter() - began
    timed = sum(result.seconds) * result.steps_per_sample
    good.append(verdict("time outside the timed region, 10 s budget", 1 - timed / wall, 0.1))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
