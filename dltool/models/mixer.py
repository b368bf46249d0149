"""Patches mixed by two perceptrons in turn: one across places, one across channels. No convolution, no attention.

Tolstikhin et al. 2021, MLP-Mixer: An all-MLP Architecture for Vision, section 2, table 1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-6


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return self.fc2(functional.gelu(self.fc1(x)))


class MixerBlock(nn.Module):
    """Mixes tokens, then channels; each mixing is normalised before and added to its input."""

    def __init__(self, tokens: int, width: int, tokens_hidden: int, channels_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.mlp_tokens = Mlp(tokens, tokens_hidden)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp_channels = Mlp(width, channels_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class PatchEmbedding(nn.Module):
    """Each patch by one linear layer."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, tokens, width)."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Mixer(nn.Module):
    """Patches, blocks, norm, average over the tokens, classifier."""

    def __init__(self, *, img_size: int, patch_size: int, num_blocks: int, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        tokens = (img_size // patch_size) ** 2
        self.stem = PatchEmbedding(patch_size, embed_dim)
        blocks = (MixerBlock(tokens, embed_dim, embed_dim // 2, 4 * embed_dim) for _ in range(num_blocks))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=_EPS)
        self.head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialise)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, img_size, img_size) -> (N, num_classes)."""
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


def _initialise(module: nn.Module) -> None:
    """As the reference implementation does."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        nn.init.zeros_(module.bias)


def mixer_b_16(
    *, num_classes: int = 1000, img_size: int = 224, patch_size: int = 16, num_blocks: int = 12, embed_dim: int = 768
) -> nn.Module:
    """Mixer-B/16."""
    return Mixer(img_size=img_size, patch_size=patch_size, num_blocks=num_blocks, embed_dim=embed_dim, num_classes=num_classes)
