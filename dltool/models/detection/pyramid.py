"""The residual network with its feature pyramid: Lin et al. 2017, Feature Pyramid Networks for Object Detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.loading import accept_old_keys
from dltool.models.resnet import Bottleneck, ResNet


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and scales are constants: pictures are too few in a detector's batch to learn them.

    Args:
        channels: of its maps.
        eps: added to the variance. The published weights of the detectors were trained without.
    """

    def __init__(self, channels: int, eps: float = 0.0) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)  # of an ordinary normalisation
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Body(ResNet):
    """A residual network without its classifier.

    Args:
        layers: blocks in each stage.
        frozen_bn: with FrozenBatchNorm2d.
        trainable: how many of its five parts learn, counted from the last.
    """

    def __init__(self, layers: Sequence[int], *, frozen_bn: bool, trainable: int) -> None:
        super().__init__(Bottleneck, layers, norm=FrozenBatchNorm2d if frozen_bn else nn.BatchNorm2d)
        del self.avgpool, self.fc
        parts = [nn.ModuleList((self.conv1, self.bn1)), self.layer1, self.layer2, self.layer3, self.layer4]
        for part in parts[: len(parts) - trainable]:
            part.requires_grad_(False)


class Pyramid(nn.Module):
    """Each map gets what the coarser ones know: 1x1 laterals, sums from the top down, 3x3 outputs.

    Args:
        c_in: channels of the maps, the finest first.
        channels: of each output.
        beyond: two more maps by strided convolutions (RetinaNet's P6 and P7); otherwise one by subsampling.
    """

    def __init__(self, c_in: Sequence[int], channels: int, *, beyond: bool) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(c, channels, 1)) for c in c_in)
        self.layer_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)) for _ in c_in)
        self.extra_blocks = Beyond(channels) if beyond else None
        self.apply(_initialise)
        blocks = [f"{kind}.{number}" for kind in ("inner_blocks", "layer_blocks") for number in range(len(c_in))]
        accept_old_keys(self, *((name, f"{name}.0") for name in blocks))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of (N, c_in, h, w), each half as large as the one before -> all (N, channels, h, w), and the coarser ones."""
        top: Tensor | None = None
        found: list[Tensor] = []
        for map_, inner, layer in zip(reversed(maps), reversed(self.inner_blocks), reversed(self.layer_blocks), strict=True):
            lateral = inner(map_)
            top = lateral if top is None else lateral + functional.interpolate(top, size=lateral.shape[-2:])
            found.insert(0, layer(top))
        return found + (self.extra_blocks(found[-1]) if self.extra_blocks else [found[-1][..., ::2, ::2]])


class Beyond(nn.Module):
    """RetinaNet's two coarsest maps: (N, channels, h, w) -> h / 2 and h / 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.p7 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, p5: Tensor) -> list[Tensor]:
        """See the class."""
        p6 = self.p6(p5)
        return [p6, self.p7(functional.relu(p6))]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(module.bias)


class Backbone(nn.Module):
    """Body and pyramid: (N, 3, H, W) -> maps of (N, channels, h, w).

    Args:
        layers: blocks in each stage of the body.
        stages: which of the stages 0 to 3 the pyramid stands on.
        channels: of each map.
        beyond: see `Pyramid`.
        frozen_bn: see `Body`.
        trainable: see `Body`; by default 3 where frozen_bn, as published weights were trained, otherwise all 5.
    """

    def __init__(
        self,
        layers: Sequence[int],
        *,
        stages: Sequence[int] = (0, 1, 2, 3),
        channels: int = 256,
        beyond: bool = False,
        frozen_bn: bool = False,
        trainable: int | None = None,
    ) -> None:
        super().__init__()
        trainable = (3 if frozen_bn else 5) if trainable is None else trainable
        self.stages = stages
        self.body = Body(layers, frozen_bn=frozen_bn, trainable=trainable)
        self.fpn = Pyramid([256 * 2**stage for stage in stages], channels, beyond=beyond)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        maps = self.body.features(x)
        return self.fpn([maps[stage] for stage in self.stages])
