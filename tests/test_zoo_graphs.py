"""The network of graphs by its formula, on dense and on sparse adjacencies; graphs as inputs."""

from __future__ import annotations

import pytest
import torch
from zoo_parity import close, shapes

from dltool import models
from dltool.errors import UsageError
from dltool.zoo.inputs import tensors
from dltool.zoo.tasks import task

CORA = "float:2708,1433 + adjacency:2708,2708"


def test_has_the_keys_of_pygcn() -> None:
    expected = {"gc1.weight": (1433, 16), "gc1.bias": (16,), "gc2.weight": (16, 7), "gc2.bias": (7,)}
    assert shapes(models.build("gcn", device="meta")) == expected


@pytest.mark.parametrize("layout", [torch.strided, torch.sparse_coo], ids=["dense", "sparse"])
def test_is_the_formula_of_the_paper(layout: torch.layout) -> None:
    model = models.build("gcn").double().eval()
    features, adjacency = (x.double() for x in tensors(CORA, 1))
    kept = model.state_dict()
    hidden = (adjacency @ features @ kept["gc1.weight"] + kept["gc1.bias"]).relu()
    expected = (adjacency @ hidden @ kept["gc2.weight"] + kept["gc2.bias"]).log_softmax(1)
    given = adjacency if layout is torch.strided else adjacency.to_sparse()
    with torch.no_grad():
        close(model(features, given), expected)


def test_a_sparse_graph_can_be_trained_on() -> None:
    model = models.build("gcn", nfeat=5, nhid=4, nclass=2)
    features, adjacency = tensors("float:9,5 + adjacency:9,9", 1)
    of, inputs = task("node-classification"), (features, adjacency.to_sparse())
    of.loss(model, inputs, of.targets(model, inputs, torch.Generator())).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_a_graph_is_symmetric_with_self_loops_and_normalised() -> None:
    (graph,) = tensors("adjacency:300,300", 1, dtype=torch.float64)
    assert torch.equal(graph, graph.T)
    linked = (graph > 0).double()
    assert (linked.diagonal() == 1).all()
    degrees = linked.sum(1)
    torch.testing.assert_close(graph, linked / (degrees[:, None] * degrees).sqrt(), atol=1e-6, rtol=0)
    assert 3 < degrees.mean() - 1 < 4.1  # two edges a node, each with two ends, a few of them twice
    assert torch.linalg.eigvalsh(graph).max() == pytest.approx(1.0, abs=1e-5)


def test_a_graph_is_the_same_for_the_same_seed_and_a_shape_on_meta() -> None:
    text = "adjacency:50,50"
    first, again, other = (tensors(text, 3, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert tensors(text, 3, device="meta")[0].shape == (50, 50)


@pytest.mark.parametrize("text", ["adjacency:50", "adjacency:50,40", "adjacency:N,N", "adjacency:5,5,5"])
def test_what_is_no_adjacency_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no adjacency") as refused:
        tensors(text, 1)
    assert "adjacency:2708,2708" in refused.value.remedy


def test_twenty_nodes_of_each_class_are_known() -> None:
    model = models.build("gcn").eval()
    of, inputs = task("node-classification"), tensors(CORA, 1)
    known = of.targets(model, inputs, torch.Generator().manual_seed(0))
    assert known.bincount().tolist() == [20] * 7
    assert of.per_sample(inputs) == 2708
    with torch.no_grad():
        chosen = model(*inputs)[range(140), known]
        assert float(of.loss(model, inputs, known)) == pytest.approx(float(-chosen.mean()), rel=1e-5)
