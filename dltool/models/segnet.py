"""SegNet: VGG-16's convolutions and their mirror image, which puts values back where max pooling found them.

Badrinarayanan, Kendall, Cipolla 2015, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation.
Widths, biases and layer names (`conv1_1`, `conv1_1_bn` ... `conv1_1_D`) are those of the authors' segnet_train.prototxt.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_VGG16 = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Output channels of the convolutions in VGG-16's five stages, in units of the first one's."""
Place = tuple[Tensor, tuple[int, ...]]
"""Where a pooling's maxima were, and the size of the map they were in."""


class SegNet(nn.Module):
    """Five stages down, each ending in a pooling that remembers the places of its maxima, and five stages up.

    Args:
        num_classes: of the last convolution, which has neither norm nor activation.
        width: of the first convolution; the others are its multiples.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.encoder: list[list[str]] = []
        self.decoder: list[list[str]] = []
        for number, stage in enumerate(vgg_stages(width), 1):
            down = [f"conv{number}_{place}" for place in range(1, len(stage) + 1)]
            self.encoder.append(down)
            self.decoder.insert(0, [f"{name}_D" for name in reversed(down)])
            for name, (c_in, c_out) in zip(down, stage, strict=True):
                self._add(name, c_in, c_out)
                if name != "conv1_1":
                    self._add(f"{name}_D", c_out, c_in)
        self.decoder[-1].remove("conv1_1_D")
        self.conv1_1_D = nn.Conv2d(width, num_classes, 3, padding=1)
        self.apply(initialise)

    def _add(self, name: str, c_in: int, c_out: int) -> None:
        self.add_module(name, nn.Conv2d(c_in, c_out, 3, padding=1))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(c_out))

    def _run(self, names: list[str], x: Tensor) -> Tensor:
        for name in names:
            x = functional.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes, H, W)."""
        places = []
        for names in self.encoder:
            x, place = pool(self._run(names, x))
            places.append(place)
        for names in self.decoder:
            x = self._run(names, unpool(x, places.pop()))
        return self.conv1_1_D(x)


def vgg_stages(width: int) -> list[list[tuple[int, int]]]:
    """Input and output channels of VGG-16's 3x3 convolutions, stage by stage, where the first has `width` of them."""
    stages, c_in = [], 3
    for units in _VGG16:
        stage = []
        for unit in units:
            stage.append((c_in, unit * width))
            c_in = unit * width
        stages.append(stage)
    return stages


def pool(x: Tensor) -> tuple[Tensor, Place]:
    """(N, c, h, w) -> (N, c, ceil(h / 2), ceil(w / 2)), and where the maxima were."""
    halved, indices = functional.max_pool2d(x, 2, stride=2, ceil_mode=True, return_indices=True)
    return halved, (indices, x.shape[-2:])


def unpool(x: Tensor, place: Place) -> Tensor:
    """Each value back to where its maximum was, zeros elsewhere."""
    indices, size = place
    return functional.max_unpool2d(x, indices, 2, stride=2, output_size=list(size))


def initialise(module: nn.Module) -> None:
    """As the fillers of the authors' file: MSRA for convolutions, 0.001 for the shift of norms."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.constant_(module.bias, 0.001)


def segnet(*, num_classes: int = 11, width: int = 64) -> SegNet:
    """SegNet for the 11 classes of CamVid."""
    return SegNet(num_classes, width)
