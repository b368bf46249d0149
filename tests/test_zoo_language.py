"""BERT, GPT-2, T5 and Llama against transformers, the Transformer against torch's layers; caches and masks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from zoo_parity import close, randomised, same_keys, same_outputs
from zoo_references import transformers

from dltool import models
from dltool.models.llama import Rotary, Scaling
from dltool.zoo import entries

SMALL = {
    "bert": {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 50},
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 50},
    "t5": {"num_layers": 2, "d_model": 32, "num_heads": 4, "d_kv": 16, "d_ff": 64, "vocab_size": 50},
    "llama": {
        "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 64, "vocab_size": 50,
    },
}  # fmt: skip
OURS = {
    "bert": {"layers": 2, "width": 32, "heads": 4, "vocab_size": 50},
    "gpt2": {"layers": 2, "width": 32, "heads": 4, "vocab_size": 50},
    "t5": {"layers": 2, "width": 32, "heads": 4, "head_width": 16, "inner": 64, "vocab_size": 50},
    "llama": {"layers": 2, "width": 32, "inner": 64, "heads": 4, "kv_heads": 2, "vocab_size": 50},
}
ROPE_3_2 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
LARGE = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
FULL: dict[str, dict[str, Any]] = {
    "bert_base": {},
    "bert_large": LARGE,
    "gpt2": {},
    "gpt2_medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
    "gpt2_large": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
    "gpt2_xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25},
    "t5_small": {},
    "llama_3.2_1b": {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True,
    },
    "llama_3_8b": {"vocab_size": 128256, "intermediate_size": 14336, "num_hidden_layers": 32, "num_key_value_heads": 8},
    "llama_2_7b": {},
}  # fmt: skip
"""Configurations as published where they differ from the reference's defaults."""


def theirs(reference: str, **settings: Any) -> nn.Module:
    """The model of transformers, with torch's fused attention as ours."""
    module = transformers()
    family = next(name for name in ("Bert", "GPT2", "T5", "Llama") if name in reference)
    settings = {"attn_implementation": "sdpa", **settings}
    if family == "Llama":
        settings = {"rms_norm_eps": 1e-5, **settings}
    model = getattr(module, reference)(getattr(module, f"{family}Config")(**settings))
    model.tie_weights()
    return model


def asked(model: nn.Module, inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    """The reference's outputs, without its caches and the encoder's."""
    found = model(*inputs)
    wanted = (
        "logits", "prediction_logits", "seq_relationship_logits", "start_logits", "end_logits", "last_hidden_state",
        "pooler_output",
    )  # fmt: skip
    if hasattr(found, "logits"):
        return [found.logits]
    return [found[key] for key in wanted if key in found]


def texts(batch: int = 2, length: int = 13, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 50, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded(ids: torch.Tensor, missing: int = 4) -> torch.Tensor:
    """A mask under which the first text is shorter."""
    mask = torch.ones_like(ids)
    mask[0, -missing:] = 0
    return mask


@pytest.mark.parametrize("entry", [e for e in entries() if e.name in FULL], ids=lambda e: e.label)
def test_keys_and_shapes_at_full_size(entry: Any) -> None:
    with torch.device("meta"):
        reference = theirs(entry.reference.partition(":")[2], **FULL[entry.name])
    same_keys(models.build(entry.name, device="meta", **entry.options), reference)


@pytest.mark.parametrize(
    ("head", "reference"),
    [("", "BertModel"), ("pretraining", "BertForPreTraining"), ("question-answering", "BertForQuestionAnswering")],
)
def test_bert_equals_transformers(head: str, reference: str) -> None:
    ids = texts()
    types = (torch.arange(13) > 6).long().expand(2, -1)
    ours = models.build("bert_base", head=head, **OURS["bert"])
    for inputs in ((ids,), (ids, padded(ids), types), (ids, padded(ids), types, torch.arange(13).flip(0)[None])):
        same_outputs(ours, theirs(reference, **SMALL["bert"]), inputs, ask=asked)


def test_gpt2_equals_transformers() -> None:
    ids = texts()
    ours = models.build("gpt2", **OURS["gpt2"])
    for inputs in ((ids,), (ids, None, padded(ids))):
        same_outputs(ours, theirs("GPT2LMHeadModel", **SMALL["gpt2"]), inputs, ask=asked)


def test_t5_equals_transformers_also_beyond_its_farthest_distance() -> None:
    ids, so_far = texts(length=150), texts(length=140, seed=1)
    ours = models.build("t5_small", **OURS["t5"])
    for inputs in ((ids, None, so_far), (ids, padded(ids), so_far), (ids, padded(ids), so_far, padded(so_far))):
        same_outputs(ours, theirs("T5ForConditionalGeneration", **SMALL["t5"]), inputs, ask=asked)


def test_t5_asks_for_the_text_so_far() -> None:
    with pytest.raises(ValueError, match="decoder_input_ids"):
        models.build("t5_small", **OURS["t5"])(texts())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama_3.2_1b", {"rope_parameters": ROPE_3_2, "tie_word_embeddings": True}),
        ("llama_3_8b", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
        ("llama_2_7b", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    ],
)
def test_llama_equals_transformers(name: str, settings: dict[str, Any]) -> None:
    ids = texts()
    ours = models.build(name, **OURS["llama"])
    places = torch.arange(13).expand(2, -1) + torch.tensor([[0], [5]])
    for inputs in ((ids,), (ids, padded(ids)), (ids, padded(ids), places)):
        same_outputs(ours, theirs("LlamaForCausalLM", **SMALL["llama"], **settings), inputs, ask=asked)


def test_llama_3_2_slows_its_rotations_as_transformers_does() -> None:
    module = transformers()
    config = module.LlamaConfig(hidden_size=2048, num_attention_heads=32, rope_parameters=ROPE_3_2)
    expected, _ = module.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    found = Rotary(500000.0, Scaling()).frequencies(64, torch.device("cpu"))
    torch.testing.assert_close(found, expected)
    plain = Rotary(500000.0).frequencies(64, torch.device("cpu"))
    assert found[0] == plain[0]
    torch.testing.assert_close(found[-1], plain[-1] / 32)


@pytest.mark.parametrize(("name", "family"), [("gpt2", "gpt2"), ("llama_3.2_1b", "llama"), ("llama_2_7b", "llama")])
@pytest.mark.parametrize("steps", [(13,), (7, 1, 1, 1, 1, 1, 1), (4, 6, 3)], ids=["whole", "token by token", "in chunks"])
def test_a_cache_gives_what_the_whole_text_gives(name: str, family: str, steps: tuple[int, ...]) -> None:
    ids = texts()
    model = randomised(models.build(name, **OURS[family])).eval()
    cache = model.cache(2, 13)
    with torch.no_grad():
        found = [model(part, past_key_values=cache) for part in ids.split(steps, dim=1)]
        close(torch.cat(found, dim=1), model(ids))
    assert cache.seen == 13
    with pytest.raises(ValueError, match="13 positions cannot hold 14"):
        model(ids[:, :1], past_key_values=cache)


def test_a_cache_with_padding_gives_what_the_text_without_it_gives() -> None:
    """The text is padded on the left, as it is for generating; its places are told."""
    ids = texts(batch=1)
    model = randomised(models.build("llama_3_8b", **OURS["llama"])).eval()
    longer = torch.cat((torch.zeros(1, 3, dtype=torch.long), ids), dim=1)
    mask, places = (longer > 0).long(), (torch.arange(16) - 3).clamp(min=0)[None]
    cache = model.cache(1, 16)
    with torch.no_grad():
        first = model(longer[:, :10], mask[:, :10], places[:, :10], cache)
        rest = model(longer[:, 10:], mask, places[:, 10:], cache)
        close(torch.cat((first, rest), dim=1)[:, 3:], model(ids))


def test_what_comes_later_changes_nothing_before() -> None:
    for name, family in (("gpt2", "gpt2"), ("llama_3_8b", "llama")):
        model = randomised(models.build(name, **OURS[family])).eval()
        one, other = texts(), texts()
        other[:, 9:] = texts(seed=1)[:, 9:]
        with torch.no_grad():
            torch.testing.assert_close(model(one)[:, :9], model(other)[:, :9])
            assert not torch.allclose(model(one)[:, 9:], model(other)[:, 9:])


def test_the_transformer_equals_torchs_layers() -> None:
    ours = models.build("transformer_base", layers=2, width=32, heads=4, inner=64, vocab_size=50)
    layers = {"d_model": 32, "nhead": 4, "dim_feedforward": 64, "batch_first": True}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**layers), 2, enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layers), 2)
    reference = nn.ModuleDict({"embedding": nn.Embedding(50, 32), "encoder": encoder, "decoder": decoder})
    same_keys(ours, reference)
    src, tgt = texts(), texts(length=9, seed=1)
    hidden = padded(src) == 0

    def ask(model: nn.Module, inputs: tuple[Any, ...]) -> torch.Tensor:
        source, target = (model["embedding"](ids) * 32**0.5 + _positions(ids.shape[1], 32) for ids in inputs[:2])
        memory = model["encoder"](source, src_key_padding_mask=inputs[2] if len(inputs) > 2 else None)
        ahead = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
        padding = inputs[2] if len(inputs) > 2 else None
        return model["decoder"](target, memory, ahead, memory_key_padding_mask=padding) @ model["embedding"].weight.T

    for inputs in ((src, tgt), (src, tgt, hidden)):
        same_outputs(ours, reference, inputs, ask=ask)


def _positions(length: int, width: int) -> torch.Tensor:
    """As the paper writes them: sin(place / 10000^(2i / width)) and cos, in turn."""
    waves = (math.sin, math.cos)
    rows = [[waves[i % 2](place / 10000 ** (i // 2 * 2 / width)) for i in range(width)] for place in range(length)]
    return torch.tensor(rows, dtype=torch.float64)
