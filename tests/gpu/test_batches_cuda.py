"""The largest batch on a real GPU, what the memory model foretold of it, and the words of a real out-of-memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from batch_cases import Allocates, Trains

from dltool import probe
from dltool.bench import devices
from dltool.bench.isolation.workers import Workers
from dltool.bench.networks.allocator_words import parse
from dltool.bench.networks.batches import largest
from dltool.bench.networks.foretelling import Foretelling, Way
from dltool.bench.networks.out_of_memory import explain, room
from dltool.bench.networks.trials import PRELOAD, Tries, try_batch
from dltool.zoo.subject import of_zoo

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
GIB = 2**30


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return devices.find("cuda:0", probe.read())


@pytest.fixture(scope="module")
def workers():
    with Workers(preload=(*PRELOAD, "batch_cases")) as workers:
        yield workers


def at(case, batch):
    return replace(case, batch=batch)


def test_the_largest_that_fits(device, workers) -> None:
    """A GiB a sample: what is free, less the context of the child and the two samples that a step holds at once."""
    with Tries(workers, device, partial(at, Allocates(batch=1, each=GIB))) as tries:
        found = largest(tries)
    free = device.free_bytes // GIB
    assert found.limited_by == "memory"
    assert 0.4 * free <= found.largest <= free
    refused = next(one for one in found.tries if one.stopped_by == "memory")
    said = parse(refused.why)
    assert said.tried >= refused.batch * GIB
    assert said.total >= device.free_bytes
    assert next(one.peak_bytes for one in found.tries if one.fits) >= GIB


def test_a_child_serves_again_after_it_ran_out(device, workers) -> None:
    first = try_batch(workers, device, Allocates(batch=10**4, each=GIB))
    second = try_batch(workers, device, Allocates(batch=1, each=2**20))
    assert (first.fits, first.stopped_by, second.fits) == (False, "memory", True)


def test_the_forecast_is_near(device, workers) -> None:
    subject, way = of_zoo("resnet50"), Way(optimizer="sgd")
    foreseen = Foretelling(subject).largest(room(device.free_bytes, "cuda"), way)
    with Tries(workers, device, partial(at, Trains(batch=1, name="resnet50")), longest_s=30) as tries:
        found = largest(tries, start=2, foreseen=foreseen)
    assert found.limited_by == "memory"
    assert 0.75 * foreseen <= found.largest <= 1.25 * foreseen
    refused = next(one for one in found.tries if one.stopped_by == "memory")
    told = explain(subject, batch=refused.batch, optimizer="sgd", error_text=refused.why)
    assert told.said is not None
    assert told.changes[0].fits
