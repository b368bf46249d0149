"""Operations: against closed forms, against torch's counter where it is right, and against every row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from dltool.model_results import Flops
from dltool.zoo import Entry, entries, flops, subject
from dltool.zoo.recorder import products_of, shapes_of
from dltool.zoo.subject import Subject
from dltool.zoo.tasks import Task

TOLERANCE = 0.005
"""Of the figures in the table, which have six digits, and whose authors count this or that small product otherwise."""


def own(make: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> Subject:
    """A module of the test, the inputs' first sides being the batch."""

    def made(*, device: Any = None, dtype: Any = None, training: bool = False) -> nn.Module:
        with torch.device(device or "cpu"):
            return make().to(dtype or torch.float32)

    def inputs(batch: int, *, device: Any = "cpu", dtype: Any = None) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(batch, *shape, device=device, dtype=dtype) for shape in shapes)

    return Subject(name="own", make=made, inputs=inputs)


def step(make: Callable[[], nn.Module], *shape: int, device: str = "meta") -> Flops:
    with torch.device(device):
        return flops.of_products(shapes_of(make(), (torch.zeros(shape),)))


@pytest.mark.parametrize("entry", [e for e in entries() if e.forward_gflops], ids=lambda entry: entry.label)
def test_every_row_says_what_is_counted(entry: Entry) -> None:
    counted = flops.forward(subject.of_entry(entry)).ops / 1e9
    assert counted == pytest.approx(entry.forward_gflops, rel=TOLERANCE)


def test_resnet50_is_the_figure_everyone_prints() -> None:
    counted = flops.count(subject.of_zoo("resnet50"))
    assert counted.forward.ops == 2 * 4_089_184_256
    assert counted.forward.counter == counted.forward.ops
    assert counted.train_step is not None
    assert counted.train_batch == 2
    assert counted.train_step.ops / 2 / counted.forward.ops == pytest.approx(2.971, abs=0.001)  # no gradient of the image
    assert counted.counted_on == "meta"


def test_grouped_convolutions_have_gradients_as_large_as_themselves() -> None:
    counted = flops.count(subject.of_zoo("resnext50_32x4d"))
    assert counted.train_step is not None
    assert counted.train_step.counter is not None
    assert counted.train_step.ops / 2 / counted.forward.ops == pytest.approx(2.972, abs=0.001)
    assert counted.train_step.counter > 1.5 * counted.train_step.ops  # torch's counter forgets the groups


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 4), groups=st.integers(1, 4), c_in=st.integers(1, 5), c_out=st.integers(1, 5),
    kernel=st.integers(1, 3), stride=st.integers(1, 3), dilation=st.integers(1, 2), dims=st.integers(1, 3),
    transposed=st.booleans(),
)  # fmt: skip
def test_convolutions(
    batch: int, groups: int, c_in: int, c_out: int, kernel: int, stride: int, dilation: int, dims: int, transposed: bool
) -> None:
    kinds = ((nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    kind = kinds[transposed][dims - 1]
    with torch.device("meta"):
        layer = kind(c_in * groups, c_out * groups, kernel, stride=stride, dilation=dilation, groups=groups)
        x = torch.zeros(batch, c_in * groups, *[9] * dims)
    result = layer(x)
    places = batch * (x if transposed else result)[0, 0].numel()
    once = 2 * places * groups * c_in * c_out * kernel**dims
    assert flops.of_products(shapes_of(layer, (x,), backward=False)).ops == once
    assert flops.of_products(shapes_of(layer, (x,))).ops == 2 * once  # no gradient of the input
    assert flops.of_products(shapes_of(layer, (x.requires_grad_(),))).ops == 3 * once


@settings(deadline=None, max_examples=40)
@given(
    sides=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    wide=st.integers(1, 40),
    out=st.integers(1, 40),
    bias=st.booleans(),
)
def test_linear_layers(sides: list[int], wide: int, out: int, bias: bool) -> None:
    once = 2 * torch.Size(sides).numel() * wide * out
    for device in ("meta", "cpu"):
        counted = step(lambda: nn.Linear(wide, out, bias=bias), *sides, wide, device=device)
        assert counted.ops == counted.ops_causal_halved == 2 * once


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3), heads=st.integers(1, 4), rows=st.integers(1, 9), columns=st.integers(1, 9),
    width=st.integers(1, 16), causal=st.booleans(), device=st.sampled_from(["meta", "cpu"]),
)  # fmt: skip
def test_attention(batch: int, heads: int, rows: int, columns: int, width: int, causal: bool, device: str) -> None:
    query = torch.zeros(batch, heads, rows, width, device=device, requires_grad=True)
    key, value = (torch.zeros(batch, heads, columns, width, device=device, requires_grad=True) for _ in range(2))

    def run() -> None:
        functional.scaled_dot_product_attention(query, key, value, is_causal=causal).sum().backward()

    square = 2 * batch * heads * rows * columns * width
    counted = flops.of_products(products_of(run))
    assert counted.ops == 6 * square  # two products, and two gradients of each
    assert counted.ops_causal_halved == (3 if causal else 6) * square
    assert counted.ops_again == square  # fused kernels make the scores anew


def test_attention_counts_alike_with_shared_heads_and_masks() -> None:
    query, key = torch.zeros(2, 8, 16, 4, device="meta"), torch.zeros(2, 2, 16, 4, device="meta")
    mask = torch.ones(16, 16, dtype=torch.bool, device="meta")
    attend = functional.scaled_dot_product_attention
    square = 2 * 2 * 8 * 16 * 16 * 4
    for run in (lambda: attend(query, key, key, enable_gqa=True), lambda: attend(query, query, query, attn_mask=mask)):
        assert flops.of_products(products_of(run)).ops == 2 * square


def test_attention_with_a_learnt_mask_goes_its_own_way_and_counts_the_same() -> None:
    query = torch.zeros(2, 8, 16, 4, device="meta", requires_grad=True)
    bias = torch.zeros(1, 8, 16, 16, device="meta", requires_grad=True)

    def run() -> None:
        functional.scaled_dot_product_attention(query, query, query, attn_mask=bias).sum().backward()

    assert flops.of_products(products_of(run)).ops == 6 * 2 * 2 * 8 * 16 * 16 * 4
    assert bias.grad is not None


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
@pytest.mark.parametrize("twice", [False, True])
def test_recurrent_layers(kind: type[nn.Module], gates: int, twice: bool, device: str) -> None:
    steps, batch, wide, hidden = 7, 3, 5, 11
    with torch.device(device):
        layer, x = kind(wide, hidden, num_layers=2, bidirectional=twice), torch.zeros(steps, batch, wide)
    ways = 1 + twice
    once = 2 * steps * batch * gates * hidden * ((wide + hidden) + (ways * hidden + hidden)) * ways
    with torch.no_grad():
        assert flops.of_products(shapes_of(layer, (x,), backward=False)).ops == once
    if device == "meta":  # neither the input nor the first state has a gradient
        spared = 2 * batch * gates * hidden * ways * (steps * wide + 2 * hidden)
        assert flops.of_products(shapes_of(layer, (x,))).ops == 3 * once - spared


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_an_encoder_layer_has_no_path_that_is_not_seen(device: str) -> None:
    with torch.device(device):
        layer, x = nn.TransformerEncoderLayer(64, 4, batch_first=True).eval(), torch.zeros(2, 16, 64)
    wanted = 2 * 2 * 16 * 64 * (4 * 64 + 2 * 2048) + 2 * 2 * 2 * 16 * 16 * 64
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert flops.of_products(shapes_of(layer, (x,), backward=False)).ops == wanted
    assert torch.backends.mha.get_fastpath_enabled()


class TinyGpt(nn.Module):
    """Decoder of one layer with a tied head, to hold the formula against."""

    def __init__(self, vocabulary: int, width: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return (x + self.down(functional.gelu(self.up(x)))) @ self.embed.weight.T


def test_a_decoder_follows_the_formula_of_language_models() -> None:
    steps, vocabulary, width = 32, 100, 24
    with torch.device("meta"):
        model, tokens = TinyGpt(vocabulary, width, 4), torch.zeros(1, steps, dtype=torch.int64)
    forward = flops.of_products(shapes_of(model, (tokens,), backward=False))
    attention = 4 * steps**2 * width
    assert forward.ops == 2 * steps * 12 * width**2 + attention + 2 * steps * width * vocabulary
    assert forward.ops - forward.ops_causal_halved == attention // 2
    assert flops.of_products(shapes_of(model, (tokens,))).ops == 3 * forward.ops


def test_a_model_that_reads_its_numbers_is_counted_on_the_cpu() -> None:
    class Looks(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[x.sum(1) > -1])

    counted = flops.count(own(lambda: Looks(6, 4), (6,)), batch=3)
    assert counted.counted_on == "cpu"
    assert counted.forward.ops == 2 * 3 * 6 * 4
    assert counted.forward.counter is None
    assert counted.train_step is not None
    assert counted.train_step.ops == 2 * counted.forward.ops


def test_the_override_of_attention_goes_when_it_is_done() -> None:
    query = torch.zeros(1, 1, 4, 4, device="meta")
    products_of(lambda: None)
    with FlopCounterMode(display=False) as counter:
        functional.scaled_dot_product_attention(query, query, query)
    assert counter.get_total_flops() == 2 * 2 * 4 * 4 * 4


def test_one_graph_is_one_sample_whatever_the_batch() -> None:
    class Graph(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    def inputs(batch: int, *, device: Any = "cpu", dtype: Any = None) -> tuple[Tensor, ...]:
        return (torch.zeros(5, 6, device=device, dtype=dtype),)

    counted = flops.count(Subject(name="graph", make=own(lambda: Graph(6, 4)).make, inputs=inputs), batch=8)
    assert (counted.batch, counted.train_batch) == (1, 1)
    assert counted.train_step is not None
    assert counted.train_step.ops == 2 * counted.forward.ops == 4 * 5 * 6 * 4


def test_a_loss_that_reads_numbers_is_left_out_where_a_step_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        result = model(*inputs)
        return result[: int(targets.sum()) + 1].sum()

    of = Task(unit="sample", targets=lambda _model, inputs, _chance: torch.zeros_like(inputs[0]), loss=loss)
    reads = replace(own(lambda: nn.Linear(6, 4), (6,)), task=of)
    assert flops.count(reads, batch=3).counted_on == "cpu"
    monkeypatch.setattr(subject, "_DEAR", 0)
    counted = flops.count(reads, batch=3)
    assert counted.counted_on == subject.PLAIN
    assert counted.train_step is not None
    assert counted.train_step.ops == 2 * counted.forward.ops
