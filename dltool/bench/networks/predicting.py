"""What a model would do on a board that is not here: a training step and inference, without running anything."""

from __future__ import annotations

from dltool.bench.networks.traffic import PRECISIONS, traffic_of
from dltool.bench.prediction import predict
from dltool.catalog import Board
from dltool.errors import CannotRun
from dltool.model_results import Prediction
from dltool.zoo.flops import LEAST
from dltool.zoo.subject import Subject, samples

_ALSO = {"mixed": "amp-bf16"}
_MEMORY = {"tf32": "fp32", "amp-bf16": "mixed", "amp-fp16": "mixed"}


def foreseen(
    subject: Subject, board: Board, *, batch: int = 1, precision: str = "fp32", optimizer: str = "adamw"
) -> tuple[Prediction, ...]:
    """Training step and inference on a board.

    Args:
        subject: the model.
        board: of the catalogue.
        batch: samples; two at least in the training step, as batch norm over single values needs.
        precision: one of `PRECISIONS`, or "mixed", which is "amp-bf16".
        optimizer: of the training step, see `dltool.zoo.memory.OPTIMIZERS`.

    Raises:
        UsageError: an unknown precision or optimizer.
        CannotRun: a peak or the bandwidth of the board is not known, or the model's step cannot be recorded.
    """
    name = _ALSO.get(precision, precision)
    try:
        sizes = {"train": samples(subject, max(batch, LEAST)), "infer": samples(subject, batch)}
        steps = [traffic_of(subject, size, name, mode, optimizer=optimizer) for mode, size in sizes.items()]
    except RuntimeError as error:
        remedy = "Leave --predict out; what runs can be measured."
        raise CannotRun(f"a step of {subject.name} cannot be recorded: {error}", remedy=remedy) from error
    return tuple(predict(one, board) for one in steps)


def memory_dtype(precision: str) -> str:
    """How `dltool.zoo.memory` calls a precision: by what weights and activations take."""
    return _MEMORY.get(precision, precision) if precision in PRECISIONS else precision
