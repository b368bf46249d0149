"""Recurrent layers, and the language models made of them.

Hochreiter, Schmidhuber 1997, Long Short-Term Memory; Cho et al. 2014, Learning Phrase Representations (GRU); Zaremba,
Sutskever, Vinyals 2014, Recurrent Neural Network Regularization (the language model). Time comes first: (T, N, ...).
"""

from __future__ import annotations

from torch import Tensor, nn


class LanguageModel(nn.Module):
    """Words embedded, recurrent layers, logits of the next word; head and embedding are two.

    Args:
        rnn: the layers, as wide as the words.
        vocab_size: words.
        dropout: of what goes up from layer to layer, never of what goes on in time.
        spread: every weight starts evenly within this of 0.
    """

    def __init__(self, rnn: nn.LSTM | nn.GRU, vocab_size: int, dropout: float, spread: float) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, rnn.input_size)
        self.rnn = rnn
        self.decoder = nn.Linear(rnn.hidden_size, vocab_size)
        self.drop = nn.Dropout(dropout)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -spread, spread)

    def forward(
        self, ids: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """(T, N) -> logits (T, N, vocab_size) of the word after each, and the state after the last.

        Args:
            ids: words.
            state: what came before left it: of a GRU (layers, N, width), of an LSTM two of them, hidden and cell.
        """
        out, state = self.rnn(self.drop(self.encoder(ids)), state)
        return self.decoder(self.drop(out)), state


_SIZES = {"small": (200, 0.0, 0.1), "medium": (650, 0.5, 0.05), "large": (1500, 0.65, 0.04)}
"""Width, dropout and spread. Source: Zaremba et al. 2014, section 4.1, and its code for the small one."""


def lstm_lm(*, size: str = "medium", layers: int = 2, width: int = 0, vocab_size: int = 10000) -> LanguageModel:
    """Zaremba's LSTM language model, small, medium or large; a width other than 0 is taken in place of the size's."""
    if size not in _SIZES:
        raise ValueError(f"size={size}: there are {', '.join(_SIZES)}")
    wide, dropout, spread = _SIZES[size]
    return LanguageModel(nn.LSTM(width or wide, width or wide, layers, dropout=dropout), vocab_size, dropout, spread)


def gru_lm(*, layers: int = 2, width: int = 650, vocab_size: int = 10000) -> LanguageModel:
    """The medium language model with GRUs in place of LSTMs."""
    _, dropout, spread = _SIZES["medium"]
    return LanguageModel(nn.GRU(width, width, layers, dropout=dropout), vocab_size, dropout, spread)


def lstm_layer(*, width: int = 256) -> nn.LSTM:
    """One LSTM layer."""
    return nn.LSTM(width, width)


def gru_layer(*, width: int = 256) -> nn.GRU:
    """One GRU layer."""
    return nn.GRU(width, width)
