#!/usr/bin/env python3
"""The zoo's forward pass against that of the implementation everyone means: same weights, same input, in turn.

python benchmarks/zoo_forward.py [SECONDS] [NAME ..]

Every sample of ours has one of theirs beside it; the figure is the median of these pairs. Batch 1, eval mode, at the input of
the catalogue; texts are cut to 64 tokens and pictures for segmentation to 256 pixels, so that a pass takes a moment here.
Detectors are left out: their time is that of how many boxes random weights happen to find.
"""

from __future__ import annotations

import operator
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import verdict
from torch import nn

from dltool.bench.interleave import alternate
from dltool.zoo import Entry, build, entries
from dltool.zoo.inputs import tensors

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import zoo_references as references

LIMIT = 1.05
TEXT, PICTURE = 64, 256
BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_base": ("BertConfig", {}),
    "bert_large": ("BertConfig", BERT_LARGE),
    "gpt2": ("GPT2Config", {}),
    "gpt2_medium": ("GPT2Config", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "t5_small": ("T5Config", {}),
    "clip_vit_b_32": ("CLIPConfig", {}),
}
DDPM = {
    "sample_size": 32, "block_out_channels": (128, 256, 256, 256), "layers_per_block": 2, "attention_head_dim": None,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "norm_eps": 1e-6, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip


def theirs(entry: Entry) -> nn.Module | None:
    """The reference of an entry, of its usual configuration; None where none is at hand."""
    package, _, name = entry.reference.partition(":")
    if entry.task in ("object-detection", "instance-segmentation"):
        return None
    if package == "torchvision":
        models = references.torchvision()
        make = operator.attrgetter(name)(models)
        if entry.task == "semantic-segmentation":
            return make(weights=None, weights_backbone=None, aux_loss=True)
        return make(weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {}))
    if package == "timm":
        return references.timm().create_model(name)
    if package == "transformers" and entry.name in CONFIGURATIONS:
        module = references.transformers()
        configuration, options = CONFIGURATIONS[entry.name]
        return getattr(module, name)(getattr(module, configuration)(**options))
    if package == "diffusers":
        return references.diffusers().UNet2DModel(**DDPM)
    if package == "monai":
        return references.monai().VNet(act="elu", bias=False)
    return None


def smaller(entry: Entry) -> str:
    """Its input, cut so that a pass takes a moment."""
    text = re.sub(r"(:N,)(\d+)(?=$| )", lambda match: f"{match[1]}{min(int(match[2]), TEXT)}", entry.input)
    if entry.task == "semantic-segmentation":
        text = re.sub(r"\d{3,}", lambda match: str(min(int(match[0]), PICTURE)), text)
    return text


def once(step: Callable[[], object]) -> Callable[[], float]:
    """A sampler of one step."""

    def sample() -> float:
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    return sample


def caller(entry: Entry, model: nn.Module, inputs: tuple[Any, ...], *, ours: bool) -> Callable[[], object]:
    """A pass of a model; those of transformers that take more than one input are called by its names."""
    names = {"clip_vit_b_32": ("input_ids", "pixel_values"), "t5_small": ("input_ids", "attention_mask", "decoder_input_ids")}
    if not ours and entry.name in names:
        named = dict(zip(names[entry.name], inputs, strict=True))
        return lambda: model(**named)
    return lambda: model(*inputs)


def compare(entry: Entry, other: nn.Module, seconds: float) -> bool:
    """One model: the median of ours over theirs, pair by pair."""
    mine = build(entry.name).eval()
    mine.load_state_dict(other.eval().state_dict())
    inputs = tensors(smaller(entry), 1)
    samplers = [once(caller(entry, mine, inputs, ours=True)), once(caller(entry, other, inputs, ours=False))]
    with torch.inference_mode():
        for sampler in samplers * 2:
            sampler()
        here, there = alternate(samplers, seconds, least=7)
    ratio = statistics.median(a / b for a, b in zip(here, there, strict=True))
    return verdict(f"{entry.name}: forward / {entry.reference}, {len(here)} pairs", ratio, LIMIT)


def main() -> int:
    arguments = sys.argv[1:]
    seconds = float(arguments.pop(0)) if arguments and re.fullmatch(r"[\d.]+", arguments[0]) else 10.0
    good = True
    for entry in entries():
        if entry.options or (arguments and entry.name not in arguments):
            continue
        other = theirs(entry)
        if other is not None:
            good &= compare(entry, other, seconds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
