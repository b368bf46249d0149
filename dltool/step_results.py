"""What is found out of one step of a model: the figures that practitioners report. JSON in and out, inside a `Measurement`."""

from __future__ import annotations

from msgspec import Struct

from dltool.model_results import Flops, Prediction


class Latency(Struct, frozen=True, kw_only=True):
    """A percentile of the seconds of a step, and the samples between which the true one lies with 95 % confidence."""

    percent: float
    seconds: float
    low_s: float
    high_s: float


class Part(Struct, frozen=True, kw_only=True):
    """A part of a step: "forward", "loss", "backward", "optimizer"; or of what surrounds it: "data"."""

    name: str
    seconds: float
    """Median over some steps that were timed part by part, after the samples."""
    inside: bool = True
    """Whether it lies within the timed step."""


class StepMemory(Struct, frozen=True, kw_only=True):
    """Bytes while steps were made."""

    allocated: int | None = None
    """The most that tensors held at once, by torch's own counters; null on a CPU, which counts none."""
    reserved: int | None = None
    """The most that torch's allocator had taken from the device."""
    process: int | None = None
    """The most that the process held: of the GPU by NVML, of a CPU what is resident beyond what the process began with."""
    foreseen: int | None = None
    """What following all tensors on the meta device foretold."""


class Accuracy(Struct, frozen=True, kw_only=True):
    """The outputs of another precision or backend against eager fp32, on the same inputs."""

    against: str
    relative_error: float
    """Frobenius norm of the difference over that of the reference."""
    agreeing: float | None = None
    """Share of samples with the same largest output, where the outputs are scores of classes."""


class ModelStep(Struct, frozen=True, kw_only=True):
    """A step of a model: what it did per second, where its time went, what it held."""

    unit: str
    """"image", "token", "pair" ...: what is counted."""
    units: int
    """In a step: samples times what each holds."""
    samples: int
    """The batch, as the model takes it."""
    throughput: float | None = None
    """Units per second at the median."""
    latencies: tuple[Latency, ...] = ()
    """Percentiles 50, 90 and 99, as far as the samples bear them."""
    parts: tuple[Part, ...] = ()
    memory: StepMemory | None = None
    flops: Flops | None = None
    """Of the step; null where they could not be counted."""
    mfu: float | None = None
    """Operations of the model per second over the peak of the dtype; see `formula`."""
    hfu: float | None = None
    """The same with what is computed again (checkpoints, fused attention's backward)."""
    mamfu: float | None = None
    """Over the best product measured in the same run, in place of the peak."""
    formula: str = ""
    """How MFU and HFU were reckoned, with their numbers."""
    joules_per_unit: float | None = None
    first_step_s: float | None = None
    """The first call: compiling, loading and choosing algorithms with it."""
    build_s: float | None = None
    """Making the model, exporting it to another backend with it."""
    launch_share: float | None = None
    """Of the step's time in which the device waited for the host to launch work; null where it is not known."""
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()
    prediction: tuple[Prediction, ...] = ()
    """What the same step would do on other boards."""
