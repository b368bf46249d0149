"""The input pipeline of a training: its stages, the loader as a whole, a step of a model, and both together."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dltool.bench import WORKLOADS, Prepared
from dltool.bench.devices import Device, import_torch
from dltool.bench.pipeline import checks, feeding, figures, images, loader, stages, training, verdict
from dltool.bench.pipeline.augmentations import parse
from dltool.bench.pipeline.dataset import Recipe, remade
from dltool.bench.pipeline.folder import Images
from dltool.bench.workloads.kit import check_choice
from dltool.results import Measurement, Work
from dltool.step_results import ModelStep

WHOLE = ("loader", "step", "together")
_EPOCH = 4
"""Batches of each worker in an epoch after which the workers end."""


@WORKLOADS.register("data")
@dataclass(frozen=True, kw_only=True)
class Data:
    """A batch of images through a part of the pipeline.

    The part is a stage (read, decode, resize, an augmentation, floats, collate, copy), the loader, the step of a model on
    images that are always there, or the step together with the loader.
    """

    stage: str = "loader"
    model: str = ""
    workers: int = 0
    """Of the loader; 0: the process of the training does it itself."""
    prefetch: int = 2
    pin: str = "no"
    persistent: str = "yes"
    """Whether workers go on after an epoch."""
    where: str = "cpu"
    """Where images are augmented: "cpu", in the workers, or "device"."""
    augment: str = "crop,flip,light"
    batch: int = 16
    side: int = 224
    """Of the images in the end."""
    channels: int = 3
    images: str = "made"
    """"made" by dltool, or those of the "folder"."""
    cpus: int = 0
    """What the process may use, by its affinity and the quota of its control group; 0: not known."""
    _source: ClassVar[Images | None] = None
    """No parameter: paths are nobody's business but of the run."""

    def __post_init__(self) -> None:
        check_choice("stage", self.stage, (*stages.STAGES, *WHOLE))
        check_choice("where", self.where, ("cpu", "device"))
        check_choice("pin", self.pin, ("yes", "no"))
        check_choice("persistent", self.persistent, ("yes", "no"))
        parse(self.augment.split(","))

    def of(self, source: Images) -> Data:
        """The same, on these images."""
        object.__setattr__(self, "_source", source)
        return self

    @property
    def rate_unit(self) -> str:
        """Images."""
        return "img/s"

    @property
    def dtype(self) -> str:
        """Of the images that a training takes."""
        return "fp32"

    @property
    def threads(self) -> int | None:
        """A stage has one, a step alone all; what a loader's workers do is not seen here."""
        return 1 if self.stage in stages.STAGES else None if self.stage == "step" else 0

    @property
    def label(self) -> str:
        """ "decode", "2 workers", "resnet18 + 2 workers"."""
        if self.stage in stages.STAGES:
            how = {"copy": " pinned" if self.pin == "yes" else " pageable"}.get(self.stage, "")
            return f"{self.stage}{how}{' on device' if self.where == 'device' else ''}"
        if self.stage == "step":
            return f"{self.model} alone"
        named = f"{self.workers} worker{'' if self.workers == 1 else 's'}{self._unusual()}"
        return named if self.stage == "loader" else f"{self.model} + {named}"

    def _unusual(self) -> str:
        """What a neighbour with as many workers has not."""
        said = [f"prefetch {self.prefetch}"] * (self.prefetch != 2)
        said += ["restarted"] * (self.persistent == "no") + ["on device"] * (self.where == "device")
        return "".join(f", {word}" for word in said)

    @property
    def size(self) -> str:
        """The batch, and the side of its images."""
        return f"{self.batch} x {self.side}x{self.side}"

    @property
    def batches(self) -> int:
        """In one step: one of each worker, which hand them over at about the same time; or an epoch."""
        turn = max(1, self.workers) if self.stage in ("loader", "together") else 1
        return turn * _EPOCH if self.persistent == "no" else turn

    def work(self) -> Work:
        """The images of a step."""
        return Work(ops=self.batch * self.batches)

    def sizes(self) -> Iterator[Data]:
        """This one only: a smaller batch is another pipeline."""
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """None is known."""
        return None

    def implementation(self, device: Device) -> str:
        """Pillow and torch, as they are."""
        return "native"

    def doubts(self, device: Device) -> list[str]:
        """Images that were left out."""
        trouble = self._source.trouble if self._source is not None and self.stage == "read" else ""
        return [trouble] if trouble else []

    @property
    def recipe(self) -> Recipe:
        """What becomes of an image."""
        return Recipe(
            images=self._source or images.of_this_process(),
            side=self.side,
            channels=self.channels,
            augment=parse(self.augment.split(",")),
            batch=self.batch,
            on_device=self.where == "device",
        )

    def prepare(self, device: Device) -> Prepared:
        """Start what makes the images.

        Raises:
            CannotRun: Pillow is missing, there is too little shared memory, or no GPU for a stage of one.
            UsageError: a model that takes no images.
        """
        if self.stage in stages.STAGES:
            prepared = stages.prepare(self.stage, self.recipe, device, on_device=self.where == "device", pin=self.pin == "yes")
            notes = (self.recipe.images.told,) if self.stage == "read" else ()
            return Prepared(prepared.step, prepared.verify, examine=partial(self._found, notes=notes))
        return {"loader": self._loader, "step": self._step, "together": self._together}[self.stage](device)

    def _feed(self) -> loader.Feed:
        batches = self.batches if self.persistent == "no" else None
        how = loader.How(workers=self.workers, prefetch=self.prefetch, pin=self.pin == "yes", batches=batches)
        return loader.Feed(self.recipe, how)

    def _loader(self, _device: Device) -> Prepared:
        feed = self._feed()

        def turn() -> None:
            for _ in range(self.batches):
                feed.next()

        return Prepared(
            feed.epoch if self.persistent == "no" else turn,
            lambda: checks.as_made_here(feed, self.recipe),
            examine=partial(self._found, started_s=feed.started_s),
        )

    def _step(self, device: Device) -> Prepared:
        torch = import_torch()
        batch = remade(self.recipe, range(self.batch)) if self.where == "cpu" else None
        pictures = batch.images if batch else torch.rand(self.batch, self.channels, self.side, self.side)
        pictures = pictures.to(device.name)
        train = training.Training(self.model, pictures, device)
        return Prepared(training.repeated(train, pictures), lambda: checks.learns(train), examine=self._found)

    def _together(self, device: Device) -> Prepared:
        torch = import_torch()
        feed = self._feed()  # before the model, so that workers are forked from a process that has no threads yet
        example = torch.rand(self.batch, self.channels, self.side, self.side, device=device.name)
        train = training.Training(self.model, example, device)
        fed = feeding.Fed(feed, self.recipe, device)
        waits: list[float] = []

        def turn() -> None:
            before = fed.waited_s
            for _ in range(self.batches):
                feeding.turn(fed, train)
            waits.append(fed.waited_s - before)

        def examine(seconds: Sequence[float]) -> ModelStep:
            waited = statistics.median(waits[-len(seconds) :])
            return self._found(seconds, started_s=feed.started_s, waited_s=waited)

        return Prepared(turn, lambda: checks.learns(train), examine=examine)

    def _found(
        self,
        seconds: Sequence[float],
        *,
        started_s: float | None = None,
        waited_s: float | None = None,
        notes: tuple[str, ...] = (),
    ) -> ModelStep:
        images = self.batch * self.batches
        return figures.step_of(seconds, images, self.batch, started_s=started_s, waited_s=waited_s, notes=notes)


def concluded(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows of a run, with what they say together: which side starves, and how many workers suffice."""
    return verdict.concluded(rows)
