"""A step of a whole model: inference or training, as it is done in practice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dltool.bench import WORKLOADS, Prepared
from dltool.bench.against_gemm import against_gemm
from dltool.bench.devices import Device, import_torch
from dltool.bench.networks import precision as precisions
from dltool.bench.networks.backends import BACKENDS
from dltool.bench.networks.precision import Precision
from dltool.bench.workloads import kit
from dltool.errors import CannotRun, DltoolError, UsageError
from dltool.results import Measurement, Work
from dltool.step_results import OutOfMemory
from dltool.zoo import inputs as descriptions
from dltool.zoo import providers
from dltool.zoo.memory import OPTIMIZERS

MODES = ("infer", "train")
LAYOUTS = ("contiguous", "channels_last")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
EAGER = "eager"
COMPILING_S = 300.0
"""What compiling or exporting may take beyond the time that a case is given."""


@WORKLOADS.register("model")
@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A step of a model on random inputs: its forward, or forward, loss, backward and optimizer.

    Weights are random, the same each time, or those of a file. Inputs lie on the device already.
    """

    model: str = "resnet50"
    """As `dltool.zoo.providers` knows it."""
    mode: str = "infer"
    precision: str = "fp32"
    batch: int = 8
    layout: str = "contiguous"
    compile: str = ""
    """A mode of torch.compile; empty: eager."""
    graph: str = "no"
    """Whether the step is replayed as one CUDA graph."""
    optimizer: str = "momentum"
    """Of training."""
    backend: str = EAGER
    options: str = ""
    """Of the model, "num_classes=10;width=8"."""
    input: str = ""
    """In place of the model's own, see `dltool.zoo.inputs`."""
    weights: str = ""
    """A file of them; empty: random."""
    compare: str = ""
    """Boards for which the same step is predicted, names of the catalogue joined by ";"."""

    def __post_init__(self) -> None:
        kit.check_choice("mode", self.mode, MODES)
        precisions.find(self.precision)
        kit.check_choice("layout", self.layout, LAYOUTS)
        kit.check_choice("compile mode", self.compile, ("", *COMPILE_MODES))
        kit.check_choice("graph", self.graph, ("yes", "no"))
        kit.check_choice("optimizer", self.optimizer, OPTIMIZERS)
        kit.check_choice("backend", self.backend, (EAGER, *BACKENDS))
        providers.check(self.model)
        if self.input:
            descriptions.parse(self.input)
        if self.backend != EAGER and (self.training or self.compile or self.graph == "yes"):
            raise UsageError(
                f"the backend {self.backend} runs inference by itself: not with training, --compile or --graph",
                remedy="Leave it out, or choose --backend eager.",
            )
        if self.training and self.how.quantised:
            raise UsageError(f"{self.precision} is for inference", remedy="Train in amp-bf16 or amp-fp16.")

    @property
    def training(self) -> bool:
        """Whether the step learns."""
        return self.mode == "train"

    @property
    def how(self) -> Precision:
        """Its precision."""
        return precisions.find(self.precision)

    @property
    def dtype(self) -> str:
        """What its products take."""
        return self.how.dtype

    @property
    def rate_unit(self) -> str:
        """Arithmetic: of products and convolutions."""
        return "FLOP/s"

    @property
    def label(self) -> str:
        """ "resnet50 train"."""
        return f"{self.model} {self.mode}"

    @property
    def size(self) -> str:
        """ "amp-bf16 batch 64 channels_last compiled"."""
        how = [self.precision, f"batch {self.batch}"]
        how += ["channels_last"] * (self.layout == "channels_last")
        how += [f"compiled {self.compile}".removesuffix(" default")] * bool(self.compile)
        how += ["graph"] * (self.graph == "yes")
        how += [self.backend] * (self.backend != EAGER)
        how += [self.optimizer] * self.training
        return " ".join(how)

    @property
    def extra_s(self) -> float:
        """Seconds that the case may take beyond its plan."""
        return COMPILING_S if self.compile or self.backend != EAGER else 60.0

    def work(self) -> Work:
        """Known once the model is made: `Prepared.work`."""
        return Work()

    def sizes(self) -> Iterator[Model]:
        """Itself alone: a smaller batch would be another figure."""
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """That of the products."""
        return kit.compute_peak(self.dtype, device)

    def implementation(self, device: Device) -> str:
        """That of the arithmetic."""
        return kit.implementation(self.dtype, device)

    def doubts(self, device: Device) -> list[str]:
        """None that is known beforehand."""
        return []

    def prepare(self, device: Device) -> Prepared:
        """Make the model, its reference, its form and its first step.

        Raises:
            CannotRun: the model's code failed, its package is missing, or the device lacks what is asked for.
        """
        torch = import_torch()
        kit.check_device(self.dtype, device)
        if self.graph == "yes" and device.kind != "cuda":
            raise CannotRun("CUDA graphs need a CUDA device", remedy="Leave --graph out.")
        kit.dispatch_precision(torch, self.dtype)
        try:
            return self._prepared(torch, device)
        except (DltoolError, RuntimeError, MemoryError, NotImplementedError):
            raise
        except Exception as error:  # whatever somebody's own model raises
            text = " ".join(str(error).split())[:200]
            raise CannotRun(
                f"the model {self.model} raised {type(error).__name__}: {text}", remedy="Try it in Python first."
            ) from error

    def out_of_memory(self, device: Device, text: str) -> OutOfMemory:
        """What would hold the memory, and what to change."""
        from dltool.bench.networks import making, out_of_memory

        subject = making.subject_of(self.model, making.options_of(self.options), self.input or None)
        return out_of_memory.explain(
            subject, batch=self.batch, precision=self.precision, optimizer=self.optimizer, training=self.training,
            available_bytes=device.free_bytes, error_text=text, device=device.kind,
        )  # fmt: skip

    def _prepared(self, torch: Any, device: Device) -> Prepared:
        from dltool.bench.networks import preparing

        return preparing.prepared(torch, self, device)


def default_cases(device: Device, suite: str) -> kit.Cases:
    """A few networks, of images and of language."""
    from dltool.bench.networks import suites

    return suites.usual(device, suite)


def concluded(rows: Sequence[Measurement]) -> list[Measurement]:
    """Each step beside the best product of the same run."""
    return against_gemm(rows)
