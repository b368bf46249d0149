#!/usr/bin/env python3
"""Is the memory estimate right? Every model in small: the estimate from the meta device against torch's allocator on this CPU.

A training step with AdamW, and a forward; the larger of both over the smaller, less one.

python benchmarks/zoo_memory.py [NAME ..]
"""

from __future__ import annotations

import statistics
import sys
import warnings

from common import ROOT, verdict

sys.path.insert(0, str(ROOT / "tests"))
_BATCH = 4
_LIMIT = 0.15


def main() -> int:
    import torch
    from zoo_allocator import in_small, inference_peak, training_peak
    from zoo_small import all_small

    from dltool.zoo import entries, memory

    warnings.filterwarnings("ignore")
    wanted = sys.argv[1:]
    smalls = all_small()
    off: list[float] = []
    for entry in entries():
        if entry.options or (wanted and entry.name not in wanted):
            continue
        subject = in_small(entry, smalls[entry.name])
        step = memory.training(subject, _BATCH, optimizer="adamw", habits=memory.CPU)
        forward = memory.inference(subject, _BATCH, habits=memory.CPU)
        pairs = (
            ("train", step.peak, training_peak(subject, _BATCH, torch.optim.AdamW, foreach=False)),
            ("infer", forward.peak, inference_peak(subject, _BATCH)),
        )
        for what, estimated, seen in pairs:
            off.append(max(estimated / seen, seen / estimated) - 1)
            sizes = f"{estimated / 2**20:8.1f} {seen / 2**20:8.1f} MiB"
            print(f"{entry.name:26} {what}  {sizes}  {estimated / seen - 1:+6.1%}  {step.found_on}", flush=True)
    print(f"median {statistics.median(off):.1%}, within {_LIMIT:.0%}: {sum(one <= _LIMIT for one in off)} of {len(off)}")
    return 0 if verdict("worst difference of a memory estimate", max(off), _LIMIT) else 1


if __name__ == "__main__":
    raise SystemExit(main())
