"""What is learnt of language: targets and losses against what the papers say; what is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from zoo_families.language import SMALL

from dltool import models
from dltool.errors import UsageError
from dltool.zoo import entry
from dltool.zoo.inputs import tensors
from dltool.zoo.tasks import Inputs, Task, task


def made(name: str, **options: Any) -> tuple[nn.Module, Inputs, Task]:
    small = SMALL[name]
    model = models.build(name, **small.options, **options).eval()
    return model, tensors(small.input or entry(name).input, 3), task(entry(name).task)


def drawn(model: nn.Module, inputs: Inputs, of: Task) -> Any:
    return of.targets(model, inputs, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 16),
        ("llama_2_7b", 16),
        ("t5_small", 16),
        ("transformer_base", 16),
        ("lstm_lm", 7),
        ("gru_layer", 5),
        ("word2vec", 1),
    ],
)
def test_a_sample_counts_as_the_tokens_that_it_holds(name: str, count: int) -> None:
    _, inputs, of = made(name)
    assert of.per_sample(inputs) == count


def test_the_next_token_is_that_of_the_text() -> None:
    model, inputs, of = made("gpt2")
    successors = drawn(model, inputs, of)
    assert torch.equal(successors[:, :-1], inputs[0][:, 1:])
    logits = model(*inputs).log_softmax(-1)
    expected = -logits.gather(-1, successors[..., None]).mean()
    torch.testing.assert_close(of.loss(model, inputs, successors), expected)


def test_the_next_word_goes_along_time() -> None:
    model, inputs, of = made("lstm_lm")
    assert torch.equal(drawn(model, inputs, of)[:-1], inputs[0][1:])


def test_translation_smooths_its_labels() -> None:
    """Nine tenths for the right token, a tenth spread over all."""
    model, inputs, of = made("transformer_base")
    successors = drawn(model, inputs, of)
    assert torch.equal(successors[:, :-1], inputs[1][:, 1:])
    logits = model(*inputs).log_softmax(-1)
    right = logits.gather(-1, successors[..., None]).mean()
    torch.testing.assert_close(of.loss(model, inputs, successors), -(0.9 * right + 0.1 * logits.mean()))


def test_text_to_text_does_not() -> None:
    model, inputs, of = made("t5_small")
    successors = drawn(model, inputs, of)
    right = model(*inputs).log_softmax(-1).gather(-1, successors[..., None]).mean()
    torch.testing.assert_close(of.loss(model, inputs, successors), -right)


def test_a_sixth_of_berts_tokens_are_guessed() -> None:
    model, _, of = made("bert_base", head="pretraining")
    inputs = tensors("int<50:N,100", 4)
    tokens, follows = drawn(model, inputs, of)
    assert ((tokens >= 0).sum(dim=1) == 15).all()
    assert set(follows.tolist()) <= {0, 1}
    guessed, relation = model(*inputs)
    where = tokens >= 0
    of_tokens = -guessed[where].log_softmax(-1).gather(-1, tokens[where][:, None]).mean()
    of_relation = -relation.log_softmax(-1).gather(-1, follows[:, None]).mean()
    torch.testing.assert_close(of.loss(model, inputs, (tokens, follows)), of_tokens + of_relation)


def test_an_answer_starts_before_it_ends_and_both_places_are_learnt() -> None:
    model, inputs, _ = made("bert_base", head="question-answering")
    of = task("question-answering")
    first, last = drawn(model, inputs, of)
    assert (first <= last).all()
    starts, ends = (part.log_softmax(-1) for part in model(*inputs))
    expected = -(starts.gather(-1, first[:, None]).mean() + ends.gather(-1, last[:, None]).mean()) / 2
    torch.testing.assert_close(of.loss(model, inputs, (first, last)), expected)


def test_words_seen_and_words_drawn_are_told_apart() -> None:
    model, inputs, of = made("word2vec")
    seen, there = drawn(model, inputs, of)
    assert torch.equal(there.sum(dim=1), 6 * seen.sum(dim=1))  # five drawn to each seen
    chance = model(*inputs).squeeze(1).sigmoid()
    each = [
        -torch.where(s[t > 0] > 0, p[t > 0], 1 - p[t > 0]).log().mean() for p, s, t in zip(chance, seen, there, strict=True)
    ]
    torch.testing.assert_close(of.loss(model, inputs, (seen, there)), torch.stack(each).mean())


def test_the_language_model_goes_on_from_its_state() -> None:
    for name in ("lstm_lm", "gru_lm"):
        model, (ids,), _ = made(name)
        whole, _ = model(ids)
        first, state = model(ids[:3])
        rest, _ = model(ids[3:], state)
        torch.testing.assert_close(torch.cat((first, rest)), whole)


@pytest.mark.parametrize("options", [{"name": "bert_base", "head": "none"}, {"name": "lstm_lm", "size": "huge"}])
def test_an_unknown_head_or_size_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="there are"):
        models.build(**options)


def test_a_mask_of_ones_is_an_input() -> None:
    (mask,) = tensors("ones:N,3", 2)
    assert mask.tolist() == [[1, 1, 1], [1, 1, 1]]
    (shape,) = tensors("ones:N,3", 2, device="meta")
    assert shape.dtype == mask.dtype
