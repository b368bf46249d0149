"""`--batch max` and `--batch sweep`, what a sweep says together, and the explanation of a batch that finds no memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench_cpu import FAST, cpu_device
from msgspec.structs import replace
from typer.testing import CliRunner

from dltool.bench import harness
from dltool.bench.isolation import runs
from dltool.bench.isolation.workers import Workers
from dltool.bench.networks import expanding
from dltool.bench.networks.expanding import Batches
from dltool.bench.networks.trials import PRELOAD
from dltool.bench.workloads.gemm import Gemm
from dltool.bench.workloads.model import Model
from dltool.cli.bench import app
from dltool.render import FORMATS, Style
from dltool.results import Measurement, Report
from dltool.step_results import BatchSearch, ModelStep

OWN = f"{Path(__file__).parent / 'own_models.py'}"
CASE = Model(model="lenet5_d2l")


def batches(way: str) -> Batches:
    return Batches(way, 5.0, lambda _text: None)


def row(batch: int, rate: float, **fields: Any) -> Measurement:
    step = ModelStep(unit="image", units=batch, samples=batch, throughput=rate)
    params = {**harness.parameters(CASE), "batch": batch}
    return replace(
        Measurement(
            workload="model", params=params, device="cpu a CPU", dtype="fp32", median_s=batch / rate, rate=1e9, model=step
        ),
        **fields,
    )


@pytest.mark.parametrize(("way", "found"), [("max", [8]), ("sweep", [1, 2, 4, 8])])
def test_batches_are_found_by_real_tries(way: str, found: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expanding, "_MOST", 8)
    asked = batches(way)
    with Workers(PRELOAD) as workers:
        cases = asked.expand([("gemm", Gemm()), ("model", CASE)], cpu_device(), workers)
    assert cases[0] == ("gemm", Gemm())
    assert [case.batch for _, case in cases[1:]] == found
    (search,) = asked.searches.values()
    assert (search.largest, search.limited_by) == (8, "most")


def test_a_sweep_ends_with_its_curve() -> None:
    asked = batches("sweep")
    key = expanding._apart_from_batch(harness.parameters(CASE))
    asked.searches[key] = BatchSearch(largest=4, limited_by="memory")
    first, *_, last = asked.conclude([row(1, 100.0), row(2, 180.0), row(4, 185.0)])
    assert first.model is not None
    assert first.model.curve is None
    assert last.model is not None
    assert last.model.search == asked.searches[key]
    assert last.model.curve is not None
    assert (last.model.curve.knee, [point.batch for point in last.model.curve.points]) == (2, [1, 2, 4])
    text = FORMATS.get("text")(Report(measurements=(first, last)), Style(width=100))
    assert "knee" in text
    assert "| knee" in FORMATS.get("markdown")(Report(measurements=(first, last)), Style())


def test_rows_that_did_not_run_are_no_points() -> None:
    asked = batches("sweep")
    asked.searches[expanding._apart_from_batch(harness.parameters(CASE))] = BatchSearch(largest=2, limited_by="memory")
    found = asked.conclude([row(1, 100.0), row(2, 100.0, model=None, not_run="killed")])
    assert found[1].model is None
    (alone,) = asked.conclude([row(1, 100.0)])
    assert alone.model is not None
    assert alone.model.curve is None
    assert asked.conclude([row(1, 1.0, params={**harness.parameters(CASE), "mode": "train"})])[0].model is not None


def test_a_batch_that_finds_no_memory_is_explained() -> None:
    case = Model(model=f"{OWN}:good", input="float:N,8", mode="train", batch=2**34, optimizer="adamw")
    with Workers() as workers:
        (found,) = runs.run([("model", case)], cpu_device(), FAST, workers)
    assert found.rate is None
    told = found.out_of_memory
    assert told is not None, found.not_run
    assert (told.batch, told.optimizer) == (2**34, "adamw")
    assert told.held[0].name in ("activations", "inputs", "temporary")
    text = FORMATS.get("text")(Report(measurements=(found,)), Style(width=100))
    assert told.changes[0].what in text
    assert told.changes[0].what in FORMATS.get("markdown")(Report(measurements=(found,)), Style())


def test_the_step_is_predicted_for_other_boards() -> None:
    found = harness.measure(
        "model", Model(model="lenet5_d2l", batch=2, compare="A100 SXM4 80GB;H100 SXM5 80GB"), cpu_device(), FAST
    )
    assert found.model is not None
    assert [one.board for one in found.model.prediction] == ["A100 SXM4 80GB", "H100 SXM5 80GB"]
    assert all(one.throughput and one.error is not None for one in found.model.prediction)
    assert "predicted, not measured" in FORMATS.get("markdown")(Report(measurements=(found,)), Style())


def test_what_cannot_be_predicted_is_said() -> None:
    found = harness.measure(
        "model",
        Model(model=f"{OWN}:wide", input="float:N,64", batch=32, precision="int8", compare="A100 SXM4 80GB"),
        cpu_device(),
        FAST,
    )
    assert found.model is not None
    assert found.model.prediction == ()
    assert any(note.startswith("no prediction") for note in found.model.notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--batch", "max,8"], "stands alone"), (["--compare", "H900"], "H900")],
)
def test_what_the_command_refuses(arguments: list[str], said: str) -> None:
    answer = CliRunner().invoke(app, ["model", "lenet5_d2l", *arguments, "--device", "cpu"])
    assert answer.exit_code == 2
    assert said in " ".join(answer.stderr.split())
