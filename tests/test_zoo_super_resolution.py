"""Networks of super-resolution by the figures of their papers, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from zoo_parity import close, count, randomised, shapes

from dltool import models
from dltool.zoo.inputs import tensors
from dltool.zoo.tasks import task


@pytest.mark.parametrize(("kernels", "weights"), [((9, 1, 5), 8032), ((9, 5, 5), 57184)])
def test_srcnn_has_the_weights_of_the_paper(kernels: tuple[int, ...], weights: int) -> None:
    model = models.build("srcnn", kernels=kernels)
    first, middle, last = (kernel**2 for kernel in kernels)
    assert count(model) - (64 + 32 + 1) == weights == 64 * first + 64 * 32 * middle + 32 * last
    assert sorted(shapes(model)) == [f"conv{n}.{part}" for n in (1, 2, 3) for part in ("bias", "weight")]


def test_srcnn_is_three_convolutions() -> None:
    model = randomised(models.build("srcnn", kernels=(9, 5, 5)))
    image = torch.randn(1, 1, 20, 23, dtype=torch.float64)
    kept = model.state_dict()
    x = image
    for number, padding in ((1, 4), (2, 2), (3, 2)):
        x = functional.conv2d(x, kept[f"conv{number}.weight"], kept[f"conv{number}.bias"], padding=padding)
        x = x.clamp(min=0) if number < 3 else x
    close(model(image), x)


def test_srresnet_layer_by_layer() -> None:
    model = models.build("srresnet", device="meta")
    assert count(model.head) == 9 * 9 * 3 * 64 + 64 + 1
    assert [count(block) for block in model.body[:16]] == [2 * (9 * 64 * 64 + 64) + 2 * 128 + 1] * 16
    assert count(model.body[16:]) == 9 * 64 * 64 + 64 + 128
    assert count(model.upsample) == 2 * (9 * 64 * 256 + 256 + 1)
    assert count(model.tail) == 9 * 9 * 64 * 3 + 3


def test_srresnet_adds_its_body_to_its_head() -> None:
    model = models.build("srresnet", blocks=2, channels=8).eval()
    image = torch.randn(1, 3, 6, 5)
    nn.init.zeros_(model.body[-1].weight)  # the last norm: the body gives nothing
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.tail(model.upsample(model.head(image))))


def test_the_discriminator_halves_the_image_four_times() -> None:
    model = models.build("srgan_discriminator", device="meta")
    strides = [layer.stride[0] for layer in model.features if isinstance(layer, nn.Conv2d)]
    widths = [layer.out_channels for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert strides == [1, 2] * 4
    assert widths == [64, 64, 128, 128, 256, 256, 512, 512]
    assert count(model.classifier) == 512 * 6 * 6 * 1024 + 1024 + 1024 + 1
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.features) == 7


def test_rrdbnet_has_the_keys_of_its_checkpoints() -> None:
    found = shapes(models.build("esrgan_rrdbnet", device="meta"))
    ends = ["conv_first", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last"]
    trunk = [f"RRDB_trunk.{n}.RDB{d}.conv{c}" for n in range(23) for d in (1, 2, 3) for c in (1, 2, 3, 4, 5)]
    assert set(found) == {f"{name}.{part}" for name in ends + trunk for part in ("weight", "bias")}
    assert found["RRDB_trunk.22.RDB3.conv5.weight"] == (64, 192, 3, 3)


def test_a_dense_block_of_rrdbnet_by_its_formula() -> None:
    block = randomised(models.build("esrgan_rrdbnet", nb=1, nf=8, gc=4)).RRDB_trunk[0]
    x = torch.randn(1, 8, 5, 5, dtype=torch.float64)
    dense, seen = block.RDB1, x
    for conv in (dense.conv1, dense.conv2, dense.conv3, dense.conv4):
        made = conv(seen)
        seen = torch.cat([seen, torch.where(made > 0, made, 0.2 * made)], dim=1)
    close(dense(x), x + 0.2 * dense.conv5(seen))
    close(block(x), x + 0.2 * block.RDB3(block.RDB2(block.RDB1(x))))


@pytest.mark.parametrize(("name", "options"), [("srresnet", {"blocks": 1, "channels": 8}), ("esrgan_rrdbnet", {"nb": 1})])
def test_it_enlarges_four_times_whatever_the_size(name: str, options: dict[str, int]) -> None:
    assert models.build(name, device="meta", **options)(torch.empty(2, 3, 7, 10, device="meta")).shape == (2, 3, 28, 40)


def test_the_loss_of_each_is_that_of_its_paper() -> None:
    (image,) = tensors("float:N,1,6,6", 2)
    model = nn.Identity()
    large = image + torch.full_like(image, 3.0)
    assert task("super-resolution").loss(model, (image,), large) == pytest.approx(9.0)
    assert task("super-resolution-l1").loss(model, (image,), large) == pytest.approx(3.0)


def test_a_discriminator_that_cannot_tell_loses_ln_2_twice() -> None:
    def unsure(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 1), 0.5)

    images = tensors("float:N,3,32,32", 2)
    of = task("adversarial-super-resolution")
    made = of.targets(unsure, images, torch.Generator())  # type: ignore[arg-type]
    assert made.shape == images[0].shape
    assert made.std() < images[0].std()  # enlarged images are blurred
    assert float(of.loss(unsure, images, made)) == pytest.approx(2 * 0.693147, rel=1e-5)  # type: ignore[arg-type]
