"""LeNet-5 as the paper counts it, and d2l's networks as their chapters print them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_parity import close, count, shapes

from dltool import models
from dltool.models import lenet
from dltool.zoo.tasks import task


@pytest.fixture
def lenet5() -> lenet.LeNet5:
    torch.manual_seed(0)
    return lenet.lenet5().double()


def test_lenet5_has_the_papers_parameters_layer_by_layer(lenet5: lenet.LeNet5) -> None:
    found = {name: count(layer) for name, layer in lenet5.named_children()}
    assert found == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
    assert sum(parameter.numel() for parameter in lenet5.parameters() if parameter.requires_grad) == 60_000


def test_lenet5_has_the_papers_connections(lenet5: lenet.LeNet5) -> None:
    per_place = {"c1": 156, "s2": 5 * 6, "c3": 1_516, "s4": 5 * 16, "c5": 48_120, "f6": 10_164}
    places: dict[str, int] = {}
    for name in per_place:
        layer = getattr(lenet5, name)
        layer.register_forward_hook(lambda _m, _x, out, name=name: places.update({name: out[0, 0].numel()}))
    lenet5(torch.zeros(1, 1, 32, 32, dtype=torch.float64))
    connections = {name: per_place[name] * places[name] for name in per_place}
    assert connections == {"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164}
    assert sum(connections.values()) + lenet5.output.codes.numel() == 340_908


def test_c3_sees_the_maps_of_the_papers_table(lenet5: lenet.LeNet5) -> None:
    x = torch.randn(1, 6, 14, 14, dtype=torch.float64, requires_grad=True)
    out = lenet5.c3(x)
    seen = []
    for place in range(16):
        (gradient,) = torch.autograd.grad(out[0, place].sum(), x, retain_graph=True)
        seen.append("".join("X" if gradient[0, channel].any() else "." for channel in range(6)))
    assert ["".join(row) for row in zip(*seen, strict=True)] == [
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]


def test_c3_equals_a_dense_convolution_with_zeros_where_nothing_is_connected(lenet5: lenet.LeNet5) -> None:
    kernels = [kernel for part in lenet5.c3.parts for kernel in part.weight]
    dense = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    for place, (maps, kernel) in enumerate(zip(lenet.C3_INPUTS, kernels, strict=True)):
        dense[place, list(maps)] = kernel.detach()
    bias = torch.cat([part.bias.detach() for part in lenet5.c3.parts])
    x = torch.randn(2, 6, 14, 14, dtype=torch.float64)
    close(lenet5.c3(x).detach(), nn.functional.conv2d(x, dense, bias))


def test_subsampling_adds_four_scales_and_shifts() -> None:
    layer = lenet.Subsampling(1)
    layer.load_state_dict({"coefficient": torch.tensor([[[2.0]]]), "bias": torch.tensor([[[0.5]]])})
    out = layer(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert out.tolist() == [[[[2.0 * 10 + 0.5, 2.0 * 18 + 0.5], [2.0 * 42 + 0.5, 2.0 * 50 + 0.5]]]]


def test_squashing_keeps_one_and_saturates() -> None:
    found = lenet.squash(torch.tensor([-1.0, 0.0, 1.0, 100.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([-1, 0, 1, 1.7159], abs=1e-4)


def test_a_code_word_is_zero_from_itself_and_far_from_others(lenet5: lenet.LeNet5) -> None:
    codes = lenet5.output.codes
    assert codes.shape == (10, 84)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    distances = lenet5.output(codes)
    assert distances.diagonal().tolist() == [0.0] * 10
    assert distances.fill_diagonal_(1e9).min() >= 16  # four dots at least tell any two digits apart


def test_the_criterion_is_equation_9() -> None:
    class Penalties(nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return y

    y = torch.tensor([[1.0, 3.0, *[50.0] * 8], [2.0, 0.5, *[90.0] * 8]])
    right = torch.tensor([0, 0])
    expected = [
        float(row[0] + torch.log(torch.exp(torch.tensor(-84.0, dtype=torch.float64)) + torch.exp(-row).sum()))
        for row in y.double()
    ]
    assert task("digit-recognition").loss(Penalties(), (y,), right).item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_a_state_that_says_nothing_costs_the_chance_of_eleven(lenet5: lenet.LeNet5) -> None:
    with torch.no_grad():
        lenet5.f6.weight.zero_()
        lenet5.f6.bias.zero_()
        loss = task("digit-recognition").loss(
            lenet5, (torch.zeros(3, 1, 32, 32, dtype=torch.float64),), torch.tensor([0, 5, 9])
        )
    assert loss.item() == pytest.approx(torch.tensor(11.0).log().item(), rel=1e-5)


D2L = {
    "mlp": {"net.1": (256, 784), "net.3": (10, 256)},
    "lenet5_d2l": {"net.0": (6, 1, 5, 5), "net.3": (16, 6, 5, 5), "net.7": (120, 400), "net.9": (84, 120), "net.11": (10, 84)},
    "nin": {
        f"net.{block}.{layer}": (out, c_in if layer == 0 else out, *([size] * 2 if layer == 0 else [1, 1]))
        for block, out, c_in, size in [(0, 96, 1, 11), (2, 256, 96, 5), (4, 384, 256, 3), (7, 10, 384, 3)]
        for layer in (0, 2, 4)
    },
}
"""The weights that the chapters' networks have once their lazy layers know their inputs."""


@pytest.mark.parametrize("name", D2L)
def test_d2l_networks_have_the_keys_of_their_chapters(name: str) -> None:
    expected = {f"{key}.weight": shape for key, shape in D2L[name].items()}
    expected |= {f"{key}.bias": shape[:1] for key, shape in D2L[name].items()}
    assert shapes(models.build(name, device="meta")) == expected


def test_d2l_networks_have_the_shapes_that_their_chapters_print() -> None:
    with torch.device("meta"):
        for name, size, expected in [
            ("lenet5_d2l", 28, [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (400,), (120,), (84,), (10,)]),
            ("nin", 224, [(96, 54, 54), (96, 26, 26), (256, 26, 26), (256, 12, 12), (384, 12, 12), (384, 5, 5), (10, 5, 5),
                          (10, 1, 1), (10,)]),
        ]:  # fmt: skip
            x, found = torch.empty(1, 1, size, size), []
            for layer in models.build(name, device="meta").net:
                x = layer(x)
                if not isinstance(layer, (nn.Sigmoid, nn.Dropout)):
                    found.append(tuple(x.shape[1:]))
            assert found == expected
