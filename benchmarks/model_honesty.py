#!/usr/bin/env python3
"""`bench model` against the plainest loop of the same step and torch.utils.benchmark, in alternation: the same figure.

The loops are written out here with nothing of dltool but the model, so that a doubt about how a step is made would show too.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from common import verdict
from torch.utils import benchmark

from dltool import probe
from dltool.bench import devices, harness, stats
from dltool.bench.workloads.model import Model
from dltool.zoo import build
from dltool.zoo.inputs import tensors

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
CASES = {
    "resnet18 train": Model(model="resnet18", mode="train", batch=2, input="float:N,3,96,96"),
    "resnet18 infer": Model(model="resnet18", batch=2, input="float:N,3,96,96"),
    "bert infer": Model(model="bert_base", batch=2, options="layers=2;vocab_size=1000", input="int<1000:N,64"),
    "lstm train": Model(
        model="lstm_lm",
        mode="train",
        batch=8,
        options="vocab_size=1000;width=200",
        optimizer="sgd",
        input="int<1000:35,N",
    ),
}
RATE = 1e-3


def by_hand(case: Model) -> Callable[[], object]:
    """The step as anybody would write it."""
    torch.manual_seed(0)
    options = dict(part.split("=") for part in case.options.split(";") if part)
    model = build(case.model, training=case.training, **options)
    inputs = tensors(case.input, case.batch)
    if not case.training:
        model.eval()

        def infer() -> object:
            with torch.inference_mode():
                return model(*inputs)

        return infer
    model.train()
    momentum = 0.9 if case.optimizer == "momentum" else 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=momentum)
    classes = torch.randint(1000, (case.batch,), generator=torch.Generator().manual_seed(1))
    lossy = torch.nn.functional.cross_entropy

    def train() -> object:
        output = model(*inputs)
        if isinstance(output, tuple):  # a language model, with its state
            output = output[0]
        loss = lossy(output.flatten(0, -2), inputs[0].roll(-1, 0).flatten()) if output.dim() == 3 else lossy(output, classes)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return train


def in_turn(name: str, case: Model, device: devices.Device) -> dict[str, float]:
    """Our time over that of each of the others, the median of pairs that were taken in turn."""
    step = by_hand(case)
    timer = benchmark.Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    others: dict[str, list[float]] = {"loop": [], "torch.utils.benchmark": []}
    chance = random.Random(0)

    def loop(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - began) / steps

    def alternating(ours: Callable[[], object], steps: int) -> float:
        ways = [("loop", loop), ("torch.utils.benchmark", lambda count: timer.timeit(count).median), ("", None)]
        took = 0.0
        for other, sampler in chance.sample(ways, 3):
            if sampler is None:
                ours()
                took = device.timer(ours, steps)
            else:
                step()  # untimed: else each pays for what the one before it left in the cache
                others[other].append(sampler(steps))
        return took

    plan = harness.Plan(sampling_s=3 * SECONDS, warmup_s=3.0, cap_s=6 * SECONDS + 60)
    found = harness.measure("model", case, replace(device, timer=alternating), plan)
    assert found.not_run is None, found.not_run
    count = len(found.seconds)
    ratios = {}
    for other, seconds in others.items():
        pairs = [here / there for here, there in zip(found.seconds, seconds[-count:], strict=True)]
        low, high = stats.median_ci95(pairs) or (0.0, 0.0)
        ratios[other] = statistics.median(pairs)
        print(f"{name}: against {other} {ratios[other]:.3f}, 95 % interval {low:.3f} to {high:.3f}, {count} pairs")
    return ratios


def main() -> int:
    device = devices.find("cpu", probe.read(measure_clock=True))
    good = []
    for name, case in CASES.items():
        ratios = in_turn(name, case, device)
        worst = max(ratios.values(), key=lambda ratio: abs(ratio - 1))
        good.append(verdict(f"{name}: |bench model / loop - 1|", abs(ratios["loop"] - 1), 0.01))
        good.append(verdict(f"{name}: |bench model / any - 1|", abs(worst - 1), 0.02))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
