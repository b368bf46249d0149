"""YOLOX against figures that its authors' code gives, and its parts against plain forms of themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo_parity import shapes
from zoo_small import all_small

from dltool import models
from dltool.models.darknet import SPP, Focus

GOLDEN = {
    "yolox_s": (
        [
            [45.17973415, 5.34348726, 12.36063112, 0.47419416, 0.72099826],
            [57.81502243, 12.44534905, 10.02714088, 0.46296988, 0.36522108],
            [72.32430302, 59.35231676, 52.19346844, 0.55828106, 0.50502097],
        ],
        24988.551908768586,
        (4.5646323636228505, 1.5841478002763352, 45.883906399154284, 4.261898557266552, 1.0),
    ),
    "yolox_x": (
        [
            [43.61702171, 7.06572934, 16.22590019, 0.40975213, 0.63632513],
            [54.0882267, 13.88937978, 6.69695948, 0.55849054, 0.41915872],
            [83.90587594, 39.76186698, 54.55075934, 0.53662097, 0.56648991],
        ],
        25261.608358397767,
        (4.454504292976615, 1.5152292263452911, 43.14200979799475, 4.328325947640083, 1.0),
    ),
    "yolox_darknet53": (
        [
            [46.52873216, 5.25061762, 23.04438152, 0.32661692, 0.65390706],
            [47.41622908, 21.7903737, 6.81025577, 0.55246048, 0.3014404],
            [87.24618784, 36.27549013, 42.42872763, 0.62532194, 0.65125592],
        ],
        26230.74073993563,
        (4.5960797638518045, 1.3597235717871115, 48.79079172667772, 4.169799578083042, 0.75),
    ),
}
"""Of Megvii-BaseDetection/YOLOX 6ddff48, with `filled` weights and `image`: some outputs, the sum of all, the losses."""
SMALL = {"yolox_s": {"width": 0.125}, "yolox_x": {"width": 0.125}, "yolox_darknet53": {"stem": 4}}
LABELS = torch.tensor(
    [
        [[1, 30, 30, 24, 20], [4, 70, 40, 40, 44], [2, 34, 28, 10, 30]],
        [[0, 50, 20, 60, 30], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    ],
    dtype=torch.float64,
)


def image() -> Tensor:
    return torch.cos(torch.arange(2 * 3 * 64 * 96, dtype=torch.float64) * 0.37).reshape(2, 3, 64, 96)


def filled(model: nn.Module) -> nn.Module:
    """A model with numbers that follow from the keys and shapes of its weights, in float64."""
    model.double()
    for place, (key, tensor) in enumerate(sorted(model.state_dict().items())):
        if tensor.is_floating_point():
            wave = torch.cos(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + place).reshape(tensor.shape)
            scale = tensor[0].numel() ** -0.5 if tensor.ndim == 4 else 0.3
            tensor.copy_(1 + 0.3 * wave if key.endswith(("running_var", "bn.weight")) else scale * wave)
    return model


@pytest.mark.parametrize("name", GOLDEN)
def test_gives_what_the_authors_code_gives(name: str) -> None:
    model = filled(models.build(name, num_classes=6, **SMALL[name]))
    some, total, parts = GOLDEN[name]
    model.head.use_l1 = True
    with torch.no_grad():
        seen = model.eval()(image())
        found = model.train()(image(), LABELS)
    assert seen.shape == (2, 126, 11)
    assert seen[1, [5, 100, 125]][:, [0, 2, 3, 4, 8]].tolist() == [pytest.approx(row, rel=1e-7) for row in some]
    assert float(seen.sum()) == pytest.approx(total, rel=1e-10)
    named = ("iou_loss", "l1_loss", "conf_loss", "cls_loss", "num_fg")
    assert [float(found[key]) for key in named] == pytest.approx(parts, rel=1e-9)
    assert float(found["total_loss"]) == pytest.approx(sum(parts[:4]), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "tensors", "key", "shape"),
    [
        ("yolox_s", 462, "backbone.backbone.dark5.1.conv2.conv.weight", (512, 1024, 1, 1)),
        ("yolox_s", 462, "backbone.C3_n3.m.0.conv2.conv.weight", (128, 128, 3, 3)),
        ("yolox_x", 894, "backbone.backbone.stem.conv.conv.weight", (80, 12, 3, 3)),
        ("yolox_x", 894, "head.cls_convs.2.1.bn.running_var", (320,)),
        ("yolox_darknet53", 528, "backbone.backbone.dark3.8.layer2.conv.weight", (256, 128, 3, 3)),
        ("yolox_darknet53", 528, "backbone.out1.4.bn.num_batches_tracked", ()),
        ("yolox_darknet53", 528, "head.reg_preds.0.bias", (4,)),
    ],
)
def test_checkpoints_of_the_authors_fit(name: str, tensors: int, key: str, shape: tuple[int, ...]) -> None:
    held = shapes(models.build(name, device="meta"))
    assert len(held) == tensors
    assert held[key] == shape


@pytest.mark.parametrize("name", GOLDEN)
def test_batch_norm_is_that_of_the_authors(name: str) -> None:
    norms = [module for module in models.build(name, device="meta").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_a_new_network_says_one_percent_of_everything_and_boxes_of_one_step() -> None:
    model = models.build("yolox_s", **all_small()["yolox_s"].options).eval()
    for level in model.head.reg_preds:
        nn.init.zeros_(level.weight)
        nn.init.zeros_(level.bias)
    for level in (*model.head.obj_preds, *model.head.cls_preds):
        nn.init.zeros_(level.weight)
    with torch.no_grad():
        (seen,) = model(torch.randn(1, 3, 64, 96))
    assert seen[:, 4:].allclose(torch.tensor(0.01))
    expected = [(8 * x, 8 * y, 8, 8) for y in range(8) for x in range(12)]
    expected += [(16 * x, 16 * y, 16, 16) for y in range(4) for x in range(6)]
    expected += [(32 * x, 32 * y, 32, 32) for y in range(2) for x in range(3)]
    torch.testing.assert_close(seen[:, :4], torch.tensor(expected, dtype=torch.float32))


def test_boxes_of_a_bf16_network_are_placed_in_float32() -> None:
    model = models.build("yolox_s", **all_small()["yolox_s"].options).eval().bfloat16()
    for level in model.head.reg_preds:
        nn.init.zeros_(level.weight)
        nn.init.zeros_(level.bias)
    with torch.no_grad():
        (seen,) = model(torch.randn(1, 3, 32, 32 * 70, dtype=torch.bfloat16))
    assert seen[279].tolist()[:4] == [8 * 279, 0, 8, 8]  # 279 and 2232 are no bfloat16 numbers


def test_training_without_labels_is_refused() -> None:
    model = models.build("yolox_s", **all_small()["yolox_s"].options)
    with pytest.raises(ValueError, match="needs labels"):
        model(torch.randn(1, 3, 64, 64))


def test_focus_takes_columns_first() -> None:
    taken: list[Tensor] = []
    focus = Focus(1, 4)
    focus.conv.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    focus(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).repeat(2, 1, 1, 1))
    assert taken[0][0].flatten().tolist() == [1, 3, 2, 4]


def test_pyramid_pooling_sees_5_9_and_13_places() -> None:
    taken: list[Tensor] = []
    spp = SPP(8, 4).eval()
    spp.conv2.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    x = torch.randn(1, 8, 17, 20)
    spp(x)
    own = spp.conv1(x)
    pooled = [functional.max_pool2d(own, side, stride=1, padding=side // 2) for side in (5, 9, 13)]
    assert taken[0].equal(torch.cat([own, *pooled], 1))
