"""Every model of the zoo: counts, a step of its real task, what may be made of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_parity import count
from zoo_small import Small, all_small

from dltool.zoo import Entry, build, entries
from dltool.zoo.building import factory
from dltool.zoo.inputs import tensors
from dltool.zoo.tasks import Task, task

MODELS = [entry for entry in entries() if not entry.options]
SMALL = all_small()
every_model = pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)


def small(entry: Entry) -> Small:
    return SMALL[entry.name]


def prepared(entry: Entry, batch: int = 2) -> tuple[nn.Module, tuple[torch.Tensor, ...], Task]:
    """A small model in train mode, its inputs and its task."""
    torch.manual_seed(0)
    model = build(entry.name, training=True, **small(entry).options).train()
    return model, tensors(small(entry).input or entry.input, batch), task(entry.task)


def targets_of(model: nn.Module, inputs: tuple[torch.Tensor, ...], of: Task) -> object:
    return of.targets(model, inputs, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.label)
def test_it_has_as_many_parameters_as_its_row_says(entry: Entry) -> None:
    assert count(build(entry.name, device="meta", **entry.options)) == entry.params


def test_each_model_has_one_row_without_options_and_a_small_form() -> None:
    assert len({entry.label for entry in entries()}) == len(entries())
    assert {entry.name for entry in entries()} == {entry.name for entry in MODELS} == set(SMALL)


@every_model
def test_its_function_says_what_it_is(entry: Entry) -> None:
    assert factory(entry).__doc__


@every_model
def test_a_training_step_has_finite_gradients_for_every_parameter(entry: Entry) -> None:
    model, inputs, of = prepared(entry)
    loss = of.loss(model, inputs, targets_of(model, inputs, of))
    assert loss.ndim == 0
    assert loss.isfinite()
    loss.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert not without


@every_model
def test_it_runs_in_eval_mode(entry: Entry) -> None:
    model, inputs, _ = prepared(entry)
    with torch.no_grad():
        first, second = (model.eval()(*inputs) for _ in range(2))
    torch.testing.assert_close(first, second)


@every_model
def test_a_training_step_in_bf16(entry: Entry) -> None:
    model, inputs, of = prepared(entry)
    model.bfloat16()
    inputs = tuple(x.bfloat16() if x.is_floating_point() else x for x in inputs)
    loss = of.loss(model, inputs, targets_of(model, inputs, of))
    assert loss.isfinite()
    if isinstance(reason := small(entry).bf16, str):
        pytest.skip(reason)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("entry", [e for e in MODELS if small(e).overfits], ids=lambda entry: entry.name)
def test_it_learns_one_batch_by_heart(entry: Entry) -> None:
    model, inputs, of = prepared(entry)
    targets = targets_of(model, inputs, of)
    descent = torch.optim.Adam(model.parameters(), lr=small(entry).rate)
    losses = []
    for _ in range(small(entry).overfits):
        descent.zero_grad()
        loss = of.loss(model, inputs, targets)
        loss.backward()
        descent.step()
        losses.append(loss.item())
        if losses[-1] < losses[0] / 2:
            break
    assert losses[-1] < losses[0] / 2, losses


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # of torch's own recurrent layers
@pytest.mark.parametrize("entry", [e for e in MODELS if small(e).exports is True], ids=lambda entry: entry.name)
def test_it_can_be_exported(entry: Entry) -> None:
    model, inputs, _ = prepared(entry)
    exported = torch.export.export(model.eval(), inputs).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(*inputs), model(*inputs))


WHOLE = [e for e in MODELS if small(e).exports is small(e).compiles is True]


@pytest.mark.parametrize("entry", WHOLE, ids=lambda entry: entry.name)
def test_it_can_be_compiled_whole(entry: Entry) -> None:
    model, inputs, _ = prepared(entry)
    torch.compiler.reset()
    compiled = torch.compile(model.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), model(*inputs))
