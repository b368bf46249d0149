"""Classes of a graph's nodes: each layer averages over the neighbours of every node.

Kipf, Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GraphConvolution(nn.Module):
    """adjacency @ features @ weight + bias."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_in, c_out))
        self.bias = nn.Parameter(torch.empty(c_out))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(c_out**-0.5), c_out**-0.5)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """(V, c_in) and (V, V) -> (V, c_out)."""
        return torch.mm(adj, torch.mm(x, self.weight)) + self.bias


class GCN(nn.Module):
    """Two graph convolutions."""

    def __init__(self, features: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.gc1 = GraphConvolution(features, hidden)
        self.gc2 = GraphConvolution(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """The nodes (V, features) and the normalised adjacency (V, V), dense or sparse -> log-probabilities (V, classes)."""
        x = self.dropout(functional.relu(self.gc1(x, adj)))
        return functional.log_softmax(self.gc2(x, adj), dim=1)


def gcn(*, nfeat: int = 1433, nhid: int = 16, nclass: int = 7, dropout: float = 0.5) -> GCN:
    """GCN for the citations of Cora."""
    return GCN(nfeat, nhid, nclass, dropout)
