"""Segmentation networks against torchvision and monai, and against what their papers and their authors' files print."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from zoo_parity import count, same_keys, same_outputs
from zoo_references import monai, torchvision

from dltool import models
from dltool.models import letnet_blocks, segnet, unet

TORCHVISION = ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_resnet101"]
IMAGE = (1, 3, 33, 40)


@pytest.mark.parametrize("aux_loss", [True, False])
@pytest.mark.parametrize("name", TORCHVISION)
def test_has_the_keys_of_torchvision(name: str, aux_loss: bool) -> None:
    make = getattr(torchvision().segmentation, name)
    with torch.device("meta"):
        theirs = make(weights=None, weights_backbone=None, num_classes=21, aux_loss=aux_loss)
    same_keys(models.build(name, device="meta", aux_loss=aux_loss), theirs)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_equals_torchvision(name: str) -> None:
    layers = (1, 2, 1, 1)
    found = torchvision()
    backbone = found.resnet.ResNet(found.resnet.Bottleneck, layers, replace_stride_with_dilation=[False, True, True])
    family = found.segmentation.fcn if name.startswith("fcn") else found.segmentation.deeplabv3
    theirs = getattr(family, "_fcn_resnet" if name.startswith("fcn") else "_deeplabv3_resnet")(backbone, 5, True)
    ours = models.build(name, num_classes=5, layers=layers)
    same_keys(ours, theirs)
    same_outputs(ours, theirs, (torch.randn(IMAGE, dtype=torch.float64),))


@pytest.mark.parametrize(("aux_loss", "heads"), [(True, ["out", "aux"]), (False, ["out"])])
def test_the_auxiliary_head_answers_in_eval_mode_too(aux_loss: bool, heads: list[str]) -> None:
    model = models.build("fcn_resnet50", aux_loss=aux_loss, layers=(1, 1, 1, 1), device="meta").eval()
    assert list(model(torch.empty(IMAGE, device="meta"))) == heads


def test_vnet_equals_monai() -> None:
    ours, theirs = models.build("vnet"), monai().VNet()
    same_keys(ours, theirs)
    same_outputs(ours, theirs, (torch.randn(1, 1, 16, 16, 16, dtype=torch.float64),))


def test_vnet_drops_where_monai_does() -> None:
    def dropped(model: nn.Module) -> list[tuple[str, float]]:
        return [(name, part.p) for name, part in model.named_modules() if isinstance(part, nn.Dropout3d)]

    with torch.device("meta"):
        theirs = monai().VNet()
    assert sorted(dropped(models.build("vnet", device="meta"))) == sorted(dropped(theirs))


def sizes(model: nn.Module, kind: type[nn.Module], image: tuple[int, ...]) -> list[int]:
    """Heights of the maps that each layer of a kind makes, in the order of their making."""
    heights: list[int] = []
    for part in model.modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda _part, _inputs, made: heights.append(made.shape[-2]))
    model(torch.empty(image, device="meta"))
    return heights


def test_unet_has_the_map_sizes_of_the_papers_figure() -> None:
    found = sizes(models.build("unet", device="meta"), nn.Conv2d, (1, 1, 572, 572))
    down = [570, 568, 282, 280, 138, 136, 66, 64, 30, 28]
    up = [54, 52, 102, 100, 198, 196, 390, 388]
    assert found == [*down, *up, 388]


def test_unet_joins_maps_at_their_middle() -> None:
    x = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(unet._middle(x, torch.Size((2, 4))), x[..., 2:4, 1:5])


def test_unet_has_23_convolutions_and_drops_at_the_end_of_the_way_down() -> None:
    model = models.build("unet", device="meta")
    assert sum(isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)) for part in model.modules()) == 23
    assert sizes(model, nn.Dropout, (1, 1, 572, 572)) == [64, 28]


def expected_of_milesial(bilinear: bool) -> set[str]:
    """Names of its parameters: nine pairs of convolutions with norms, the up-convolutions, the last convolution."""
    pairs = ["inc", *(f"down{n}.maxpool_conv.1" for n in range(1, 5)), *(f"up{n}.conv" for n in range(1, 5))]
    places = ("0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias")
    names = {f"{pair}.double_conv.{place}" for pair in pairs for place in places}
    ups = set() if bilinear else {f"up{n}.up.{kind}" for n in range(1, 5) for kind in ("weight", "bias")}
    return names | ups | {"outc.conv.weight", "outc.conv.bias"}


@pytest.mark.parametrize("bilinear", [False, True])
def test_padded_unet_has_the_names_of_its_repository(bilinear: bool) -> None:
    model = models.build("unet_padded", device="meta", bilinear=bilinear)
    assert {name for name, _ in model.named_parameters()} == expected_of_milesial(bilinear)


@pytest.mark.parametrize("bilinear", [False, True])
def test_padded_unet_keeps_odd_sizes(bilinear: bool) -> None:
    model = models.build("unet_padded", bilinear=bilinear, width=2, n_channels=1, n_classes=5)
    assert model(torch.randn(1, 1, 37, 50)).shape == (1, 5, 37, 50)


def convolution(c_in: int, c_out: int, side: int = 3) -> int:
    """Parameters of a convolution with bias and of the norm behind it."""
    return side * side * c_in * c_out + c_out + 2 * c_out


VGG16 = [
    (3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256),
    (256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512),
]  # fmt: skip


def test_segnet_is_vgg16_and_its_mirror_image() -> None:
    down = sum(convolution(a, b) for a, b in VGG16)
    up = sum(convolution(b, a) for a, b in VGG16[1:]) + 9 * 64 * 11 + 11
    assert count(models.build("segnet", device="meta")) == down + up == 29_449_355


def test_deconvnet_has_fully_connected_layers_between() -> None:
    down = sum(convolution(a, b) for a, b in VGG16)
    between = convolution(512, 4096, 7) + convolution(4096, 4096, 1) + convolution(4096, 512, 7)
    up = sum(convolution(b, a) for a, b in VGG16[1:]) + convolution(64, 64) + 64 * 21 + 21
    assert count(models.build("deconvnet", device="meta")) == down + between + up == 251_805_653


def test_segnet_halves_as_caffe_does() -> None:
    """Rounding up: the authors' file says upsample_h 23 and 45 for an image of 360."""
    model = models.build("segnet", device="meta")
    expected = [360, 360, 180, 180, *[90] * 3, *[45] * 3, *[23] * 3, *[23] * 3, *[45] * 3, *[90] * 3, 180, 180, 360, 360]
    assert sizes(model, nn.Conv2d, (1, 3, 360, 480)) == expected


@pytest.mark.parametrize("side", [6, 7])
def test_unpooling_puts_maxima_back(side: int) -> None:
    x = torch.rand(2, 3, side, side) + 1
    halved, place = segnet.pool(x)
    back = segnet.unpool(halved, place)
    assert back.shape == x.shape
    assert torch.equal(back[back > 0], x[back > 0])
    assert int((back > 0).sum()) == halved.numel()


def test_letnet_counts_by_part() -> None:
    model = models.build("letnet", device="meta")

    def long(c_in: int, c_out: int) -> int:
        half = c_in // 2
        return 3 * c_in * half + half + 3 * half * c_out + c_out

    parts = {name: count(part) for name, part in model.named_children()}
    assert [parts[f"LC{n}"] for n in (1, 2, 3)] == [long(64, 16), long(128, 16), long(32, 32)]
    assert parts["transformer1"] == 288 * 144 + 144 * 432 + 144 * 288 + 288 + 4 * 288 + 288 * 72 + 72 + 72 * 288 + 288
    published = count(model) - long(32, 32) + long(32, 16)
    assert (count(model), published) == (951_216, 950_432)


def test_letnet_freezes_what_no_input_reaches() -> None:
    frozen = {name.split(".")[0] for name, p in models.build("letnet", device="meta").named_parameters() if not p.requires_grad}
    assert frozen == {"PA1", "PA2"}


def test_letnets_attention_stays_within_a_quarter() -> None:
    attention = letnet_blocks.EffAttention(16, heads=2).double()
    x = torch.randn(1, 10, 16, dtype=torch.float64)  # quarters of 2, and 2 left over
    far = x.clone()
    far[:, 8:] += 1
    changed = (attention(x) - attention(far)).abs().amax((0, 2)) > 1e-9
    assert changed.tolist() == [False] * 8 + [True] * 2


def test_letnets_attention_is_a_softmax_of_products() -> None:
    attention = letnet_blocks.EffAttention(16, heads=2).double()
    x = torch.randn(1, 4, 16, dtype=torch.float64)  # one token a quarter: attention gives its value
    value = attention.qkv(attention.reduce(x))[..., 16:]
    torch.testing.assert_close(attention(x), attention.proj(value))


def test_letnets_tokens_are_3x3_surroundings() -> None:
    block = letnet_blocks.TransBlock(32)
    for part in (block.atten.proj, block.mlp.fc2):
        nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
    x = torch.randn(1, 32, 5, 6)
    ninefold = block(x)[..., 1:-1, 1:-1]  # an inner pixel is in nine surroundings
    torch.testing.assert_close(ninefold, 9 * x[..., 1:-1, 1:-1])


def weighs(channels: Tensor, weights: Tensor) -> Tensor:
    padded = nn.functional.pad(channels.mean((2, 3)), (1, 1))
    return channels * (padded.unfold(1, 3, 1) @ weights).sigmoid()[..., None, None]


def test_letnets_channel_attention_sees_three_neighbours() -> None:
    attention = letnet_blocks.ChannelAttention()
    x = torch.randn(2, 7, 4, 3)
    torch.testing.assert_close(attention(x), weighs(x, attention.conv.weight.flatten()))


def test_networks_with_a_choice_of_classes_and_channels() -> None:
    build = partial(models.build, device="meta")
    assert build("segnet", num_classes=12).conv1_1_D.out_channels == 12
    assert build("vnet", in_channels=2, out_channels=3)(torch.empty(1, 2, 32, 32, 32, device="meta")).shape[1] == 3
    assert build("unet", n_channels=3, n_classes=4)(torch.empty(1, 3, 204, 204, device="meta")).shape == (1, 4, 20, 20)
