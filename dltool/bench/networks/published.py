"""Steps of the models that figures are published of, as far as the zoo has them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from dltool.bench.networks.traffic import traffic_of
from dltool.bench.published_models import Counterpart, counterparts
from dltool.bench.traffic import Traffic
from dltool.zoo import memory
from dltool.zoo.entries import entries, entry
from dltool.zoo.inputs import tensors
from dltool.zoo.subject import Subject, of_entry


def step_traffic(model: Counterpart, mode: str, precision: str, batch: int, compiled: bool) -> Traffic:
    """The operations of a step as the publisher made it.

    Args:
        model: that the figure is of.
        mode: "train" or "infer".
        precision: as of `traffic_of`.
        batch: samples.
        compiled: whether chains of element-wise operations are one kernel.
    """
    return _step_traffic(counterparts().index(model), mode, precision, batch, compiled)


@cache
def _step_traffic(number: int, mode: str, precision: str, batch: int, compiled: bool) -> Traffic:
    model = counterparts()[number]
    optimizer = model.optimizer if model.optimizer in memory.OPTIMIZERS else "adamw"  # LAMB and RMSprop keep state as Adam does
    return traffic_of(subject_of(model), batch, precision, mode, optimizer=optimizer, fused=compiled)


def subject_of(model: Counterpart) -> Subject:
    """The model of the zoo, or the variant that has these options, with the inputs of the publisher."""
    variants = (one for one in entries() if one.name == model.name and one.options == dict(model.options))
    made = of_entry(next(variants, entry(model.name)), dict(model.options))
    return replace(made, inputs=partial(tensors, model.input))
