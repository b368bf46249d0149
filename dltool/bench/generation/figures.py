"""What practitioners ask of a step: time to the first token, time per token, tokens per second, bandwidth, memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dltool.bench import resident
from dltool.bench.devices import Device, Step
from dltool.bench.generation.costs import Costs
from dltool.bench.percentiles import percentile
from dltool.bench.workloads import kit
from dltool.bench.workloads.memory import Memory, array_bytes
from dltool.model_results import Flops
from dltool.results import Work
from dltool.step_results import Latency, ModelStep, Part, StepMemory
from dltool.units import gib, percent, rate, significant
from dltool.units import seconds as in_words

PERCENTS = (50.0, 90.0, 99.0)
_SINGLE_S = 0.0066
"""Shorter steps are timed several to a sample: see `Plan.sample_s`."""
_SINGLES, _SINGLES_S = 400, 1.0
"""Steps that are timed one by one for their percentiles: so many bear a p99, or what this time allows."""
_SLOW_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a step before it is timed."""

    device: Device
    step: Step
    dtype: str
    phase: str
    batch: int
    tokens: int
    """That a step reads of each sequence (prefill), or says."""
    work: Work
    flops: Flops | None
    costs: Costs
    cache_bytes: int
    build_s: float
    resident: int | None
    """Bytes that the process held before the model was made."""


def figures(told: Told, samples: Sequence[float], first_s: float | None, parts: tuple[Part, ...] = ()) -> ModelStep:
    """The step of a model, from the seconds of its samples."""
    median, tokens = statistics.median(samples), told.batch * told.tokens
    peak = kit.compute_peak(told.dtype, told.device)
    ops = told.work.ops / median
    return ModelStep(
        unit="token",
        units=tokens,
        samples=told.batch,
        throughput=tokens / median,
        latencies=latencies(told.device, told.step, samples),
        parts=parts,
        memory=_memory(told),
        flops=told.flops,
        mfu=ops / peak[0] if peak and ops else None,
        formula=formula(told, median, peak),
        first_step_s=first_s,
        build_s=told.build_s,
        notes=tuple(_notes(told, median, parts)),
    )


def latencies(device: Device, step: Step, samples: Sequence[float]) -> tuple[Latency, ...]:
    """Percentiles of single steps, as far as there are enough; steps that were timed together are timed one by one again."""
    if statistics.median(samples) < _SINGLE_S:
        samples = singles(device, step, _SINGLES, _SINGLES_S)
    found = ((percent, percentile(samples, percent)) for percent in PERCENTS)
    return tuple(Latency(percent=one, seconds=it.value, low_s=it.low, high_s=it.high) for one, it in found if it is not None)


def singles(device: Device, step: Step, most: int, most_s: float) -> list[float]:
    """Seconds of steps that are timed one by one, three at least unless they are slow."""
    times: list[float] = []
    while not times or (len(times) < 3 and sum(times) < _SLOW_S) or (len(times) < most and sum(times) < most_s):
        times.append(device.timer(step, 1))
    return times


def formula(told: Told, median: float, peak: tuple[float, str] | None) -> str:
    """How the figures follow, with their numbers."""
    counted = told.flops
    if counted is None:
        return "operations could not be counted"
    halved = f" ({rate(counted.ops_causal_halved, 'FLOP')} with causal attention halved)" if told.phase != "decode" else ""
    text = f"{rate(counted.ops, 'FLOP')} a step{halved}, scores of the last position alone; in {in_words(median)}"
    if peak is None:
        return text
    return f"{text} {rate(counted.ops / median, 'FLOP/s')}, of {rate(peak[0], 'FLOP/s')} ({peak[1]})"


def _notes(told: Told, median: float, parts: tuple[Part, ...]) -> list[str]:
    speed = f"{significant(told.batch * told.tokens / median)} tokens/s"
    if told.phase == "prefill":
        found = [f"TTFT {in_words(median)}: the prompt is read and the first token chosen, {speed} of the prompt"]
    elif told.phase == "decode":
        found = [f"TPOT {in_words(median)}: one token for each of {told.batch}, {speed}", bandwidth(told, median),
                 "every sample writes the last token of the context anew: the cache does not grow"]  # fmt: skip
    else:
        found = [whole(told, median, parts), "greedy, and nobody looks whether a text is at its end"]
    kept = f"{told.costs.kv_per_token / 2**10:g} KiB"
    return [
        *found,
        f"KV cache {kept} a token of a sequence, {held(told.cache_bytes)} in all; weights {held(told.costs.weights)}",
    ]


def held(size: int) -> str:
    """Bytes with the fitting prefix: caches of a few tokens are small."""
    return gib(size) if size >= 2**20 else f"{significant(size / 2**10)} KiB"


def whole(told: Told, median: float, parts: tuple[Part, ...]) -> str:
    """TTFT and all TPOT beside the time that the whole text took."""
    ttft, rest = parts[0].seconds, parts[1].seconds
    tpot, more = rest / max(1, told.tokens - 1), median - ttft - rest
    text = f"TTFT {in_words(ttft)} + {told.tokens - 1} x TPOT {in_words(tpot)} = {in_words(ttft + rest)}"
    side = "more, the host's" if more >= 0 else "less than its parts"
    speed = significant(told.batch * told.tokens / median)
    return f"{text}; whole {in_words(median)}: {in_words(abs(more))} ({percent(abs(more) / median)}) {side}; {speed} tokens/s"


def bandwidth(told: Told, median: float) -> str:
    """Bytes per second that the step cannot avoid, beside what the memory gives."""
    reached = told.work.bytes / median
    kept = told.work.bytes - told.costs.read
    text = f"reads {held(told.costs.read)} of weights and {held(kept)} of keys and values: {rate(reached, 'B/s')}"
    peak = kit.memory_peak(told.device)
    if peak is not None:
        return f"{text}, {percent(reached / peak[0])} of the board's {rate(peak[0], 'B/s')}"
    triad = triad_rate(told.device)
    if told.work.bytes < 4 * told.device.llc_bytes:
        return f"{text}, in part from caches; the triad measured beside it reaches {rate(triad, 'B/s')} from memory"
    return f"{text}, {percent(reached / triad)} of the triad measured beside it, {rate(triad, 'B/s')}"


def triad_rate(device: Device) -> float:
    """Bytes per second of a = b + s c, the best of a few: what a host's memory gives this process now."""
    triad = Memory(kernel="triad", bytes=array_bytes(device))
    step = triad.prepare(device).step
    return triad.work().bytes / min(singles(device, step, 10, 0.3))


def part_times(device: Device, prefill: Step, decode: Step, new: int) -> tuple[Part, ...]:
    """TTFT, and TPOT in the middle of the new tokens as often as it is paid."""
    ttft = statistics.median(singles(device, prefill, 9, 0.5))
    tpot = statistics.median(singles(device, decode, 25, 0.5))
    return (Part(name="prefill", seconds=ttft), Part(name="decode", seconds=tpot * (new - 1)))


def _memory(told: Told) -> StepMemory:
    foreseen = told.costs.weights + told.cache_bytes + told.costs.temporary
    if told.device.kind != "cuda":
        return StepMemory(process=resident.beyond(told.resident), foreseen=foreseen)
    import torch

    most = {"allocated": torch.cuda.max_memory_allocated(told.device.name),
            "reserved": torch.cuda.max_memory_reserved(told.device.name)}  # fmt: skip
    return StepMemory(**most, foreseen=foreseen)


def forget_peaks(torch: Any, device: Device) -> None:
    """Count the most that a GPU holds from now on."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device.name)
