"""DeconvNet: VGG-16 with its two fully connected layers, and a mirror image of transposed convolutions.

Noh, Hong, Han 2015, Learning Deconvolution Network for Semantic Segmentation. Layers and names (`conv1_1`, `bn1_1` ... `fc6`,
`bnfc6` ... `deconv1_2`, `debn1_2`) are those of the authors' DeconvNet_inference_deploy.prototxt, with _ for -.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dltool.models.segnet import initialise, pool, unpool, vgg_stages


class DeconvNet(nn.Module):
    """Down to one 1x1 map where the input is 224x224, and up again by unpooling and transposed convolutions.

    Args:
        num_classes: of the last 1x1 convolution.
        width: of the first convolution.
        hidden: channels of the two fully connected layers.
    """

    def __init__(self, num_classes: int, width: int, hidden: int) -> None:
        super().__init__()
        stages = vgg_stages(width)
        self.depths = [len(stage) for stage in stages]
        for number, stage in enumerate(stages, 1):
            for place, (c_in, c_out) in enumerate(stage, 1):
                self._add(f"conv{number}_{place}", f"bn{number}_{place}", nn.Conv2d(c_in, c_out, 3, padding=1))
        deepest = stages[-1][-1][1]
        self._add("fc6", "bnfc6", nn.Conv2d(deepest, hidden, 7))
        self._add("fc7", "bnfc7", nn.Conv2d(hidden, hidden, 1))
        self._add("fc6_deconv", "fc6_deconv_bn", nn.ConvTranspose2d(hidden, deepest, 7))
        for number, stage in enumerate(stages, 1):
            for place, (c_out, c_in) in enumerate(reversed(stage), 1):
                back = width if number == 1 else c_out  # the very last one does not go back to the image's channels
                self._add(f"deconv{number}_{place}", f"debn{number}_{place}", nn.ConvTranspose2d(c_in, back, 3, padding=1))
        self.seg_score_voc = nn.Conv2d(width, num_classes, 1)
        self.apply(_initialise)

    def _add(self, name: str, norm: str, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        self.add_module(name, layer)
        self.add_module(norm, nn.BatchNorm2d(layer.out_channels))

    def _run(self, x: Tensor, name: str, norm: str) -> Tensor:
        return functional.relu(getattr(self, norm)(getattr(self, name)(x)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes, H, W); sides are multiples of 32, 224 or more."""
        places = []
        for number, depth in enumerate(self.depths, 1):
            for place in range(1, depth + 1):
                x = self._run(x, f"conv{number}_{place}", f"bn{number}_{place}")
            x, maxima = pool(x)
            places.append(maxima)
        x = self._run(x, "fc6", "bnfc6")
        x = self._run(x, "fc7", "bnfc7")
        x = self._run(x, "fc6_deconv", "fc6_deconv_bn")
        for number, depth in reversed(list(enumerate(self.depths, 1))):
            x = unpool(x, places.pop())
            for place in range(1, depth + 1):
                x = self._run(x, f"deconv{number}_{place}", f"debn{number}_{place}")
        return self.seg_score_voc(x)


def _initialise(module: nn.Module) -> None:
    """As the fillers of the authors' file for what goes up; what goes down comes from VGG-16 there."""
    initialise(module)
    if isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def deconvnet(*, num_classes: int = 21, width: int = 64, hidden: int = 4096) -> DeconvNet:
    """DeconvNet for the 21 classes of Pascal VOC."""
    return DeconvNet(num_classes, width, hidden)
