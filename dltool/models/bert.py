"""BERT: an encoder that reads a text from both sides at once, with the heads of its pre-training and of SQuAD.

Devlin et al. 2018, BERT: Pre-training of Deep Bidirectional Transformers. Names as in the checkpoints that everyone loads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-12
_DROPOUT = 0.1


class Encoded(NamedTuple):
    """What BERT says of a text: (N, T, width), and (N, width) drawn from its first token."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None


class PreTraining(NamedTuple):
    """Logits of the masked tokens, (N, T, vocab_size), and of whether the second sentence follows the first, (N, 2)."""

    prediction_logits: Tensor
    seq_relationship_logits: Tensor


class Span(NamedTuple):
    """Logits of where an answer starts and ends, each (N, T)."""

    start_logits: Tensor
    end_logits: Tensor


class Embeddings(nn.Module):
    """What a token is, where it stands and in which of two sentences."""

    def __init__(self, width: int, vocab_size: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, ids: Tensor, sentences: Tensor | None, places: Tensor | None) -> Tensor:
        """(N, T) -> (N, T, width)."""
        if sentences is None:
            sentences = torch.zeros_like(ids)
        if places is None:
            places = torch.arange(ids.shape[1], device=ids.device)
        x = self.word_embeddings(ids) + self.token_type_embeddings(sentences) + self.position_embeddings(places)
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    """Every token looks at every token that is no padding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        dropout = _DROPOUT if self.training else 0.0
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return out.transpose(1, 2).flatten(2)


class Added(nn.Module):
    """A linear layer whose output is added to what came in before, then normed."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(c_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(N, T, c_in) and (N, T, width) -> (N, T, width)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + before)


class Layer(nn.Module):
    """Attention and a network four times as wide, each added and normed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(width, heads), "output": Added(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = Added(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class BertModel(nn.Module):
    """Embeddings, layers and, on top of the first token, the pooler.

    Args:
        layers, width, heads, vocab_size, positions: its size.
        pooler: whether there is one.
    """

    def __init__(self, layers: int, width: int, heads: int, vocab_size: int, positions: int, *, pooler: bool = True) -> None:
        super().__init__()
        self.embeddings = Embeddings(width, vocab_size, positions)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width, heads) for _ in range(layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)}) if pooler else None
        self.apply(initialise)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Encoded:
        """(N, T) -> (N, T, width) and (N, width).

        Args:
            input_ids: the tokens.
            attention_mask: (N, T), 0 where a token is padding.
            token_type_ids: (N, T), 0 in the first sentence and 1 in the second; all 0 by default.
            position_ids: (N, T), where the tokens stand; one after the other by default.
        """
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return Encoded(x, None if self.pooler is None else self.pooler["dense"](x[:, 0]).tanh())


class Predictions(nn.Module):
    """The masked tokens' logits: a layer, then the embedding of the tokens once more."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        vocab_size, width = embedding.weight.shape
        self.transform = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=_EPS)})
        self.decoder = nn.Linear(width, vocab_size)
        self.apply(initialise)
        self.decoder.weight = embedding.weight
        self.bias = self.decoder.bias  # under both names in the checkpoints

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, vocab_size)."""
        return self.decoder(self.transform["LayerNorm"](functional.gelu(self.transform["dense"](x))))


class BertForPreTraining(nn.Module):
    """BERT with both heads of its pre-training."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        relationship = nn.Linear(bert.embeddings.word_embeddings.embedding_dim, 2)
        initialise(relationship)
        self.cls = nn.ModuleDict(
            {"predictions": Predictions(bert.embeddings.word_embeddings), "seq_relationship": relationship}
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> PreTraining:
        """(N, T) -> (N, T, vocab_size) and (N, 2); the arguments are those of `BertModel`."""
        x, pooled = self.bert(input_ids, attention_mask, token_type_ids, position_ids)
        return PreTraining(self.cls["predictions"](x), self.cls["seq_relationship"](pooled))


class BertForQuestionAnswering(nn.Module):
    """BERT that marks the answer to a question in the text behind it."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.qa_outputs = nn.Linear(bert.embeddings.word_embeddings.embedding_dim, 2)
        initialise(self.qa_outputs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Span:
        """(N, T) -> (N, T) twice; the arguments are those of `BertModel`."""
        x, _ = self.bert(input_ids, attention_mask, token_type_ids, position_ids)
        start, end = self.qa_outputs(x).unbind(-1)
        return Span(start, end)


def initialise(module: nn.Module) -> None:
    """Source: google-research/bert, initializer_range of its published configurations."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx] = 0


def bert_base(
    *,
    head: str = "",
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    vocab_size: int = 30522,
    max_position_embeddings: int = 512,
) -> BertModel | BertForPreTraining | BertForQuestionAnswering:
    """BERT base; with head=pretraining or head=question-answering that of a task on top."""
    make = {"": None, "pretraining": BertForPreTraining, "question-answering": BertForQuestionAnswering}
    if head not in make:
        raise ValueError(f"head={head}: there are {', '.join(filter(None, make))}")
    bert = BertModel(layers, width, heads, vocab_size, max_position_embeddings, pooler=head != "question-answering")
    top = make[head]
    return bert if top is None else top(bert)


def bert_large(
    *,
    head: str = "",
    layers: int = 24,
    width: int = 1024,
    heads: int = 16,
    vocab_size: int = 30522,
    max_position_embeddings: int = 512,
) -> BertModel | BertForPreTraining | BertForQuestionAnswering:
    """BERT large; heads as those of BERT base."""
    sizes = {"layers": layers, "width": width, "heads": heads}
    return bert_base(head=head, vocab_size=vocab_size, max_position_embeddings=max_position_embeddings, **sizes)
