"""The parts of the input pipeline: augmentations that do what they say, images that are told apart, batches that come."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.bench.pipeline import augmentations, colour, decoding, geometry, images, loader, mixing
from dltool.bench.pipeline.dataset import Order, Pictures, Recipe, augmented_batch, chance_of, remade
from dltool.bench.pipeline.folder import images_in
from dltool.bench.pipeline.labels import labels_of
from dltool.errors import CannotRun, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("numpy")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    images.make(folder, 8, width=60, height=40)
    return folder


@pytest.fixture(scope="module")
def eight(made):
    return images_in(made)


def pixels(count: int = 4, side: int = 16, channels: int = 3):
    """Every pixel of every image another number."""
    return torch.arange(count * channels * side * side, dtype=torch.float32).view(count, channels, side, side)


def labels(count: int = 4):
    return labels_of(torch.arange(count))


def weights_sum_to_one(found) -> bool:
    return torch.allclose(found.weights.sum(1), torch.ones(len(found.weights)), atol=1e-6)


def test_flip_twice_is_nothing():
    which = torch.tensor([True, False, True, False])
    once = geometry.flipped(pixels(), which)
    assert torch.equal(once[1], pixels()[1])
    assert torch.equal(once[0, :, :, 0], pixels()[0, :, :, -1])
    assert torch.equal(geometry.flipped(once, which), pixels())


@given(st.integers(1, 300), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_a_crop_is_a_window_of_its_image(side, seed):
    larger = geometry.larger(side)
    source = torch.arange(larger * larger).view(1, 1, larger, larger)
    found = geometry.crop(source, labels(1), chance_of(seed))[0]
    assert found.shape[-2:] == (side, side)
    top, left = divmod(int(found[0, 0, 0, 0]), larger)
    assert torch.equal(found[0, 0], source[0, 0, top : top + side, left : left + side])


def test_crops_reach_every_corner():
    tops, lefts = geometry.corners(500, 2, chance_of(0))
    assert {*tops.tolist()} == {*lefts.tolist()} == {0, 1, 2}


def test_turning_by_a_quarter_and_scaling():
    turned = geometry.turned(pixels(1), torch.tensor([math.pi / 2]), torch.tensor([1.0]))
    assert torch.allclose(turned, pixels(1).rot90(1, (-2, -1)), atol=0.05)
    same = geometry.turned(pixels(1), torch.zeros(1), torch.ones(1))
    assert torch.allclose(same, pixels(1), atol=1e-2)
    double = geometry.turned(torch.ones(1, 1, 16, 16), torch.zeros(1), torch.tensor([0.5]))
    assert double.sum() == pytest.approx(64, abs=1), "half as wide and half as high"


@given(st.integers(4, 64), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_cutout_takes_a_sixteenth(side, seed):
    found, kept = geometry.cutout(torch.ones(5, 3, side, side), labels(5), chance_of(seed))
    assert ((found == 0).sum((1, 2, 3)) == 3 * (side // 4) ** 2).all(), "wholly inside"
    assert torch.equal(kept.classes, labels(5).classes)


def test_light_by_hand():
    grey = torch.tensor([0.2, 0.6]).view(1, 1, 1, 2)
    brighter = colour.lit(grey, torch.tensor([1.5]), torch.tensor([1.0]))
    assert brighter.flatten().tolist() == pytest.approx([0.3, 0.9])
    flat = colour.lit(grey, torch.tensor([1.0]), torch.tensor([0.0]))
    assert flat.flatten().tolist() == pytest.approx([0.4, 0.4])
    assert colour.lit(grey, torch.tensor([2.0]), torch.tensor([3.0])).max() <= 1


def test_noise_has_its_deviation_and_a_mean_of_nothing():
    middle = torch.full((4, 3, 64, 64), 0.5)
    added = colour.noise(middle, labels(), chance_of(3))[0] - middle
    assert added.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(added.mean().item()) < 1e-3


@given(st.integers(1, 40), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_mixup_weighs_pixels_as_labels(count, seed):
    source = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 1, 2, 2)
    found, mixed = mixing.mixup(source, labels(count), chance_of(seed))
    assert weights_sum_to_one(mixed)
    assert ((mixed.weights >= 0) & (mixed.weights <= 1)).all()
    assert torch.allclose(found[:, 0, 0, 0], (mixed.classes * mixed.weights).sum(1), atol=1e-4)


def test_beta_of_mixup():
    shares = mixing._beta(20_000, chance_of(0))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.03), "of Beta(0.2, 0.2)"


def test_mosaic_places_four_images_with_their_corners_at_the_centre():
    source = pixels(4, 8)
    others = torch.tensor([[0], [1], [2], [3]]).expand(4, 4)
    found, mixed = mixing.placed(source, labels(), others, torch.tensor([[3] * 4, [6] * 4]))
    one = found[0]
    assert torch.equal(one[:, :3, :6], source[0, :, 5:, 2:])
    assert torch.equal(one[:, :3, 6:], source[1, :, 5:, :2])
    assert torch.equal(one[:, 3:, :6], source[2, :, :5, 2:])
    assert torch.equal(one[:, 3:, 6:], source[3, :, :5, :2])
    assert mixed.weights[0].tolist() == pytest.approx([18 / 64, 6 / 64, 30 / 64, 10 / 64])
    assert mixed.classes[0].tolist() == [0, 1, 2, 3]


@given(st.integers(1, 9), st.integers(4, 20), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_a_mosaic_of_any_batch_shows_what_its_labels_say(count, side, seed):
    source = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 1, side, side)
    found, mixed = mixing.mosaic(source, labels(count), chance_of(seed))
    assert weights_sum_to_one(mixed)
    assert torch.allclose(found.mean((1, 2, 3)), (mixed.classes * mixed.weights).sum(1), atol=1e-4)


@pytest.mark.parametrize("name", augmentations.AUGMENTATIONS)
def test_the_same_seed_gives_the_same(name):
    floats = torch.rand(6, 3, 18, 18, generator=chance_of(1))
    first, again, other = (augmentations.AUGMENTATIONS[name].apply(floats, labels(6), chance_of(seed))[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_augmentations_together():
    source = torch.randint(256, (5, 3, geometry.larger(32), geometry.larger(32)), dtype=torch.uint8)
    found, mixed = augmentations.augmented(source, labels(5), tuple(augmentations.AUGMENTATIONS), chance_of(2))
    assert (found.shape, found.dtype) == ((5, 3, 32, 32), torch.float32)
    assert mixed.classes.shape == (5, 8)
    assert weights_sum_to_one(mixed)
    plain, _ = augmentations.augmented(source, labels(5), (), chance_of(2))
    assert plain[0, 0, 0, 0].item() == pytest.approx((source[0, 0, 0, 0].item() / 255 - 0.485) / 0.229, abs=1e-5)


def test_names_of_augmentations():
    assert augmentations.parse(["flip", " Crop"]) == ("crop", "flip"), "in the order in which they run"
    assert augmentations.parse(["all"]) == tuple(augmentations.AUGMENTATIONS)
    assert augmentations.parse(["none"]) == ()
    with pytest.raises(UsageError, match="unknown augmentation `mixupp`") as refused:
        augmentations.parse(["mixupp"])
    assert "`mixup`" in refused.value.remedy


def test_made_images_are_like_photographs(tmp_path):
    images.make(tmp_path, 2)
    found = images_in(tmp_path)
    assert found.mean_size == (500, 375)
    assert 90_000 < found.mean_bytes < 140_000, "ImageNet's have 115 kB"
    assert found.told.startswith("2 images: ")


def test_a_folder_with_whatever_people_keep_in_one(tmp_path):
    images.make(tmp_path / "deep" / "er", 4, width=30, height=20)
    whole = next((tmp_path / "deep" / "er").rglob("*.jpg")).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.JPEG").write_text("no image")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    found = images_in(tmp_path)
    assert len(found.paths) == 4
    assert len(set(found.classes)) == 4
    assert found.broken == ("cut.jpg", "empty.png", "nowhere.jpg", "text.JPEG")
    assert found.trouble == ("4 of 8 images cannot be decoded and are left out: cut.jpg, empty.png, nowhere.jpg and 1 more")
    assert images_in(tmp_path, 3).told.split(":")[0].endswith("of 8, chosen at random")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda path: path / "none", "does not exist", id="missing"),
        pytest.param(lambda path: path, "holds no images", id="empty"),
        pytest.param(lambda path: (path / "file.jpg").write_text("x") and path / "file.jpg", "is not a folder", id="file"),
        pytest.param(lambda path: (path / "a.jpg").write_text("x") and path, "none of 1 images .* a.jpg", id="broken"),
    ],
)
def test_folders_without_images(tmp_path, make, text):
    with pytest.raises(UsageError, match=text) as refused:
        images_in(make(tmp_path))
    assert refused.value.remedy


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(CannotRun, match="decoded by Pillow") as refused:
        decoding.import_pillow()
    assert "dltool[data]" in refused.value.remedy


def test_grey_images_have_one_channel(eight):
    picture = decoding.decode(decoding.read(eight.paths[0]), 1)
    assert decoding.sized(picture, 10).shape == (1, 10, 10)
    assert remade(Recipe(images=eight, side=16, channels=1, batch=2), [0, 1]).images.shape == (2, 1, 16, 16)


def test_the_order_goes_on_and_comes_round(eight):
    order = iter(Order(3))
    assert [next(order) for _ in range(2)] == [[0, 1, 2], [3, 4, 5]]
    assert [*Order(2, 2)] == [[0, 1], [2, 3]]
    pictures = Pictures(Recipe(images=eight, side=8))
    assert torch.equal(pictures[1][0], pictures[9][0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("on_device", [False, True])
def test_a_worker_makes_the_same_batches_as_this_process(eight, on_device):
    recipe = Recipe(images=eight, side=16, augment=("crop", "flip", "mixup"), batch=4, on_device=on_device)
    feed = loader.Feed(recipe, loader.How(workers=1))
    assert feed.started_s > 0
    for first in (4, 8):
        batch, here = feed.next(), remade(recipe, range(first, first + 4))
        assert torch.allclose(batch.images.float(), here.images.float(), atol=1e-5)
        assert torch.allclose(batch.weights, here.weights)
        assert batch.places.tolist() == [*range(first, first + 4)]
    assert batch.images.nbytes == recipe.batch_bytes


def test_augmenting_after_the_loader_is_the_same_as_in_it(eight):
    late, early = (Recipe(images=eight, side=16, augment=("crop", "mosaic", "light", "mixup"), batch=4, on_device=which)
                   for which in (True, False))  # fmt: skip
    found, wanted = augmented_batch(remade(late, range(4)), late.augment, 0), remade(early, range(4))
    assert torch.equal(found.images, wanted.images)
    assert torch.equal(found.weights, wanted.weights)


def test_epochs_begin_anew(eight):
    feed = loader.Feed(Recipe(images=eight, side=8, batch=2), loader.How(batches=2))
    assert [feed.next().places.tolist() for _ in range(3)] == [[2, 3], [0, 1], [2, 3]]
    feed.epoch()
    assert feed.last.places.tolist() == [2, 3]


def test_too_little_shared_memory_is_told_before_and_after(eight, tmp_path, monkeypatch):
    recipe = Recipe(images=eight, side=224, batch=64)
    monkeypatch.setattr(loader, "free_bytes", lambda shared: 64 * 2**20)
    with pytest.raises(CannotRun, match=r"2 x 2 batches .* need 147 MiB of shared memory; .* has 64 MiB free.*--shm-size"):
        loader.Feed(recipe, loader.How(workers=2))
    small = Recipe(images=eight, side=8, batch=2)
    feed = loader.Feed(small, loader.How())
    died = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...")
    monkeypatch.setattr(feed, "_next", lambda: (_ for _ in ()).throw(died))
    with pytest.raises(CannotRun, match=r"\(DataLoader worker \(pid 7\) is killed by signal: Bus error.*--ipc=host"):
        feed.next()
    late = RuntimeError("DataLoader timed out after 30 seconds")
    monkeypatch.setattr(feed, "_next", lambda: (_ for _ in ()).throw(late))
    with pytest.raises(RuntimeError, match="DataLoader timed out"):
        feed.next()
    monkeypatch.setattr(loader, "has_room", lambda *_: False)
    with pytest.raises(CannotRun, match="shared memory"):
        feed.next()


def test_a_file_that_goes_away_is_an_error_in_words(tmp_path):
    images.make(tmp_path, 2, width=20, height=20)
    recipe = Recipe(images=images_in(tmp_path), side=8, batch=1)
    feed = loader.Feed(recipe, loader.How())
    for path in recipe.images.paths:
        Path(path).unlink()
    with pytest.raises(RuntimeError, match="No such file"):
        feed.next()
