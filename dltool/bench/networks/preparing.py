"""From a case to its step: the model is made, its reference taken, converted, compiled, and run a first time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dltool import catalog
from dltool.bench import Prepared, resident
from dltool.bench.devices import Device, Step
from dltool.bench.networks import checking, examining, graphs, making
from dltool.bench.networks.making import Network
from dltool.bench.workloads import kit
from dltool.model_results import Prediction
from dltool.results import Verified, Work

if TYPE_CHECKING:
    from dltool.bench.workloads.model import Model


def prepared(torch: Any, case: Model, device: Device) -> Prepared:
    """The step of a case on a device, what checks its result, and what looks into it afterwards."""
    before, began = resident.now(), time.perf_counter()
    subject = making.subject_of(case.model, making.options_of(case.options), case.input or None)
    made = making.network(torch, subject, device, case.how, batch=case.batch, training=case.training, weights=case.weights)
    known = checking.reference(made, training=case.training)
    formed = _training(case, made) if case.training else _inference(case, made)
    build_s = time.perf_counter() - began
    examining.forget_peak(device, torch)
    torch.manual_seed(0)
    first_s = making.first(made, formed.step)
    first_loss = float(formed.result()) if case.training else 0.0
    flops = examining.operations(subject, case.batch, training=case.training)
    looked = examining.Examined(
        made=made, step=formed.step, split=case.training and case.graph == "no", batch=case.batch, flops=flops,
        peak=kit.compute_peak(case.dtype, device), before_bytes=before, first_step_s=first_s, build_s=build_s,
        notes=[formed.note] if formed.note else [], predicted=lambda seconds: predicted(case, made, seconds),
    )  # fmt: skip

    def verify() -> Verified:
        if case.training:
            return checking.of_loss(first_loss, float(formed.result()), known)
        found, looked.accuracy = checking.of_outputs(formed.result(), known, case.how.tolerance)
        return found

    work = Work(ops=flops.ops) if flops is not None else None
    return Prepared(formed.step, verify, work, on_host=formed.blocks, examine=looked.figures)


@dataclass(frozen=True, slots=True)
class _Formed:
    """What is timed."""

    step: Step
    result: Callable[[], Any]
    """The loss or the outputs of the last step."""
    note: str = ""
    blocks: bool = False
    """Whether the step waits for its own end."""


def _training(case: Model, made: Network) -> _Formed:
    note = making.converted(made, layout=case.layout)
    _compile(case, made)
    making.with_optimizer(made, case.optimizer, capturable=case.graph == "yes")
    return _eager(case, made, made.train, note)


def _inference(case: Model, made: Network) -> _Formed:
    if case.backend != "eager":
        from dltool.bench.networks import backends

        built = backends.built(case.backend, made.model, made.inputs, device=made.device, precision=case.precision)
        return _Formed(built.step, built.outputs, built.note, built.blocks)
    note = making.converted(made, layout=case.layout)
    _compile(case, made)
    return _eager(case, made, made.forward, note)


def _compile(case: Model, made: Network) -> None:
    if case.compile:
        made.model.compile(mode=None if case.compile == "default" else case.compile)


def _eager(case: Model, made: Network, once: Callable[[], Any], note: str) -> _Formed:
    left: list[Any] = []

    def step() -> None:
        left[:] = [once()]

    return _Formed(graphs.captured(made, step) if case.graph == "yes" else step, lambda: left[0], note)


def predicted(case: Model, made: Network, seconds: float) -> tuple[Prediction, ...]:
    """The same step on other boards, by what it took here where that is a GPU."""
    from dltool.bench import prediction
    from dltool.bench.networks.traffic import traffic_of

    if not case.compare:
        return ()
    subject, unit = made.subject, examining.counted_units(made.subject, made.inputs, case.batch)
    traffic = traffic_of(subject, case.batch, case.precision, case.mode, optimizer=case.optimizer, fused=bool(case.compile))
    here = prediction.Here(board=made.device.board, seconds=seconds) if made.device.kind == "cuda" else None
    boards = (catalog.board(name) for name in case.compare.split(";"))
    return tuple(prediction.predict(traffic, one, here=here, unit=unit[0], units=unit[1]) for one in boards)
