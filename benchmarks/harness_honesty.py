#!/usr/bin/env python3
"""The harness against the best hand-written loop, timed in alternation: same figure, little time lost outside the samples."""

from __future__ import annotations

import statistics
import sys
import time

import torch
from common import verdict

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.workloads.gemm import Gemm

SIDE, ROUNDS = 1024, 7


def by_hand(seconds: float) -> float:
    """Median seconds of one product, in the plainest loop there is."""
    a, b, c = (torch.randn(SIDE, SIDE) for _ in range(3))
    for _ in range(20):
        torch.mm(a, b, out=c)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(a, b, out=c)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> int:
    device = devices.find("cpu", probe.read(measure_clock=True))
    gemm = Gemm(m=SIDE, n=SIDE, k=SIDE)
    plan = harness.Plan(sampling_s=2.0, warmup_s=1.0)
    ratios = []
    for _ in range(ROUNDS):
        ours = harness.measure("gemm", gemm, device, plan).median_s
        ratios.append((ours or 0) / by_hand(2.0))
    ratio = statistics.median(ratios)
    print("rounds:", " ".join(f"{value:.4f}" for value in ratios))
    good = [verdict("|harness / hand-written loop - 1|", abs(ratio - 1), 0.01)]
    began = time.perf_counter()
    (result,) = harness.run([("gemm", gemm)], device, harness.Plan.for_budget(10.0, 1))
    wall = time.perf_counter() - began
    timed = sum(result.seconds) * result.steps_per_sample
    good.append(verdict("time outside the timed region, 10 s budget", 1 - timed / wall, 0.1))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
