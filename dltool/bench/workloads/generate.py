"""Text from a language model: the prompt at once, token by token, and both together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dltool.bench import WORKLOADS, Prepared
from dltool.bench.devices import Device, import_torch
from dltool.bench.generation import backends, caches, making, speakers, steps
from dltool.bench.workloads import kit
from dltool.errors import UsageError
from dltool.results import Work

PHASES = ("prefill", "decode", "generate")
_TIMES = {"prefill": "prefill TTFT", "decode": "decode TPOT", "generate": "generate"}
"""What the seconds of a step are called."""


@WORKLOADS.register("generate")
@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """A language model reads a prompt of `context` tokens (prefill), the last of them behind a cache of the others (decode), or
    reads it and says `new` tokens (generate).

    The text is random. `options` are of the model: "layers=2 width=64". `compile` is "no" or a mode of torch.compile; it and
    `graph` are of the step that says one token.
    """

    name: str = "gpt2"
    phase: str = "decode"
    dtype: str = "fp32"
    batch: int = 1
    context: int = 128
    new: int = 32
    cache: str = "static"
    sdpa: str = "auto"
    compile: str = "no"
    graph: str = "no"
    options: str = ""

    def __post_init__(self) -> None:
        speakers.check(self.name)
        kit.check_floating("generate", self.dtype)
        kit.check_choice("phase", self.phase, PHASES)
        kit.check_choice("cache", self.cache, caches.KINDS)
        kit.check_choice("SDPA backend", self.sdpa, backends.CHOICES)
        kit.check_choice("mode of torch.compile", self.compile, ("no", *steps.MODES))
        kit.check_choice("graph", self.graph, ("yes", "no"))
        for option in self.options.split():
            if not option.partition("=")[2]:
                raise UsageError(f"`{option}` is no option of a model", remedy="Write options as KEY=VALUE: layers=2")
        for name, least in (("batch", 1), ("context", 1), ("new", int(self.phase == "generate"))):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: 1 or more is wanted", remedy=f"For example: --{name} 8")
        if self.graph == "yes" and self.cache != "static":
            raise UsageError("a CUDA graph writes at fixed addresses: it needs the static cache", remedy="Add --cache static.")
        if self.graph == "yes" and self.compile in steps.OWN_GRAPHS:
            raise UsageError(f"{self.compile} records CUDA graphs by itself", remedy="Leave out --graph, or --compile default.")
        self._leave_out()

    def _leave_out(self) -> None:
        """What makes no difference to a phase is as if it were not given: such cases are one."""
        unused: Mapping[str, Mapping[str, str | int]] = {
            "decode": {"new": 0},
            "prefill": {"new": 0, "compile": "no", "graph": "no"},
        }
        for name, value in unused.get(self.phase, {}).items():
            object.__setattr__(self, name, value)  # frozen for all others

    @property
    def rate_unit(self) -> str:
        """Arithmetic; the tokens are told with the step of the model."""
        return "FLOP/s"

    @property
    def label(self) -> str:
        """ "prefill TTFT": the phase, and what its time is called."""
        return _TIMES[self.phase]

    @property
    def size(self) -> str:
        """ "8 x 512 gpt2 bf16", and what is unusual."""
        length = f"{self.context}+{self.new}" if self.new else str(self.context)
        how = [self.cache] * (self.cache != "static") + [self.sdpa] * (self.sdpa != "auto")
        how += [f"compile={self.compile}"] * (self.compile != "no") + ["graph"] * (self.graph == "yes")
        return " ".join([f"{self.batch} x {length}", self.name, self.dtype, *how, self.options]).strip()

    def work(self) -> Work:
        """It is known once the model is there."""
        return Work()

    def sizes(self) -> Iterator[Generate]:
        """Only what was asked for: another context would be another question."""
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """That of the products, for a prompt; single tokens wait for memory, which the step of the model tells of."""
        return kit.compute_peak(self.dtype, device) if self.phase == "prefill" else None

    def implementation(self, device: Device) -> str:
        """That of the arithmetic."""
        return kit.implementation(self.dtype, device)

    def doubts(self, device: Device) -> list[str]:
        """None of the parameters."""
        return []

    def refuse(self, device: Device) -> None:
        """What other devices can do.

        Raises:
            UsageError: a graph, or a dtype, that needs CUDA.
        """
        if self.graph == "yes" and device.kind != "cuda":
            raise UsageError(f"--graph records a CUDA graph: {device.name} has none",
                             remedy="Leave it out; --compile default is for every device.")  # fmt: skip
        kit.check_device(self.dtype, device)

    def prepare(self, device: Device) -> Prepared:
        """The model with random weights, its cache, and a random text."""
        torch = import_torch()
        self.refuse(device)
        kit.dispatch_precision(torch, self.dtype)
        return making.make(torch, self, device).prepared()


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> kit.Cases:
    """Prompt, token and whole text of each model at a short and a long context, as far as `axes` do not say."""
    gpu = device.kind == "cuda"
    cases = kit.chosen("generate", axes, {
        "name": ["gpt2"],
        "dtype": ["bf16"] if gpu else ["fp32"],
        "cache": ["static"],
        "context": ["128", "960"] if gpu else ["128", "512"],
        "batch": ["1", "8"] if gpu else ["1"],
        "phase": PHASES,
    })  # fmt: skip
    for _, case in cases:
        assert isinstance(case, Generate)
        case.refuse(device)
    return list(dict.fromkeys(cases))


def default_cases(device: Device, suite: str) -> kit.Cases:
    """GPT-2's prompt and token in the full suite; the other suites leave models to `dltool bench model`."""
    return chosen(device, {"context": ["512"], "batch": ["1"], "phase": ["prefill", "decode"]}) if suite == "full" else []
