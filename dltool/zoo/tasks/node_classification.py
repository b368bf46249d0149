"""One class for each node of a graph, few of which are known; the negative log-likelihood of those.

Kipf, Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks, section 5.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_KNOWN = 20
"""Nodes of each class whose class is known: 140 of Cora's 2,708. Source: Kipf, Welling 2017, section 5.1."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """Classes of the nodes that are known, the first of the graph: 20 of each class, in random order."""
    with torch.no_grad():
        classes = model(*inputs).shape[1]
    known = torch.arange(classes).repeat(_KNOWN)[: len(inputs[0])]
    return known[torch.randperm(len(known), generator=chance)].to(inputs[0].device)


def loss(model: nn.Module, inputs: Inputs, classes: Tensor) -> Tensor:
    """Negative log-likelihood of the known nodes' classes; the model gives log-probabilities."""
    return functional.nll_loss(model(*inputs)[: len(classes)].float(), classes)


TASK = Task(unit="node", targets=targets, loss=loss, per_sample=lambda inputs: len(inputs[0]))
