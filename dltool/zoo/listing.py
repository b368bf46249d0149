"""Models as their rows describe them: what needs no torch, and next to no time."""

from __future__ import annotations

from dltool.errors import unknown_name
from dltool.model_results import Model
from dltool.zoo.entries import Entry, entries


def listed(task: str | None = None) -> tuple[Model, ...]:
    """Every model by its row alone, in order of task and year; no torch is loaded.

    Raises:
        UsageError: no model has this task.
    """
    models = [found for found in entries() if not found.options]
    tasks = {found.task for found in models}
    if task is not None and task not in tasks:
        raise unknown_name("task", task, tasks)
    order = list(dict.fromkeys(found.task for found in models))
    chosen = (found for found in models if task in (None, found.task))
    return tuple(row(found) for found in sorted(chosen, key=lambda found: (order.index(found.task), found.year)))


def row(found: Entry) -> Model:
    """What the table says of a model."""
    variants = (other.label for other in entries() if other.name == found.name and other.options)
    return Model(
        name=found.name,
        options=found.options,
        title=found.title,
        task=found.task,
        input=found.input,
        year=found.year,
        paper=found.paper,
        published=found.published,
        reference=found.reference,
        source=found.source,
        params=found.params,
        forward_gflops=found.forward_gflops,
        variants=tuple(variants),
    )
