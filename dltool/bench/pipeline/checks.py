"""Whether what came out of the loader, and of a step, is right."""

from __future__ import annotations

from dltool.bench import verified
from dltool.bench.pipeline.dataset import Recipe, remade
from dltool.bench.pipeline.loader import Feed
from dltool.bench.pipeline.training import Training
from dltool.results import Verified


def as_made_here(feed: Feed, recipe: Recipe) -> Verified:
    """The last batch that came against the same one, made in this process."""
    assert feed.last is not None
    wanted = remade(recipe, feed.last.places.tolist())
    error = (feed.last.images.float() - wanted.images.float()).abs().max()
    return verified("the same batch made here from the same seed", error, 1e-4)


def learns(train: Training) -> Verified:
    """A loss that is a number: what it learns is not looked at."""
    loss = float("nan") if train.loss is None else float(train.loss.detach())
    return verified("a loss that is a number", loss - loss)
