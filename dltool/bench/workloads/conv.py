"""Convolution: the layers of ResNet-50, forward and both parts of backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool import tables
from dltool.bench import WORKLOADS, Prepared, dtype_row
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.workloads import conv_reference, kit
from dltool.errors import UsageError, unknown_name
from dltool.results import Work

DIRECTIONS = ("forward", "backward-data", "backward-weight")
LAYOUTS = ("channels_last", "contiguous")
ALGORITHMS = ("search", "heuristic")
_SHORT = {"forward": "fwd", "backward-data": "dgrad", "backward-weight": "wgrad"}
_SIDES = ("c_in", "c_out", "input", "kernel", "stride", "padding", "groups")


@WORKLOADS.register("conv")
@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A square 2-D convolution of (batch, c_in, input, input), standard normal; no bias.

    What is not given is that of `layer`, a row of catalog/conv_layers.csv. `algorithm` is cuDNN's: search (cudnn.benchmark
    on: the quickest of all that it has) or heuristic (off); on a CPU it means nothing.
    """

    layer: str = "resnet50-layer2-3x3"
    direction: str = "forward"
    layout: str = "channels_last"
    algorithm: str = "search"
    batch: int = 32
    c_in: int = 0
    c_out: int = 0
    input: int = 0
    kernel: int = 0
    stride: int = 0
    padding: int = -1
    groups: int = 0
    dtype: str = "fp32"

    def __post_init__(self) -> None:
        kit.check_choice("direction", self.direction, DIRECTIONS)
        kit.check_choice("layout", self.layout, LAYOUTS)
        kit.check_choice("algorithm", self.algorithm, ALGORITHMS)
        kit.check_floating("conv", self.dtype)
        row = _layer(self.layer)
        for name in _SIDES:
            given = getattr(self, name)
            object.__setattr__(self, name, int(row[name]) if given == (-1 if name == "padding" else 0) else given)
        if self.c_in % self.groups or self.c_out % self.groups:
            raise UsageError(f"{self.c_in} and {self.c_out} channels do not part into {self.groups} groups",
                             remedy="Choose a number of groups that divides both: --set groups=1")  # fmt: skip
        if self.kernel > self.input + 2 * self.padding:
            raise UsageError(f"a kernel of {self.kernel} is larger than the padded input of {self.input + 2 * self.padding}",
                             remedy="Choose a smaller one: --set kernel=1")  # fmt: skip

    @property
    def rate_unit(self) -> str:
        """Arithmetic."""
        return "FLOP/s"

    @property
    def label(self) -> str:
        """ "layer2-3x3 wgrad", with the layout where it is not channels_last."""
        layout = [] if self.layout == "channels_last" else ["nchw"]
        return " ".join([self.layer.removeprefix("resnet50-"), _SHORT[self.direction], *layout])

    @property
    def size(self) -> str:
        """ "batch 32 fp32", and the sides where they are not those of the layer."""
        row = _layer(self.layer)
        own = [] if all(str(getattr(self, name)) == row[name] for name in _SIDES) else [
            f"{self.c_in}x{self.input}² to {self.c_out}x{self.output}²"]  # fmt: skip
        return " ".join([f"batch {self.batch}", *own, self.dtype])

    @property
    def output(self) -> int:
        """Side of the output."""
        return (self.input + 2 * self.padding - self.kernel) // self.stride + 1

    def work(self) -> Work:
        """2 batch output^2 c_out c_in/groups kernel^2 in each direction; taps that fall on padding count, as is the custom."""
        ops = 2 * self.batch * self.output**2 * self.c_out * (self.c_in // self.groups) * self.kernel**2
        moved = self.batch * (self.c_in * self.input**2 + self.c_out * self.output**2) + self._weights
        return Work(ops=ops, bytes=moved * int(dtype_row(self.dtype)["bytes"]))

    @property
    def _weights(self) -> int:
        return self.c_out * (self.c_in // self.groups) * self.kernel**2

    def sizes(self) -> Iterator[Conv]:
        """The batch from one image up."""
        for batch in sorted({1, max(1, self.batch // 8)} - {self.batch}):
            yield replace(self, batch=batch)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """That of the multiplications; a layer that computes little for each byte cannot reach it."""
        return kit.compute_peak(self.dtype, device)

    def implementation(self, device: Device) -> str:
        """That of the arithmetic."""
        return kit.implementation(self.dtype, device)

    def doubts(self, device: Device) -> list[str]:
        """None."""
        return []

    def prepare(self, device: Device) -> Prepared:
        """The three arrays, of which each direction computes one from the others."""
        torch = import_torch()
        kit.check_device(self.dtype, device)
        kit.check_room(device, 3 * self.work().bytes, "choose less with --set batch=8")  # and a workspace
        kit.dispatch_precision(torch, self.dtype)
        torch.backends.cudnn.benchmark = self.algorithm == "search"
        form = torch.channels_last if self.layout == "channels_last" else torch.contiguous_format
        shapes = (
            (self.batch, self.c_in, self.input, self.input),
            (self.c_out, self.c_in // self.groups, self.kernel, self.kernel),
            (self.batch, self.c_out, self.output, self.output),
        )
        arrays = [kit.normal(torch, shape, self.dtype, device, seed).contiguous(memory_format=form)
                  for seed, shape in enumerate(shapes)]  # fmt: skip
        left: list[Any] = []
        return Prepared(self._step(torch, arrays, left), lambda: conv_reference.verify(torch, self, arrays, left))

    def _step(self, torch: Any, arrays: Sequence[Any], left: list[Any]) -> Step:
        x, w, dy = arrays
        where: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "groups": self.groups}
        if self.direction == "forward":
            return lambda: left.__setitem__(slice(None), [torch.nn.functional.conv2d(x, w, **where)])
        wanted = [self.direction == "backward-data", self.direction == "backward-weight", False]
        pair = [[self.stride] * 2, [self.padding] * 2, [1, 1], False, [0, 0], self.groups]

        def step() -> None:
            found = torch.ops.aten.convolution_backward(dy, x, w, None, *pair, wanted)
            left[:] = [found[0] if wanted[0] else found[1]]

        return step


def _layer(name: str) -> tables.Row:
    rows = {row["name"]: row for row in tables.rows("conv_layers")}
    if name not in rows:
        raise unknown_name("layer", name, rows)
    return rows[name]


def layers(network: str = "resnet50") -> list[str]:
    """Its distinct convolutions."""
    return [row["name"] for row in tables.rows("conv_layers") if row["network"] == network]


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> kit.Cases:
    """Every layer of ResNet-50 in all directions, channels last, as far as `axes` do not say."""
    return kit.chosen("conv", axes, {
        "layer": layers(),
        "direction": DIRECTIONS,
        "dtype": ["bf16"] if device.kind == "cuda" else ["fp32"],
        "batch": ["256" if device.kind == "cuda" else "8"],
    })  # fmt: skip


_TYPICAL = ["resnet50-conv1", "resnet50-layer1-3x3", "resnet50-layer3-widen", "resnet50-layer4-3x3/2"]


def default_cases(device: Device, suite: str) -> kit.Cases:
    """Four layers that are unlike one another in the standard suite; all of them in the full one, in both layouts forward."""
    if suite == "standard":
        return chosen(device, {"layer": _TYPICAL})
    if suite == "full":
        return [*chosen(device, {}), *chosen(device, {"layer": _TYPICAL, "layout": ["contiguous"], "direction": ["forward"]})]
    return []
