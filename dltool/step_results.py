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
    """What was reckoned beforehand: of a text that is generated, weights and the cache of keys and values."""


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
    search: BatchSearch | None = None
    """How the batch was found, where it was to be the largest."""
    curve: BatchCurve | None = None
    """Of a sweep over batches, at the largest of them."""


class BatchTry(Struct, frozen=True, kw_only=True):
    """A batch that was tried, in order to find the largest that fits."""

    batch: int
    fits: bool
    stopped_by: str = ""
    """Of one that does not fit: "memory", "time" (a step takes too long to be worth trying) or "error"."""
    seconds: float | None = None
    """Of its second step."""
    peak_bytes: int | None = None
    why: str = ""


class BatchSearch(Struct, frozen=True, kw_only=True):
    """The largest batch that fits, as real steps showed it."""

    largest: int
    """0: none."""
    limited_by: str
    """What keeps it from being larger: "memory", "time", "error", "most" (larger ones were not to be tried)."""
    next_fails: int | None = None
    """The smallest batch above it that was seen to fail."""
    foreseen: int | None = None
    """What the memory model foretold."""
    tries: tuple[BatchTry, ...] = ()
    notes: tuple[str, ...] = ()


class BatchPoint(Struct, frozen=True, kw_only=True):
    """What one batch does."""

    batch: int
    rate: float
    """Units per second, at the median."""
    low: float | None = None
    """The ends of the 95 % confidence interval of `rate`; null where there were too few samples."""
    high: float | None = None
    latency_s: float | None = None
    """Of a step."""
    peak_bytes: int | None = None


class BatchCurve(Struct, frozen=True, kw_only=True):
    """Throughput over the batch."""

    unit: str
    points: tuple[BatchPoint, ...]
    """By batch."""
    best: int
    """The batch with the greatest throughput that its samples bear out."""
    knee: int
    """The smallest batch that reaches 95 % of it."""
    shape: str
    """"saturated", "climbing" (the largest batch gains still), "falling" (beyond `best` it loses), "flat" (the smallest does as
    well) or "point" (there is only one)."""
    limited_by: str = ""
    """What kept the largest batch from being larger; see `BatchSearch`."""
    advice: str = ""


class Held(Struct, frozen=True, kw_only=True):
    """What holds memory at the peak."""

    name: str
    """"weights", "inputs", "gradients", "state" (of the optimizer), "activations" or "temporary"."""
    bytes: int
    share: float


class AllocatorWords(Struct, frozen=True, kw_only=True):
    """What the message of an allocator says, in bytes; null where it does not."""

    tried: int | None = None
    total: int | None = None
    free: int | None = None
    in_use: int | None = None
    """By this process, what is not PyTorch's with it."""
    others: int | None = None
    """By other processes."""
    allocated: int | None = None
    """By PyTorch: what tensors hold."""
    unallocated: int | None = None
    """Reserved by PyTorch, in holes between tensors."""
    graphs: int | None = None
    """In pools of CUDA graphs, which nothing else can use."""
    allowed: int | None = None
    """What the process was allowed by a fraction that it set."""


class Change(Struct, frozen=True, kw_only=True):
    """A way out of an out-of-memory."""

    what: str
    """"batch 24", "amp-bf16"."""
    how: str
    """What to write."""
    cost: str
    """What it takes in return."""
    basis: str
    """Where the figures come from: "memory model", "estimate", "message"; empty where there is none."""
    peak: int | None = None
    """Bytes at the peak after it."""
    saves: int | None = None
    fits: bool | None = None
    """Whether that is enough; null where it is not known."""


class OutOfMemory(Struct, frozen=True, kw_only=True):
    """Why a step did not fit, and what to change."""

    subject: str
    batch: int
    precision: str
    optimizer: str | None
    """Null: inference."""
    peak: int
    """Bytes of the step's tensors, by the memory model."""
    peak_in: str
    """"forward", "backward" or "optimizer"."""
    available: int | None
    """Bytes that tensors may take."""
    held: tuple[Held, ...]
    """The peak by what holds it, the largest first."""
    said: AllocatorWords | None = None
    changes: tuple[Change, ...] = ()
    """What helps enough first, then what costs least, then what saves most."""
    notes: tuple[str, ...] = ()
