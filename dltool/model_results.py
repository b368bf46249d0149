"""What is known and found out of models: their rows, operations, memory and layers. JSON in and out, inside a `Report`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Flops(Struct, frozen=True, kw_only=True):
    """Arithmetic operations of one pass; a multiply-add counts as two. Products and convolutions only, as is the custom."""

    ops: int
    """Attention behind a causal mask as the full square."""
    ops_causal_halved: int
    """The same with half of it, as the mask leaves."""
    ops_again: int = 0
    """Beyond `ops`: what fused attention makes a second time in its backward rather than keep it."""
    by_kind: Mapping[str, int] = {}
    """`ops` by "gemm", "batched gemm", "convolution" and "attention"."""
    counter: int | None = None
    """What torch's FlopCounterMode says of the same pass on the meta device; null where it cannot run there."""


class ModelFlops(Struct, frozen=True, kw_only=True):
    """Operations of a batch."""

    batch: int
    forward: Flops
    """In eval mode, of `batch` samples."""
    train_batch: int | None = None
    train_step: Flops | None = None
    """Forward in train mode, loss and backward, of `train_batch` samples: two at least, for batch norm over single values."""
    counted_on: str = "meta"
    """"meta", or "cpu" where the model's code needs real numbers; says where the loss was another."""


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes that a step holds; what a device's context and its libraries take is not in them."""

    batch: int
    dtype: str
    """"fp32", "mixed" (autocast to bf16 or fp16 with fp32 weights), "bf16" or "fp16"."""
    optimizer: str | None
    """None: inference."""
    weights: int
    """Parameters and buffers."""
    inputs: int
    """With the targets."""
    gradients: int = 0
    state: int = 0
    """Of the optimizer."""
    activations: int = 0
    """What the forward leaves alive for the backward, its output included."""
    peak: int = 0
    peak_in: str = "forward"
    """"forward", "backward" or "optimizer": the phase of the peak."""
    at_peak: Mapping[str, int] = {}
    """The peak by "weights", "inputs", "gradients", "state", "activations" and "temporary"."""
    found_on: str = "meta"


class Fit(Struct, frozen=True, kw_only=True):
    """The largest batch of one way to run a model on a board."""

    purpose: str
    """"training" or "inference"."""
    dtype: str
    optimizer: str | None
    batch: int
    """0: not even one sample fits."""
    peak: int | None = None
    """Bytes at that batch, at one sample where none fits."""
    base: int = 0
    """Bytes whatever the batch."""
    per_sample: int = 0
    """Bytes that each further sample takes."""
    note: str = ""


class Fits(Struct, frozen=True, kw_only=True):
    """What fits on a board, and what was assumed."""

    board: str
    memory: int
    """Bytes as a program sees them."""
    reserved: int
    """Bytes of it that are not the model's: the CUDA context, workspaces of libraries, what fragmentation loses."""
    fits: tuple[Fit, ...] = ()
    assumed: tuple[str, ...] = ()


class KnownError(Struct, frozen=True, kw_only=True):
    """How far predictions of one kind were from figures that others published."""

    pairs: int
    """How many figures were predicted."""
    median: float
    """Of the larger over the smaller of predicted and published, less 1."""
    p90: float
    """The same, which nine of ten do not exceed."""
    factor: float = 1.0
    """What the roofline's rates were multiplied by before: the median of published over predicted."""
    rests_on: str = ""
    """What the figures were predicted from."""


class Prediction(Struct, frozen=True, kw_only=True):
    """What the roofline says that a step of a model takes on a board on which it was not run."""

    board: str
    mode: str
    """"train" or "infer"."""
    precision: str
    batch: int
    seconds: float
    """Of a step."""
    throughput: float | None = None
    """Units per second."""
    unit: str = "sample"
    low: float | None = None
    high: float | None = None
    """Nine of ten known predictions of this kind lie as near to the published figure: units per second."""
    measured_on: str = ""
    """The board whose measured step was scaled; empty: from peaks and bandwidth of the catalogue alone."""
    bound_by: Mapping[str, float] = {}
    """The shares of the time in operations that wait for "compute", for "memory", and for their "launch"."""
    error: KnownError | None = None
    assumptions: tuple[str, ...] = ()


class Layer(Struct, frozen=True, kw_only=True):
    """A module that computes by itself, or that holds parameters of its own."""

    name: str
    """Its path in the model: "layer1.0.conv2"."""
    type: str
    output: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors that it returns, at its first call."""
    params: int = 0
    macs: int = 0
    """Multiply-adds of all its calls in a forward of the batch, made by itself and not by a module in it."""
    calls: int = 1


class Option(Struct, frozen=True, kw_only=True):
    """An option of a model's function."""

    name: str
    type: str
    default: str


class Model(Struct, frozen=True, kw_only=True):
    """A model of the zoo, or somebody's own: what its row says, and what was found out by running it."""

    name: str
    options: Mapping[str, str] = {}
    """What makes it differ from the canonical model."""
    title: str = ""
    task: str = ""
    input: str = ""
    """N is the batch."""
    year: int | None = None
    paper: str = ""
    published: str = ""
    """Figures as their authors print them, with their convention."""
    reference: str = ""
    source: str = ""
    params: int | None = None
    forward_gflops: float | None = None
    """Of its row: one sample, eval mode, a multiply-add counts as two, causal attention as the full square."""
    variants: tuple[str, ...] = ()
    """Other rows of the same name, by their options."""
    takes: tuple[Option, ...] = ()
    trainable: int | None = None
    """Of the parameters."""
    flops: ModelFlops | None = None
    memory: tuple[Memory, ...] = ()
    """A training step, then inference."""
    kv_cache_per_token: int | None = None
    """Bytes of keys and values that a language model keeps for each token of a sample."""
    fits: Fits | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    predictions: tuple[Prediction, ...] = ()
