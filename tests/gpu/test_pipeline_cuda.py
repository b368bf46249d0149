"""The input pipeline with a real GPU: augmentations there, copies, and a step that is fed while it computes."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.pipeline import images
from dltool.bench.pipeline.augmentations import AUGMENTATIONS
from dltool.bench.pipeline.folder import images_in
from dltool.bench.plan import Plan
from dltool.bench.workloads.data import Data

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

PLAN = Plan(sampling_s=0.5, warmup_s=0.5, step_s=2.0, cap_s=30.0)


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.device_count():
        pytest.skip("torch sees no CUDA device")
    return devices.find("cuda:0", probe.read())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    images.make(folder, 16)
    return images_in(folder)


def measured(source, device, **fields):
    found = harness.measure("data", Data(**{"batch": 32, **fields}).of(source), device, PLAN)
    assert found.not_run is None
    assert found.verified.ok, found.verified
    return found


@pytest.mark.parametrize("stage", [*AUGMENTATIONS, "floats"])
def test_the_device_augments_as_the_cpu_does(source, device, stage):
    there = measured(source, device, stage=stage, where="device")
    assert there.rate > measured(source, device, stage=stage).rate


def test_pinned_copies_are_not_slower(source, device):
    pinned, pageable = (measured(source, device, stage="copy", pin=pin).rate for pin in ("yes", "no"))
    assert pinned > 0.9 * pageable


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_a_fed_step(source, device, where):
    fields = {"model": "resnet18", "augment": "crop,flip,light"}
    alone = measured(source, device, stage="step", **fields)
    fed = measured(source, device, stage="together", workers=2, pin="yes", where=where, **fields)
    assert fed.rate < 1.1 * alone.rate
    (waited,) = fed.model.parts
    assert waited.seconds < fed.median_s


def test_batches_come_to_the_device_unchanged(source, device):
    from dltool.bench.pipeline import feeding, loader
    from dltool.bench.pipeline.dataset import Recipe, remade

    recipe = Recipe(images=source, side=64, augment=("crop", "flip", "mosaic"), batch=8, on_device=True)
    fed = feeding.Fed(loader.Feed(recipe, loader.How(workers=1, pin=True)), recipe, device)
    for first in (8, 16, 24):  # the first batch only starts the workers
        batch = fed.take()
        wanted = remade(Recipe(images=source, side=64, augment=recipe.augment, batch=8), range(first, first + 8))
        assert torch.allclose(batch.images.cpu(), wanted.images, atol=1e-4)
        assert torch.allclose(batch.weights.cpu(), wanted.weights, atol=1e-5)
        fed.fetch()
