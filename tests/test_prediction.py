"""What the roofline predicts: by hand, never slower on a better board, scaled by a measurement; how far off known ones were."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from dltool import catalog, peaks, tables
from dltool.bench import published_shares
from dltool.bench.known_pairs import Known, digest, error_of, known_figures, known_pairs, precision_of
from dltool.bench.prediction import Here, compared, known_error, predict, times
from dltool.bench.published_models import Counterpart, counterpart_of
from dltool.bench.traffic import Operation, Traffic
from dltool.catalog import Board
from dltool.cli.main import make_app
from dltool.errors import CannotRun
from dltool.reference import figures
from dltool.render import predictions
from dltool.results import Measurement
from dltool.step_results import ModelStep

A100 = peaks.with_peaks(catalog.board("A100 SXM4 80GB"))
H100 = peaks.with_peaks(catalog.board("H100 SXM5 80GB"))


def traffic(*operations: Operation, mode: str = "train", precision: str = "bf16", batch: int = 8) -> Traffic:
    return Traffic(mode=mode, precision=precision, batch=batch, operations=operations)


PRODUCT = Operation(kind="gemm", dtype="bf16", ops=10**12, bytes=10**6)
COPY = Operation(kind="memory", bytes=10**9, count=3)
TINY = Operation(kind="memory", bytes=100, count=1000)
STEP = traffic(PRODUCT, COPY, TINY)


def with_peak(board: Board, factor: float) -> Board:
    raised = {key: replace(peak, dense=(peak.dense or 0) * factor) for key, peak in board.peaks.items()}
    return replace(board, peaks=raised)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_each_operation_waits_for_one_thing() -> None:
    found = times(STEP, A100)
    reached = published_shares.of_products("bf16", A100.name)
    assert found.compute == pytest.approx(1e12 / (312e12 * reached.value), rel=0.01)
    assert found.memory == pytest.approx(3e9 / (2039e9 * published_shares.of_memory().value), rel=0.01)
    assert found.launch == pytest.approx(1000 * 6.08e-6)
    assert found.total == found.compute + found.memory + found.launch


def test_the_shares_are_published_ones() -> None:
    own, other = (published_shares.of_products("bf16", name) for name in ("A100 SXM4 80GB", "Tesla T4"))
    assert own.own
    assert not other.own
    assert 0.6 < other.value < 0.95
    assert other.figures > own.figures > 1
    assert published_shares.of_products("fp16", "A100 SXM4 80GB") == own
    assert 0.8 < published_shares.of_memory().value < 1
    assert 0 < published_shares.of_products("fp64", "H200 SXM").value <= 1


def test_a_prediction_says_what_it_rests_on() -> None:
    found = predict(STEP, A100, unit="image")
    error = known_error("train")
    assert error is not None
    assert found.seconds == pytest.approx(times(STEP, A100).total / error.factor)
    assert found.throughput == pytest.approx(8 / found.seconds)
    assert (found.low, found.high) == pytest.approx((found.throughput / (1 + error.p90), found.throughput * (1 + error.p90)))
    assert sum(found.bound_by.values()) == pytest.approx(1)
    assert found.measured_on == ""
    assert "published steps (train)" in found.assumptions[0]
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    assert msgspec.json.decode(msgspec.json.encode(STEP), type=Traffic) == STEP


def test_a_measured_step_is_carried_over() -> None:
    took = 3 * times(STEP, A100).total
    found = predict(STEP, H100, here=Here(board=A100, seconds=took))
    assert found.seconds == pytest.approx(3 * times(STEP, H100).total)
    assert found.measured_on == "A100 SXM4 80GB"
    assert "took 3 times what the roofline says" in found.assumptions[0]
    assert found.error == known_error("transfer")
    assert predict(STEP, A100, here=Here(board=A100, seconds=took)).seconds == pytest.approx(took)


def test_a_cpu_calibrates_nothing_and_this_is_said() -> None:
    cpu = Board(name="AMD EPYC", segment="cpu", memory_gb_per_s=None)
    found = predict(STEP, H100, here=Here(board=cpu, seconds=1.0))
    assert found.seconds == predict(STEP, H100).seconds
    assert found.assumptions[0].startswith("nothing measured on AMD EPYC enters")


@pytest.mark.parametrize("board", [replace(A100, memory_gb_per_s=None), replace(A100, peaks={"fp64": A100.peaks["fp64"]})])
def test_an_unknown_board_is_no_guess(board: Board) -> None:
    with pytest.raises(CannotRun, match="no prediction for A100"):
        predict(STEP, board)


# --- never slower on a better board -----------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.builds(
        Operation,
        kind=st.just("gemm"),
        dtype=st.sampled_from(["bf16", "fp16", "fp32", "tf32"]),
        ops=st.integers(0, 10**13),
        bytes=st.integers(0, 10**11),
        count=st.integers(1, 50),
    ),
    min_size=1,
    max_size=6,
)


@given(OPERATIONS, st.floats(1, 8))
def test_more_bandwidth_is_never_slower(found: list[Operation], factor: float) -> None:
    step, better = traffic(*found), replace(A100, memory_gb_per_s=(A100.memory_gb_per_s or 0) * factor)
    assert times(step, better).total <= times(step, A100).total * (1 + 1e-9)
    assert times(step, better).total * factor >= times(step, A100).total * (1 - 1e-9)


@given(OPERATIONS, st.floats(1, 8))
def test_higher_peaks_are_never_slower(found: list[Operation], factor: float) -> None:
    step = traffic(*found)
    assert times(step, with_peak(A100, factor)).total <= times(step, A100).total * (1 + 1e-9)


@given(OPERATIONS, st.integers(0, 10**12))
def test_more_work_is_never_faster(found: list[Operation], more: int) -> None:
    larger = [replace(one, bytes=one.bytes + more) for one in found]
    assert times(traffic(*larger), A100).total >= times(traffic(*found), A100).total
    assert times(traffic(*found, *found), A100).total == pytest.approx(2 * times(traffic(*found), A100).total)


# --- beside a measurement ---------------------------------------------------------------------------------------------


def test_a_measurement_with_other_boards() -> None:
    step = ModelStep(unit="image", units=8, samples=8, throughput=100.0)
    measured = Measurement(workload="model", params={}, device="cuda:0", dtype="bf16", median_s=0.08, model=step)
    found = compared(measured, (H100,), STEP, A100)
    assert found.model is not None
    (one,) = found.model.prediction
    assert (one.board, one.unit, one.measured_on) == ("H100 SXM5 80GB", "image", "A100 SXM4 80GB")
    assert one.throughput is not None
    assert one.throughput > 100
    not_run = replace(measured, model=None)
    assert compared(not_run, (H100,), STEP, A100) == not_run


# --- the known error --------------------------------------------------------------------------------------------------


def made(model: Counterpart, mode: str, precision: str, batch: int, compiled: bool) -> Traffic:
    """Steps of 10 GFLOP and 100 MB a sample, whatever the model."""
    kind = precision.removeprefix("amp-")
    product = Operation(kind="gemm", dtype=kind, ops=10**10 * batch, bytes=0)
    return traffic(product, Operation(kind="memory", bytes=10**8 * batch), mode=mode, precision=precision, batch=batch)


def test_pairs_are_of_one_publisher_and_way() -> None:
    pairs = known_pairs(made)
    assert len(pairs) > 250
    assert all(one.board != one.measured_on for one in pairs)
    published = {(one.case.get("model"), one.value) for one in figures() if one.devices == 1 and one.comparable}
    assert {(one.model, one.published) for one in pairs} <= published
    assert not any(one.model in ("ssd", "gnmt", "llama3_8b") for one in pairs)
    sxm = [one for one in pairs if {one.board, one.measured_on} == {"H100 SXM5 80GB", "H100 PCIe 80GB"}]
    assert {one.model for one in sxm} == {"resnet50", "bert_base_squad", "bert_large_squad"}


def test_all_figures_are_predicted_once() -> None:
    found = known_figures(made)
    kept = [one for one in figures() if (model := counterpart_of(one)) is not None and model.comparable and one.boards]
    assert len(found) == sum(one.devices == 1 and one.comparable and one.unit != "tokens/s" for one in kept)
    assert all(one.measured_on == "" for one in found)


def test_the_precision_of_a_figure() -> None:
    kinds = {precision_of(one) for one in figures() if one.workload == "train" and one.metric == "rate"}
    assert kinds == {"amp-fp16", "tf32", "fp32"}


def test_the_error_that_nine_of_ten_do_not_exceed() -> None:
    one = Known(model="x", mode="train", precision="fp32", board="A100", published=100.0, predicted=100.0)
    found = error_of([replace(one, predicted=100.0 + number) for number in range(1, 11)])
    assert (found.pairs, found.median, found.p90) == pytest.approx((10, 0.055, 0.09))
    halved = error_of([replace(one, predicted=50.0)] * 3)
    assert (halved.median, halved.factor) == (1.0, 1.0)
    centred = error_of([replace(one, predicted=50.0)] * 3, centred=True)
    assert (centred.median, centred.factor) == (0.0, 2.0)


def test_the_kept_errors_are_those_of_the_tables() -> None:
    """Else: python benchmarks/prediction.py --write, which records some fifty steps and takes a minute."""
    rows = tables.rows("prediction_errors")
    assert {row["kind"] for row in rows} == {"transfer", "train", "infer"}
    assert {row["tables"] for row in rows} == {digest()}
    counted = {"transfer": len(known_pairs(made))}
    counted |= {mode: sum(one.mode == mode for one in known_figures(made)) for mode in ("train", "infer")}
    assert {row["kind"]: int(row["pairs"]) for row in rows} == counted
    assert all(0 < float(row["median"]) < float(row["p90"]) < 1 for row in rows)


def test_kept_errors_of_one_model_are_what_its_steps_give() -> None:
    """The steps themselves, of the model that most figures are of: the rest is the benchmark's."""
    from dltool.bench.networks.published import step_traffic

    def only(model: Counterpart, mode: str, precision: str, batch: int, compiled: bool) -> Traffic:
        if model.published != "resnet50" or mode != "train" or batch != 256:
            raise CannotRun("not asked for", remedy="")
        return step_traffic(model, mode, precision, batch, compiled)

    found = known_pairs(only)
    assert len(found) > 90
    error, kept = error_of(found), known_error("transfer")
    assert kept is not None
    assert error.median < 0.25
    assert error.p90 < 1.3 * kept.p90


# --- shown ------------------------------------------------------------------------------------------------------------


def test_a_prediction_is_marked_as_one() -> None:
    found = [predict(STEP, H100, here=Here(board=A100, seconds=0.05), unit="image"), predict(STEP, A100, unit="image")]
    assert predictions.head(found)[0] == "predicted, not measured"
    assert predictions.head(found)[2] == "images/s"
    assert predictions.row(found[0])[0] == "H100 SXM5 80GB, train"
    marks = predictions.marks(found)
    kept = known_error("transfer")
    assert kept is not None
    assert marks[0] == "a prediction by the roofline; bf16, batch 8"
    assert marks[1] == (
        f"train: ±{round(kept.p90 * 100)} % (9 of 10 of {kept.pairs} published), from the step on A100 SXM4 80GB"
    )
    assert marks[2].endswith("from peaks and bandwidth alone")
    assert len(predictions.assumptions(found)) == len(set(predictions.assumptions(found)))


def run(*arguments: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(make_app(["models"]), ["models", *arguments], env={"COLUMNS": "80"})
    return answer.exit_code, answer.stdout, answer.stderr


def test_the_command() -> None:
    code, text, _ = run("lenet5", "--predict", "H100 SXM", "--batch", "32", "--dtype", "amp-bf16")
    assert code == 0
    assert "predicted, not measured" in text
    assert "H100 SXM5 80GB, train" in text
    assert "a prediction by the roofline; amp-bf16, batch 32" in text
    assert max(map(len, text.splitlines())) <= 80
    code, text, _ = run("lenet5", "--predict", "T4", "--dtype", "fp16", "--json")
    train, infer = json.loads(text)["models"][0]["predictions"]
    assert (train["mode"], train["batch"], infer["batch"]) == ("train", 2, 1)
    assert "| H100 SXM5 80GB, infer |" in run("lenet5", "--predict", "H100 SXM", "--format", "markdown")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lenet5", "--predict", "H100 SXM", "--dtype", "int8"), "unknown dtype"),
        (("lenet5", "--predict", "nonsense board"), "unknown GPU"),
        (("--predict", "H100 SXM"), "--predict is for named models"),
        (("lenet5", "--predict", "GeForce GTX 1080", "--dtype", "bf16"), "its bf16 peak is not known"),
    ],
)
def test_what_cannot_be_predicted_is_said(arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run(*arguments)
    assert code in (2, 3)
    assert words in err
