"""The operations of a step and their bytes: by hand for single layers, plausible for whole models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from zoo_small import all_small

from dltool.bench.networks.recording import operations_of
from dltool.bench.networks.traffic import traffic_of
from dltool.bench.networks.traffic_bytes import size
from dltool.bench.traffic import Operation
from dltool.errors import UsageError
from dltool.zoo import flops
from dltool.zoo.autocast import meta_autocast
from dltool.zoo.entries import entry
from dltool.zoo.subject import Subject, of_entry, of_zoo

META = torch.device("meta")


def small(name: str) -> Subject:
    return of_entry(entry(name), all_small()[name].options)


def forward(module: nn.Module, *shape: int, fused: bool = False, dtype: Any = None) -> tuple[Operation, ...]:
    made = module.to(device=META, dtype=dtype).eval()
    given = torch.empty(shape, device=META, dtype=dtype)
    return operations_of(torch.no_grad()(lambda: made(given)), fused=fused)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_linear_layer() -> None:
    (one,) = forward(nn.Linear(32, 64), 8, 32)
    assert (one.kind, one.dtype, one.ops) == ("gemm", "fp32", 2 * 8 * 64 * 32)
    assert one.bytes == 4 * (8 * 32 + 64 * 32 + 64 + 8 * 64)


def test_half_as_wide_numbers_are_half_the_bytes() -> None:
    wide, narrow = (forward(nn.Linear(32, 64), 8, 32, dtype=dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    assert narrow.bytes * 2 == wide.bytes
    assert (narrow.ops, narrow.dtype) == (wide.ops, "bf16")


def test_a_convolution() -> None:
    (one,) = forward(nn.Conv2d(3, 16, 3, padding=1, bias=False), 2, 3, 10, 10)
    assert (one.kind, one.ops) == ("convolution", 2 * 2 * 100 * 16 * 27)
    assert one.bytes == 4 * (2 * 3 * 100 + 16 * 27 + 2 * 16 * 100)


def test_the_gradients_of_a_convolution_are_a_kernel_each() -> None:
    made = nn.Conv2d(3, 16, 3, padding=1).to(META)
    given = torch.empty(2, 3, 10, 10, device=META, requires_grad=True)
    output = made(given)
    found = operations_of(lambda: output.backward(torch.empty_like(output)))
    source, weight, gradient = 4 * 2 * 3 * 100, 4 * 16 * 27, 4 * 2 * 16 * 100
    assert [(one.bytes, one.count) for one in found if one.ops] == [(gradient + weight + source, 2)]
    assert next(one.bytes for one in found if not one.ops) == gradient + 4 * 16
    assert {one.ops for one in found} == {2 * 2 * 100 * 16 * 27, 0}


@pytest.mark.parametrize("inplace", [False, True])
def test_relu_reads_and_writes(inplace: bool) -> None:
    assert forward(nn.ReLU(inplace), 5, 7) == (Operation(kind="memory", bytes=2 * 4 * 35),)


@pytest.mark.parametrize("view", [lambda x: x.view(2, 12), lambda x: x.t(), lambda x: x[1:], lambda x: x.detach(), lambda x: x])
def test_a_view_moves_nothing(view: Callable[[Any], Any]) -> None:
    given = torch.empty(4, 6, device=META)
    assert operations_of(lambda: view(given)) == ()


def test_what_is_repeated_is_read_once() -> None:
    row = torch.empty(1, 6, device=META).expand(4, 6)
    assert size(row) == 24
    (one,) = operations_of(lambda: row + torch.empty(4, 6, device=META))
    assert one.bytes == 24 + 2 * 96


def test_a_look_up_reads_what_it_returns() -> None:
    table, places = torch.empty(1000, 8, device=META), torch.empty(3, device=META, dtype=torch.int64)
    (one,) = operations_of(lambda: functional.embedding(places, table))
    assert one.bytes == 3 * 8 + 2 * 3 * 8 * 4


def test_what_is_overwritten_is_not_read() -> None:
    into, source = (torch.empty(10, device=META) for _ in range(2))
    assert operations_of(lambda: into.zero_())[0].bytes == 40
    assert operations_of(lambda: into.copy_(source))[0].bytes == 80


def test_batch_norm_that_finds_its_sums_reads_twice() -> None:
    norm, given = nn.BatchNorm2d(4).to(META), torch.empty(2, 4, 5, 5, device=META)
    training = max(operations_of(lambda: norm.train()(given)), key=lambda one: one.bytes)
    evaluating = max(operations_of(lambda: norm.eval()(given)), key=lambda one: one.bytes)
    assert 0 <= training.bytes - 3 * 800 < 200
    assert 0 <= evaluating.bytes - 2 * 800 < 200


def test_half_of_a_causal_square() -> None:
    sides = [torch.empty(1, 2, 16, 8, device=META) for _ in range(3)]
    whole, half = (
        operations_of(lambda causal=causal: functional.scaled_dot_product_attention(*sides, is_causal=causal))  # type: ignore[misc]
        for causal in (False, True)
    )
    assert whole[0].kind == half[0].kind == "attention"
    assert whole[0].ops == 2 * half[0].ops == 2 * 2 * 2 * 16 * 16 * 8
    assert whole[0].bytes >= 4 * 4 * 2 * 16 * 8


# --- chains -----------------------------------------------------------------------------------------------------------


def test_a_chain_is_one_kernel() -> None:
    given = torch.empty(10, device=META)
    run = lambda: torch.relu(given + 1).mul(2)  # noqa: E731
    assert sum(one.bytes * one.count for one in operations_of(run)) == 6 * 40
    (one,) = operations_of(run, fused=True)
    assert one.bytes == 40  # nobody keeps the result


def test_what_outlives_a_chain_is_written() -> None:
    given, kept = torch.empty(10, device=META), []

    def run() -> None:
        kept.append(given + 1)
        kept.append(torch.relu(kept[0]))

    assert [one.bytes for one in operations_of(run, fused=True)] == [3 * 40]


def test_a_product_ends_a_chain() -> None:
    a = torch.empty(4, 4, device=META)
    found = operations_of(lambda: torch.relu(a + 1) @ a + 1, fused=True)
    assert [one.kind for one in found] == ["memory", "gemm", "memory"]


# --- models -----------------------------------------------------------------------------------------------------------


def test_resnet50() -> None:
    """Activations dominate: about 11 million outputs of convolutions a sample, read and written by three kinds of layers."""
    subject = of_zoo("resnet50")
    infer, train = (traffic_of(subject, 8, "fp32", mode) for mode in ("infer", "train"))
    assert infer.ops / 8 == pytest.approx(8.178e9, rel=1e-3)
    assert train.ops / infer.ops == pytest.approx(2.971, abs=0.001)
    weights, outputs = 4 * 25.6e6, 8 * 4 * 11.1e6
    assert weights + 4 * outputs < infer.bytes < weights + 9 * outputs
    assert 2.5 < train.bytes / infer.bytes < 4
    half = traffic_of(subject, 8, "bf16", "infer")
    assert infer.bytes / half.bytes == pytest.approx(2, rel=0.01)
    assert {one.dtype for one in half.operations if one.ops} == {"bf16"}


@pytest.mark.parametrize("name", ["resnet18", "bert_base", "gpt2", "lstm_lm", "dcgan_generator", "swin_t"])
def test_operations_are_those_that_are_counted(name: str) -> None:
    subject = small(name)
    counted = flops.count(subject, 2)
    infer, train = (traffic_of(subject, 2, "fp32", mode) for mode in ("infer", "train"))
    assert infer.ops == counted.forward.ops_causal_halved
    assert counted.train_step is not None
    assert train.ops >= counted.train_step.ops_causal_halved
    assert train.ops <= counted.train_step.ops + counted.train_step.ops_again
    assert train.bytes > 2 * infer.bytes


def test_mixed_precision_multiplies_in_the_lower_type() -> None:
    found = traffic_of(small("bert_base"), 2, "amp-fp16", "train")
    ops = {dtype: sum(one.ops * one.count for one in found.operations if one.dtype == dtype) for dtype in ("fp16", "fp32")}
    assert ops["fp16"] > 20 * ops["fp32"]


def test_autocast_takes_no_view_of_a_weight_for_another() -> None:
    """Views of a weight come and go, and a new one may lie where an old one lay."""
    weight = nn.Parameter(torch.empty(8 * 6, device=META))
    with torch.no_grad(), meta_autocast(torch.bfloat16):
        for wide in (2, 3, 4, 6, 8, 12) * 5:
            given = torch.empty(5, wide, device=META)
            assert functional.linear(given, weight.view(48 // wide, wide)).shape == (5, 48 // wide)


def test_tf32_is_said_of_products_in_fp32() -> None:
    found = traffic_of(small("resnet18"), 2, "tf32", "infer")
    assert {one.dtype for one in found.operations if one.ops} == {"tf32"}


def test_an_optimizer_moves_its_state() -> None:
    plain, adam = (traffic_of(small("resnet18"), 2, "fp32", "train", optimizer=name) for name in ("sgd", "adamw"))
    weights = sum(p.numel() for p in small("resnet18").make(device="meta").parameters()) * 4
    assert adam.bytes - plain.bytes > 4 * weights
    own = traffic_of(small("resnet18"), 2, "fp32", "train", optimizer=lambda found: torch.optim.SGD(found, lr=0.1))
    assert own.ops == plain.ops


def test_fused_is_never_more() -> None:
    for name in ("resnet18", "bert_base"):
        for mode in ("infer", "train"):
            eager, fused = (traffic_of(small(name), 2, "amp-bf16", mode, fused=fused) for fused in (False, True))
            assert fused.ops == eager.ops
            assert fused.bytes < eager.bytes
            assert fused.kernels < eager.kernels


@pytest.mark.parametrize(
    ("precision", "mode", "words"), [("fp61", "train", "fp16"), ("int8", "infer", "precision"), ("fp32", "trian", "train")]
)
def test_what_is_unknown_is_refused(precision: str, mode: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        traffic_of(of_zoo("lenet5"), 1, precision, mode)
    assert words in f"{caught.value} {caught.value.remedy}"
