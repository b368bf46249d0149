"""An image as a sentence of patches, read by a transformer encoder.

Dosovitskiy et al. 2020, An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, section 3.1, table 1.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from dltool.models.layers import Mlp, rename

_EPS = 1e-6


class MlpBlock(Mlp):
    """The encoder's two layers; a checkpoint may call them `linear_1` and `linear_2`."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        rename(state_dict, prefix, {"linear_1.": "0.", "linear_2.": "3."})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class EncoderBlock(nn.Module):
    """Attention, then two layers for each token; each is normalised before and added to its input."""

    def __init__(self, hidden: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden, eps=_EPS)
        self.self_attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(hidden, eps=_EPS)
        self.mlp = MlpBlock(hidden, mlp, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, hidden) -> the same shape."""
        seen = self.ln_1(x)
        attended, _ = self.self_attention(seen, seen, seen, need_weights=False)
        x = x + self.dropout(attended)
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Learnt positions, blocks, norm."""

    def __init__(self, tokens: int, layers: int, hidden: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, hidden).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        blocks = ((f"encoder_layer_{n}", EncoderBlock(hidden, heads, mlp, dropout)) for n in range(layers))
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(hidden, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, hidden) -> the same shape."""
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Patches and a class token through the encoder; the class token's end is classified."""

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, hidden_dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        tokens = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(tokens, num_layers, hidden_dim, num_heads, mlp_dim, dropout)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(hidden_dim, num_classes)))
        self._initialise()

    def _initialise(self) -> None:
        """Source: appendix D.1 of the paper and its published code; the classifier starts at zero."""
        nn.init.trunc_normal_(self.conv_proj.weight, std=(3 * self.conv_proj.kernel_size[0] ** 2) ** -0.5)
        nn.init.zeros_(self.conv_proj.bias)
        for module in self.encoder.modules():
            if isinstance(module, Mlp):
                for layer in (module[0], module[3]):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.normal_(layer.bias, std=1e-6)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, image_size, image_size) -> (N, num_classes)."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)  # (N, patches, hidden)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], 1)
        return self.heads(self.encoder(tokens)[:, 0])


def vit_b_16(
    *,
    num_classes: int = 1000,
    image_size: int = 224,
    patch_size: int = 16,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden_dim: int = 768,
    mlp_dim: int = 3072,
    dropout: float = 0.0,
) -> nn.Module:
    """ViT-B/16."""
    return VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        mlp_dim=mlp_dim,
        dropout=dropout,
        num_classes=num_classes,
    )
