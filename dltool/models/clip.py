"""Texts and images as points of one space, where a text lies near the images that it describes.

Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, section 2, figure 3.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_TEMPERATURE = 0.07
"""Of the similarities at the start of training. Source: section 2.5 of the paper."""


class Attention(nn.Module):
    """Multi-head attention with a projection each for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """(N, tokens, width) -> the same shape; the mask is true where a token may be seen."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with a quick approximation of GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class EncoderLayer(nn.Module):
    """Attention, then two layers for each token; each is normalised before and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        x = x + self.self_attn(self.layer_norm1(x), mask, causal)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The layers of either tower."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        for layer in self.layers:
            _initialise(layer, width, layers)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        for layer in self.layers:
            x = layer(x, mask, causal)
        return x


def _initialise(layer: EncoderLayer, width: int, layers: int) -> None:
    """Branches start smaller the more there are of them. Source: the paper's published code."""
    inside, branch = width**-0.5, (2 * layers * width) ** -0.5
    attention, mlp = layer.self_attn, layer.mlp
    deviations = {attention.q_proj: branch, attention.k_proj: branch, attention.v_proj: branch, attention.out_proj: inside}
    for linear, deviation in (deviations | {mlp.fc1: (2 * width) ** -0.5, mlp.fc2: branch}).items():
        nn.init.normal_(linear.weight, std=deviation)
        nn.init.zeros_(linear.bias)


class Embeddings(nn.Module):
    """What becomes the tokens of a tower; older checkpoints also hold the numbers of the places."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}position_ids", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class TextEmbeddings(Embeddings):
    """Tokens and their places."""

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(length, width)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, tokens) -> (N, tokens, width)."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextModel(nn.Module):
    """A causal transformer; a text is what its end token has seen."""

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, layers: int, end: int) -> None:
        super().__init__()
        self.end = end
        self.embeddings = TextEmbeddings(vocabulary, length, width)
        self.encoder = Encoder(width, heads, layers)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(N, tokens) -> (N, width): the first end token, or the first token of a text without one."""
        mask = None
        if attention_mask is not None:
            before = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
            mask = before & attention_mask.bool()[:, None, None]  # (N, 1, tokens, tokens)
        x = self.final_layer_norm(self.encoder(self.embeddings(ids), mask, causal=True))
        ends = (ids == self.end).int().argmax(1)
        return x[torch.arange(x.shape[0], device=x.device), ends]


class VisionEmbeddings(Embeddings):
    """A class token and patches, with their places."""

    def __init__(self, image: int, patch: int, width: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((image // patch) ** 2 + 1, width)
        for part in (self.patch_embedding, self.position_embedding):
            nn.init.normal_(part.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1 + patches, width)."""
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(images.shape[0], 1, -1), patches], 1)
        return tokens + self.position_embedding.weight


class VisionModel(nn.Module):
    """A vision transformer; an image is what its class token has seen."""

    def __init__(self, image: int, patch: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(image, patch, width)
        self.pre_layrnorm = nn.LayerNorm(width)
        self.encoder = Encoder(width, heads, layers)
        self.post_layernorm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, width)."""
        return self.post_layernorm(self.encoder(self.pre_layrnorm(self.embeddings(images)))[:, 0])


class Clip(nn.Module):
    """Both towers, projected into one space."""

    def __init__(self, text: TextModel, vision: VisionModel, text_width: int, vision_width: int, shared: int) -> None:
        super().__init__()
        self.text_model = text
        self.vision_model = vision
        self.visual_projection = nn.Linear(vision_width, shared, bias=False)
        self.text_projection = nn.Linear(text_width, shared, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))
        for layer in (self.visual_projection, self.text_projection):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Similarities of every text with every image.

        Args:
            input_ids: (texts, tokens).
            pixel_values: (images, 3, H, W).
            attention_mask: (texts, tokens), 0 for padding.
        """
        images = functional.normalize(self.visual_projection(self.vision_model(pixel_values)), dim=-1)
        texts = functional.normalize(self.text_projection(self.text_model(input_ids, attention_mask)), dim=-1)
        similar = self.logit_scale.exp() * texts @ images.T
        return {"logits_per_image": similar.T, "logits_per_text": similar, "text_embeds": texts, "image_embeds": images}


def clip_vit_b_32(
    *,
    vocab_size: int = 49408,
    max_position_embeddings: int = 77,
    eos_token_id: int = 49407,
    image_size: int = 224,
    patch_size: int = 32,
    projection_dim: int = 512,
    text_width: int = 512,
    vision_width: int = 768,
    head_dim: int = 64,
    num_hidden_layers: int = 12,
) -> nn.Module:
    """CLIP with ViT-B/32."""
    text = TextModel(vocab_size, max_position_embeddings, text_width, text_width // head_dim, num_hidden_layers, eos_token_id)
    vision = VisionModel(image_size, patch_size, vision_width, vision_width // head_dim, num_hidden_layers)
    return Clip(text, vision, text_width, vision_width, projection_dim)
