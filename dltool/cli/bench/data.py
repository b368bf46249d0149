"""`dltool bench data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, How, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded, names
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.pipeline.folder import Images
    from dltool.bench.suites import Axes, Cases

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Your images, in folders of any depth; else some are made.", metavar="DIR")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Also a training step of this model of the zoo, alone and fed.", metavar="NAME")
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch", help="Images in a batch; 16, on a GPU 64, with a model on a CPU 4.", metavar="N", show_default=False
    ),
]
Size = Annotated[
    int | None, typer.Option("--size", help="Side of the images; the model's, else 224.", metavar="PIXELS", show_default=False)
]
Workers = Annotated[
    str, typer.Option("--workers", help="Numbers of workers: 0,2,4; auto: up to the CPUs that may be used.", metavar="LIST")
]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        help="What the loader does: crop,flip,mosaic,rotate,light,noise,mixup,cutout, all or none; by default "
        "crop,flip,light, and without --model the others are timed by themselves.",
        metavar="LIST",
    ),
]
_MOST = {"--batch": 65536, "--size": 4096}


@guarded
def data(
    out: Output,
    how: How,
    against: Against,
    folder: Folder = None,
    model: ModelName = None,
    batch: Batch = None,
    size: Size = None,
    workers: Workers = "auto",
    augment: Augment = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure the input pipeline: its stages, the loader by number of workers, and whether it feeds a step of a model.

    Example: dltool bench data --folder imagenet/train --model resnet50 --budget 2min
    """
    import tempfile

    axes = _axes(model, batch, size, workers, augment)
    with tempfile.TemporaryDirectory(prefix="dltool-images-") as made:
        images = _images(folder, Path(made))
        axes["images"] = ["made"] if folder is None else ["folder"]
        told = axes if folder is None else {**axes, "folder": [str(folder)]}
        run("bench data", _cases(images, axes), told, device, budget, out, how, against)


def _axes(model: str | None, batch: int | None, size: int | None, workers: str, augment: str | None) -> dict[str, list[str]]:
    """What was asked for, checked before anything is made or measured.

    Raises:
        UsageError: a number that is none, an augmentation or a model that there is not.
    """
    from dltool.bench.pipeline import augmentations, training

    for option, number in (("--batch", batch), ("--size", size)):
        if number is not None and not 0 < number <= _MOST[option]:
            raise UsageError(f"{option} {number}: from 1 to {_MOST[option]} is wanted", remedy=f"For example: {option} 32")
    chosen = augmentations.USUAL if augment is None else augmentations.parse(_listed("--augment", augment))
    channels, side = (3, 224) if model is None else training.picture_of(model)
    return {
        **({} if model is None else {"model": [model]}),
        **({} if batch is None else {"batch": [str(batch)]}),
        "side": [str(size or side)],
        "channels": [str(channels)],
        "workers": _workers(workers),
        "augment": [",".join(chosen) or "none"],
        "show": list(augmentations.AUGMENTATIONS) if augment is None and model is None else [],
    }


def _listed(option: str, text: str) -> list[str]:
    found = names([text])
    if not found:
        raise UsageError(f"{option} names nothing", remedy="For example: --augment crop,flip, or none")
    return found


def _workers(text: str) -> list[str]:
    """Numbers of workers; "auto" as it is.

    Raises:
        UsageError: one that is none.
    """
    found = names([text])
    if found == ["auto"]:
        return found
    for each in found or [text]:
        if not each.isdecimal() or int(each) > 1024:
            raise UsageError(f"--workers {each}: no number of workers", remedy="For example: --workers 0,2,4, or auto")
    return [str(count) for count in sorted({int(each) for each in found})]


def _images(folder: Path | None, made: Path) -> Images:
    """The user's, or some that are made."""
    from dltool.bench.pipeline import images
    from dltool.bench.pipeline.folder import images_in

    if folder is None:
        images.make(made)
    return images_in(made if folder is None else folder)


def _cases(images: Images, axes: Mapping[str, Sequence[str]]) -> Callable[[Any, Axes], Cases]:
    """Called once the device is known."""

    def cases(where: Device, _axes: Axes) -> Cases:
        from dltool.bench.pipeline import choice

        cpus = usable_cpus()
        usual = "64" if where.kind == "cuda" else "4" if "model" in axes else "16"
        batch = axes.get("batch", [usual])
        counts = [str(count) for count in choice.sweep(cpus)] if axes["workers"] == ["auto"] else axes["workers"]
        return list(choice.chosen(images, where, {**axes, "batch": batch, "workers": counts, "cpus": [str(cpus)]}))

    return cases


def usable_cpus() -> int:
    """Processors that this process may keep busy: by its affinity, and by the quota of its control group."""
    from dltool import probe

    cpu = probe.read().cpu
    usable = float(cpu.usable_threads or cpu.threads or 1)
    return max(1, int(min(usable, cpu.quota_cpus or usable)))
