"""Image classifiers against torchvision and timm; CLIP against transformers. Keys in full size, outputs in small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_parity import audible, randomised, same_keys, same_outputs
from zoo_references import timm, torchvision, transformers

from dltool import models
from dltool.models.layers import StochasticDepth

OF_TIMM = {"seresnet50": "seresnet50", "mixer_b_16": "mixer_b16_224"}


def of_torchvision(module: str, name: str) -> Any:
    torchvision()
    return getattr(import_module(f"torchvision.models.{module}"), name)


def small_convnext() -> nn.Module:
    stage = of_torchvision("convnext", "CNBlockConfig")
    return of_torchvision("convnext", "ConvNeXt")([stage(8, 12, 2), stage(12, 16, 1), stage(16, None, 2)])


def small_mixer() -> nn.Module:
    return timm().models.mlp_mixer.MlpMixer(img_size=32, patch_size=8, num_blocks=2, embed_dim=32)


VIT: Mapping[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 48
}  # fmt: skip
SMALL: dict[str, tuple[Mapping[str, Any], Callable[[], nn.Module], int]] = {  # our options, theirs, side of the images
    "seresnet50": ({"layers": (1, 2, 1, 1)}, lambda: timm().create_model("seresnet50", layers=(1, 2, 1, 1)), 64),
    "densenet121": (
        {"growth_rate": 8, "block_config": (2, 3, 2), "num_init_features": 16},
        lambda: of_torchvision("densenet", "DenseNet")(8, (2, 3, 2), 16),
        64,
    ),
    "mobilenet_v2": ({"width_mult": 0.25}, lambda: torchvision().mobilenet_v2(width_mult=0.25), 64),
    "mobilenet_v3_large": ({"width_mult": 0.25}, lambda: torchvision().mobilenet_v3_large(width_mult=0.25), 64),
    "efficientnet_b0": ({}, lambda: torchvision().efficientnet_b0(), 64),
    "convnext_tiny": ({"depths": (2, 1, 2), "dims": (8, 12, 16)}, small_convnext, 64),
    "vit_b_16": (VIT, lambda: of_torchvision("vision_transformer", "VisionTransformer")(**VIT), 32),
    "swin_t": (  # maps of 18, 9 and 5 places: windows that fit not, that meet shifted, and one alone
        {"embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 4, 4)},
        lambda: of_torchvision("swin_transformer", "SwinTransformer")([4, 4], 16, [2, 2, 2], [2, 4, 4], [7, 7]),
        72,
    ),
    "mixer_b_16": ({"img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 32}, small_mixer, 32),
}


def reference(name: str) -> nn.Module:
    return timm().create_model(OF_TIMM[name]) if name in OF_TIMM else getattr(torchvision(), name)()


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_of_the_reference_fits(name: str) -> None:
    with torch.device("meta"):
        theirs = reference(name)
    same_keys(models.build(name, device="meta"), theirs)


@pytest.mark.parametrize("name", SMALL)
def test_gives_what_the_reference_gives(name: str) -> None:
    options, theirs, side = SMALL[name]
    same_outputs(models.build(name, **options), audible(theirs()), images(side))


def images(side: int) -> tuple[Tensor]:
    return (torch.randn(2, 3, side, side, dtype=torch.float64),)


CLIP: Mapping[str, Any] = {
    "vocab_size": 100, "max_position_embeddings": 12, "eos_token_id": 99, "image_size": 32, "patch_size": 8,
    "projection_dim": 24, "text_width": 32, "vision_width": 48, "head_dim": 16, "num_hidden_layers": 2,
}  # fmt: skip
SAID = ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds")


def small_clip() -> nn.Module:
    text = {"vocab_size": 100, "max_position_embeddings": 12, "eos_token_id": 99, "hidden_size": 32, "intermediate_size": 128}
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 3}
    layers = {"num_hidden_layers": 2}
    text, vision = {**text, **layers, "num_attention_heads": 2}, {**vision, **layers}
    return transformers().CLIPModel(transformers().CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))


def test_a_checkpoint_of_clip_fits() -> None:
    with torch.device("meta"):
        theirs = transformers().CLIPModel(transformers().CLIPConfig())
    same_keys(models.build("clip_vit_b_32", device="meta"), theirs)


@pytest.mark.parametrize("padded", [False, True])
def test_clip_gives_what_the_reference_gives(padded: bool) -> None:
    ids = torch.tensor([[5, 7, 99, 0, 0, 0], [8, 3, 2, 1, 4, 6], [1, 99, 99, 7, 7, 7]])  # ends within, nowhere, twice
    mask = ((torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6, [1, 1, 0, 0, 0, 0]])),) if padded else ()
    inputs = (ids, *images(32), *mask)
    ours = models.build("clip_vit_b_32", **CLIP)
    same_outputs(ours, small_clip(), inputs, ask=lambda model, given: [model(*given)[key] for key in SAID])
    assert tuple(ours(*inputs)) == SAID


def test_the_contrastive_loss_is_that_of_the_reference() -> None:
    from dltool.zoo.tasks import task

    theirs, ours = randomised(small_clip()), models.build("clip_vit_b_32", **CLIP).double()
    ours.load_state_dict(theirs.state_dict())
    inputs = (torch.randint(100, (2, 12)), *images(32))
    of = task("image-text-contrastive")
    found = of.loss(ours, inputs, of.targets(ours, inputs, torch.Generator()))
    assert found.item() == pytest.approx(theirs(*inputs, return_loss=True).loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "old"),
    [
        ("densenet121", SMALL["densenet121"][0], lambda key: key.replace("norm1", "norm.1").replace("conv2", "conv.2")),
        ("vit_b_16", VIT, lambda key: key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")),
    ],
)
def test_checkpoints_with_the_names_of_their_day_fit(name: str, options: Mapping[str, Any], old: Callable[[str], str]) -> None:
    there, here = models.build(name, **options), models.build(name, **options)
    published = {old(key): value for key, value in there.state_dict().items()}
    assert published.keys() != there.state_dict().keys()
    here.load_state_dict(published)
    for found, wanted in zip(here.state_dict().values(), there.state_dict().values(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_checkpoints_of_clip_that_number_the_places_fit() -> None:
    model = models.build("clip_vit_b_32", **CLIP)
    places = {f"{tower}_model.embeddings.position_ids": torch.arange(12)[None] for tower in ("text", "vision")}
    model.load_state_dict({**model.state_dict(), **places})
    with pytest.raises(RuntimeError, match="position_ids"):
        model.load_state_dict({**model.state_dict(), "position_ids": torch.arange(12)})


def test_stochastic_depth_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    branch = StochasticDepth(0.25)
    given = torch.ones(4000, 2, 3)
    out = branch(given)
    kept = out[:, 0, 0] > 0
    torch.testing.assert_close(out[kept], given[kept] / 0.75)
    assert not out[~kept].any()
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert branch.eval()(given) is given
