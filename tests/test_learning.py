"""Does it learn: courses in several number formats, sound and faulty, and what is said of them."""

from __future__ import annotations

import collections
import contextlib
import gzip
import math
import os
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from bench_fakes import FakeTime
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from dltool.bench.isolation.workers import Died
from dltool.bench.learning import band, exam, folders, packaged, rows, trials, ways
from dltool.bench.learning.lessons import Lesson, lesson
from dltool.bench.learning.metrics import _OF, of
from dltool.bench.learning.training import Course, fresh, train
from dltool.errors import CannotRun, ExitCode, UsageError
from dltool.render import FORMATS, Style
from dltool.results import Report
from dltool.zoo import entry

pytestmark = pytest.mark.filterwarnings("ignore")  # what torchmetrics warns of is not our business
DIGITS = structs.replace(trials.chosen(["mlp-digits"], folder=False)[0], epochs=4, target=0.85)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several, and by far where the processors are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> Lesson:
    return lesson(DIGITS)


@pytest.fixture(scope="module")
def reference(data: Lesson) -> exam.Reference:
    return exam.Reference(tuple(train(DIGITS, data, ways.way("fp32"), "cpu", seed) for seed in exam.REFERENCE_SEEDS))


# --- arithmetic that is wrong -----------------------------------------------------------------------------------------


class Fault(TorchDispatchMode):
    """A device that computes one operation wrongly."""

    def __init__(self, operation: str, spoil: Any, after: int = 0) -> None:
        super().__init__()
        self.operation, self.spoil, self.left = operation, spoil, after

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ != self.operation:
            return made
        self.left -= 1
        return made if self.left >= 0 else self.spoil(made)


@dataclass(frozen=True)
class Faulty(ways.Way):
    """A way that meets such a device."""

    fault: Any = None

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        with super().arithmetic(), self.fault:
            yield


def column(made: torch.Tensor) -> torch.Tensor:
    """A tenth too large in fp32; in a coarser format it takes more to be seen."""
    made = made.clone()
    made[:, 3] *= 1.1 if made.dtype == torch.float32 else 1.5
    return made


def underflow(made: torch.Tensor) -> torch.Tensor:
    """What fp16 leaves of a gradient where the loss is the mean over 2**18 pixels, and nobody scales it."""
    return ((made * 2**-18).half() * 2**18).to(made.dtype)


FAULTS = {
    "a column of products is too large": (Fault("addmm", column), "gradient"),
    "gradients of weights are half as large again": (Fault("mm", lambda made: made * 1.5), "gradient"),
    "gradients before the ReLU are zero": (Fault("threshold_backward", torch.zeros_like), "gradient"),
    "gradients underflow": (Fault("mm", underflow), "gradient"),
    "a NaN after a while": (Fault("addmm", lambda made: made * math.nan, after=100), "is no number"),
}


@pytest.mark.parametrize("way", ["fp32", "amp-bf16"])
@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS)
def test_wrong_arithmetic_is_found(data: Lesson, reference: exam.Reference, fault: Fault, told: str, way: str) -> None:
    sound = ways.way(way)
    again = Fault(fault.operation, fault.spoil, fault.left)
    faulty = Faulty(**{name: getattr(sound, name) for name in ways.Way.__dataclass_fields__}, fault=again)
    found = exam.judged(DIGITS, faulty, train(DIGITS, data, faulty, "cpu", 0), reference)
    assert not found.ok
    assert found.verdict == exam.DIFFERS
    assert any(told in reason for reason in found.reasons)


def test_half_the_learning_rate_leaves_the_band(data: Lesson, reference: exam.Reference) -> None:
    slow = structs.replace(DIGITS, rate=DIGITS.rate / 2)
    found = exam.judged(slow, ways.way("fp32"), train(slow, data, ways.way("fp32"), "cpu", 0), reference)
    assert found.verdict == exam.DIFFERS
    assert found.reasons[0].startswith("loss ")
    assert found.gradient_error == 0.0


# --- arithmetic that is sound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["amp-bf16", "bf16", "amp-fp16"])
def test_sound_formats_learn_as_fp32_does(data: Lesson, reference: exam.Reference, way: str) -> None:
    found = exam.judged(DIGITS, ways.way(way), train(DIGITS, data, ways.way(way), "cpu", 0), reference)
    assert (found.verdict, found.reasons) == (exam.LEARNS, ())
    assert found.loss != found.reference
    assert 0 < (found.gradient_error or 0) < (found.gradient_tolerance or 0)
    assert found.reached_epoch is not None
    assert found.scores[found.reached_epoch - 1] >= 0.85 > max([0.0, *found.scores[: found.reached_epoch - 1]])


def test_a_course_is_the_same_again(data: Lesson, reference: exam.Reference) -> None:
    again = train(DIGITS, data, ways.way("fp32"), "cpu", 0)
    assert again.losses == reference.courses[0].losses
    assert again.losses != reference.courses[1].losses


def test_switches_are_put_back() -> None:
    before = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    with replace(ways.way("tf32"), products="medium").arithmetic():
        assert (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()) == ("medium", True)
    assert (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_target_that_is_missed_is_told(data: Lesson, reference: exam.Reference) -> None:
    hard = structs.replace(DIGITS, target=0.999)
    found = exam.judged(hard, ways.way("fp32"), reference.courses[0], reference, itself=True)
    assert (found.ok, found.verdict, found.reached_s) == (False, exam.MISSES, None)
    assert "0.999 is the target" in found.reasons[0]


def test_too_little_time_is_said(data: Lesson) -> None:
    with pytest.raises(CannotRun, match="0 of 12 epochs in 0 s; a larger --budget"):
        exam.refer(DIGITS, None, 0.0)


# --- the band ---------------------------------------------------------------------------------------------------------

LOSSES = st.lists(st.floats(0, 100), min_size=1, max_size=70)


@given(LOSSES, st.floats(0, 1))
def test_a_curve_never_strays_from_itself(losses: list[float], floor: float) -> None:
    curve = band.smoothed(losses)
    assert len(curve) == min(band.POINTS, len(losses))
    assert min(losses) - 1e-9 <= min(curve) <= max(curve) <= max(losses) + 1e-9
    assert band.strays(curve, curve, band.widths([curve, curve], floor)) is None


def test_the_band_is_as_wide_as_the_seeds_are_apart() -> None:
    curves = [(1.0, 0.5, 0.1, 0.1), (1.0, 0.7, 0.1, 0.1)]
    apart = 2 * 0.2 / math.sqrt(2)
    assert band.widths(curves, 0.05) == pytest.approx((apart, apart, apart, 0.05))
    assert band.strays((1.0, 0.5, 0.1, 0.16), curves[0], band.widths(curves, 0.05)) == 3
    assert band.strays((1.0, math.nan, 0.1, 0.1), curves[0], band.widths(curves, 0.05)) == 1
    assert band.first_bad([1.0, math.inf, math.nan]) == 2


# --- the table and its data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", trials.trials(), ids=lambda trial: trial.name)
def test_a_row_can_be_trained(trial: trials.Trial) -> None:
    assert trial.name.startswith(f"{entry(trial.model).name}-")
    assert trial.metric in _OF
    assert trial.folder or hasattr(packaged, trial.data)
    assert trial.folder == (trial.target is None)
    assert trial.optimizer in ("sgd", "adam")
    assert 0 < trial.floor < 0.2
    assert 0 < trial.gradients * 2**-7 <= 0.4  # or a gradient that is half as large again could hide
    assert trial.suite in ("quick", "full")
    assert "seeds" in trial.source or trial.folder
    fresh(trial, Lesson(None, None, classes=3), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["digits", "karate", "mnist_5k", "photographs", "source_text_time_first"])
def test_nothing_that_is_asked_was_trained_on(name: str) -> None:
    trial = next(trial for trial in trials.trials() if trial.data == name)
    ready = lesson(trial)
    if ready.whole:
        assert len(ready.train) + len(ready.test) == 34
        return
    seen = {sample.numpy().tobytes() for sample in ready.train.inputs[0]}
    again = sum(sample.numpy().tobytes() in seen for sample in ready.test.inputs[0])
    assert again <= 0.01 * len(ready.test)
    batch = next(ready.batches(trial.batch, torch.Generator().manual_seed(0)))
    assert len(batch.inputs[0] if not ready.time_first else batch.inputs[0].T) == trial.batch
    assert bool(batch.inputs[0].isfinite().all())


def test_classes_are_split_evenly(data: Lesson) -> None:
    share = data.test.targets.bincount() / torch.cat((data.train.targets, data.test.targets)).bincount()
    assert float((share - 0.2).abs().max()) < 0.005


def test_metrics_of_answers_that_are_known(data: Lesson) -> None:
    targets = data.test.targets
    right = torch.nn.functional.one_hot(targets, 10).float() * 9
    assert of("accuracy", right, targets, data)["accuracy"] == 1.0
    assert of("accuracy_of_penalties", -right, targets, data)["accuracy_of_penalties"] == 1.0
    assert math.isnan(of("accuracy", right * math.nan, targets, data)["accuracy"])
    assert of("roc_auc", torch.tensor([[0.9], [0.2]]), torch.tensor([[1.0], [0.0]]), data)["roc_auc"] == 1.0
    masks = torch.tensor([[[0, 1], [1, 1]]])
    assert of("miou", torch.tensor([[[[1.0, 0], [0, 0]], [[0.0, 1], [1, 1]]]]), masks, replace(data, classes=2))["miou"] == 1.0
    even = of("perplexity_share", torch.zeros(1, 4, 256), torch.zeros(1, 4).long(), replace(data, baseline=128.0))
    assert even["perplexity_share"] == pytest.approx(2.0)
    picture = torch.rand(1, 1, 16, 16)
    assert of("psnr", picture * 0.99, picture, replace(data, baseline=30.0))["psnr_gain"] > 5


# --- data of the user's own ------------------------------------------------------------------------------------------


def idx(path: Path, shape: tuple[int, ...], *, magic: int | None = None, left_out: int = 0) -> None:
    """An idx file of bytes."""
    head = struct.pack(f">{1 + len(shape)}I", magic or 0x800 + len(shape), *shape)
    body = bytes(place % 10 for place in range(math.prod(shape) - left_out))
    path.write_bytes(gzip.compress(head + body) if path.suffix == ".gz" else head + body)


def fashion(folder: Path, **spoilt: Any) -> None:
    for name in ("train", "t10k"):
        idx(folder / f"{name}-images-idx3-ubyte.gz", (20, 28, 28), **spoilt)
        idx(folder / f"{name}-labels-idx1-ubyte", (20,))


def cifar(folder: Path, **changes: Any) -> None:
    for name in ("data_batch_1", "test_batch"):
        batch = {b"data": numpy.arange(20 * 3072, dtype=numpy.uint8).reshape(20, 3072), b"labels": [*range(10)] * 2}
        (folder / name).write_bytes(pickle.dumps({**batch, **changes}, protocol=2))


def pictures(folder: Path) -> None:
    for kind in ("cat", "dog"):
        (folder / kind).mkdir()
        for number in range(5):
            Image.new("RGB", (30, 20), (40 * number, 0, 0)).save(folder / kind / f"{number}.png")


@pytest.mark.parametrize(("make", "classes", "trained"), [(fashion, 10, 20), (cifar, 10, 20), (pictures, 2, 8)])
def test_data_of_the_user(tmp_path: Path, make: Any, classes: int, trained: int) -> None:
    make(tmp_path)
    ready = folders.images(tmp_path, (3, 32, 32))
    assert (ready.classes, len(ready.train)) == (classes, trained)
    assert ready.train.inputs[0].shape == (trained, 3, 32, 32)
    assert 0 <= float(ready.train.inputs[0].min()) <= float(ready.train.inputs[0].max()) <= 1


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda folder: fashion(folder, magic=0x904), "no idx file", id="another kind of idx"),
        pytest.param(lambda folder: fashion(folder, left_out=3), "says 20x28x28 and holds", id="cut short"),
        pytest.param(lambda folder: cifar(folder, x=Evil()), r"asks for posix\.system", id="a pickle that runs"),
        pytest.param(lambda folder: cifar(folder, x=numpy.array([print], dtype=object)), "array of object", id="objects"),
        pytest.param(lambda folder: cifar(folder, x=collections.Counter()), "asks for collections", id="other types"),
        pytest.param(lambda folder: (folder / "data_batch_1").write_bytes(b"\x80\x02]"), "not a pickle", id="half a pickle"),
        pytest.param(lambda folder: cifar(folder, y=1) or (folder / "test_batch").unlink(), "cannot read", id="a part"),
        pytest.param(lambda folder: None, "no data that is known", id="nothing"),
    ],
)
def test_data_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    with pytest.raises(UsageError, match=told):
        folders.images(tmp_path, (1, 28, 28))
    assert not (tmp_path / "pwned").exists()


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_names_lead_to_trials() -> None:
    def names(*asked: str, folder: bool = False) -> list[str]:
        return [trial.name for trial in trials.chosen(asked, folder=folder)]

    assert names("mlp", "mlp-digits") == ["mlp-digits", "mlp-mnist5k"]
    assert names("mlp", folder=True) == ["mlp-images"]
    assert "mlp-digits" in names()
    assert set(names(folder=True)) == {"mlp-images", "lenet5_d2l-images", "resnet18-images"}


@pytest.mark.parametrize(
    ("name", "told", "remedy"),
    [
        ("lenet55", "unknown model", "lenet5"),
        ("vit_b_16", "nothing is known of how vit_b_16 learns", "mlp"),
        ("mlp-images", "data of your own", "--folder"),
    ],
)
def test_what_cannot_be_trained_is_said(name: str, told: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        trials.chosen([name], folder=False)
    assert remedy in caught.value.remedy


def test_formats_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="fp8"):
        ways.way("fp8")
    with pytest.raises(CannotRun, match=r"tf32 needs a GPU of compute capability 8\.0"):
        ways.way("tf32").check(FakeTime().device(name="cpu"))


# --- rows and reports -------------------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """Workers that answer as written."""

    answers: list[Any]

    def call(self, *_arguments: Any, **_limits: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def learnt(reference: exam.Reference, trial: trials.Trial = DIGITS) -> Any:
    return exam.judged(trial, ways.way("fp32"), reference.courses[0], reference, itself=True)


def measured(*answers: Any) -> list[Any]:
    asked = [ways.way("fp32"), ways.way("amp-bf16")]
    device = FakeTime().device(name="cpu")
    return list(rows.run([DIGITS], asked, device, None, 60, Scripted(list(answers)), tell=lambda text: None))  # type: ignore[arg-type]


def test_whatever_becomes_of_a_child_is_a_row(reference: exam.Reference) -> None:
    first, second = measured(reference, Died("was killed by SIGKILL"), (learnt(reference), {"torch": "2"}))
    assert first.not_run == "the process of this case was killed by SIGKILL"
    assert (second.learning.verdict, second.settings) == ("learns", {"torch": "2"})
    assert [row.not_run for row in measured("no mlxtend here")] == ["no mlxtend here"] * 2


def test_a_report_of_a_fault(reference: exam.Reference) -> None:
    bad = structs.replace(
        learnt(reference), ok=False, verdict=exam.DIFFERS, reasons=("the loss of step 7 is no number",), value=None,
        loss=(1.0, None, 0.5), metrics={"accuracy": None},
    )  # fmt: skip
    sound, faulty = measured(reference, (learnt(reference), {}), (bad, {}))
    assert Report(measurements=(sound,)).exit_code() is ExitCode.HEALTHY
    report = Report(measurements=(sound, faulty), command=("bench", "learn"))
    assert report.exit_code() is ExitCode.FINDINGS
    for name in ("text", "markdown", "junit", "json", "sarif", "github", "gitlab"):
        shown = FORMATS.get(name)(report, Style(width=120, verbose=True))
        assert "does not learn as fp32 does" in shown, name
        assert "the loss of step 7 is no number" in shown, name
    assert "█x▅" in FORMATS.get("text")(report, Style(width=120))
    assert Course(0).losses == []
