"""Steps of models: what is measured of them, that it is right, and what becomes of those that cannot run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_cpu import FAST, cpu_device
from own_models import good

from dltool.bench import harness, resident
from dltool.bench.isolation import runs
from dltool.bench.isolation.workers import Workers
from dltool.bench.networks import checking, examining, making
from dltool.bench.networks.making import Network
from dltool.bench.networks.precision import PRECISIONS
from dltool.bench.workloads.model import Model
from dltool.errors import UsageError
from dltool.results import Measurement

OWN = f"{Path(__file__).parent / 'own_models.py'}"


def measured(**fields: Any) -> Measurement:
    return harness.measure("model", Model(**{"batch": 2, **fields}), cpu_device(), FAST)


def own(name: str, **fields: Any) -> Measurement:
    return measured(model=f"{OWN}:{name}", **{"input": "float:N,8", **fields})


def test_inference_of_a_network_of_the_zoo() -> None:
    found = measured(model="lenet5_d2l", batch=4)
    step = found.model
    assert found.not_run is None
    assert step is not None
    assert (step.unit, step.units, step.samples) == ("image", 4, 4)
    assert step.throughput == pytest.approx(4 / (found.median_s or 0))
    assert step.flops is not None
    assert found.work.ops == step.flops.ops == 4 * 2 * (28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10)
    assert found.rate == pytest.approx(step.flops.ops / (found.median_s or 0))
    assert step.mfu == pytest.approx(found.share_of_peak)
    assert "MFU" in step.formula
    assert found.verified is not None
    assert (found.verified.reference, found.verified.ok) == ("float64", True)
    assert step.accuracy is not None
    assert step.accuracy.agreeing == 1.0
    assert step.parts == ()


def test_training_is_taken_apart() -> None:
    found = measured(model="lenet5_d2l", mode="train", optimizer="adamw", batch=4)
    assert found.model is not None
    assert [part.name for part in found.model.parts] == ["forward", "loss", "backward", "optimizer"]
    assert all(part.seconds > 0 and part.inside for part in found.model.parts)
    assert found.verified is not None
    assert found.verified.ok
    assert found.verified.error == pytest.approx(0, abs=1e-5)


def test_a_sequence_counts_its_tokens() -> None:
    found = measured(model="gpt2", options="width=32;layers=1;heads=2;vocab_size=50", input="int<50:N,16")
    assert found.not_run is None, found.not_run
    assert found.model is not None
    assert (found.model.unit, found.model.units) == ("token", 32)


@pytest.mark.parametrize("precision", ["amp-bf16", "bf16", "amp-fp16"])
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_lower_precisions_are_near_fp32(precision: str, mode: str) -> None:
    found = measured(model="lenet5_d2l", mode=mode, precision=precision)
    assert found.not_run is None
    assert found.verified is not None
    assert found.verified.ok
    assert found.dtype == PRECISIONS[precision].dtype
    if mode == "infer":
        assert 0 < (found.verified.error or 0) < 0.05


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "adamw"])
def test_every_optimizer_makes_steps(optimizer: str) -> None:
    assert own("good", mode="train", optimizer=optimizer).not_run is None


def test_channels_last_is_for_images() -> None:
    assert measured(model="resnet18", options="num_classes=2", input="float:N,3,32,32", layout="channels_last").not_run is None
    assert "takes no images" in (own("good", layout="channels_last").not_run or "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_model_that_is_compiled_gives_the_same() -> None:
    found = own("good", compile="default")
    assert found.not_run is None
    assert found.verified is not None
    assert found.verified.ok
    assert found.model is not None
    assert found.median_s is not None
    assert (found.model.first_step_s or 0) > 10 * found.median_s


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_other_backends_give_the_same(backend: str) -> None:
    case = Model(model=f"{OWN}:good", input="float:N,8", batch=2, backend=backend)
    with Workers() as workers:
        (found,) = runs.run([("model", case)], cpu_device(), FAST, workers)
    assert found.not_run is None, found.not_run
    assert found.verified is not None
    assert found.verified.ok
    assert found.model is not None
    assert found.model.notes


def test_eight_bits_say_what_they_replaced() -> None:
    found = measured(model=f"{OWN}:wide", precision="int8", input="float:N,64", batch=32)
    assert found.not_run is None, found.not_run
    assert found.dtype == "int8"
    assert found.model is not None
    assert any("linear" in note for note in found.model.notes)
    assert found.verified is not None
    assert 0 < (found.verified.error or 0) < 0.1


def test_inputs_that_a_model_brings() -> None:
    found = measured(model=f"{OWN}:counted")
    assert found.model is not None
    assert (found.model.unit, found.model.units) == ("sample", 1)  # whatever the batch


def test_wrong_arithmetic_has_no_rate() -> None:
    found = own("nan")
    assert found.rate is None
    assert any(text.startswith("WRONG RESULT") for text in found.warnings)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("raises", {}, "raised KeyError: 'no such head'"),
        ("none", {}, "gives str, no model"),
        ("missing", {}, "missing"),
        ("good", {"input": ""}, "what"),
        ("good", {"input": "float:N,9"}, "RuntimeError"),
        ("good", {"options": "depth=3"}, "depth"),
        ("good", {"weights": "/nowhere.safetensors"}, "nowhere"),
        ("good", {"graph": "yes"}, "CUDA"),
        ("good", {"precision": "tf32"}, "CUDA"),
    ],
)
def test_what_cannot_run_is_a_row_that_says_why(name: str, fields: dict[str, Any], said: str) -> None:
    found = own(name, **fields)
    assert found.not_run is not None
    assert said in found.not_run
    assert "\n" not in found.not_run


def test_a_hostile_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    torch.save({"0.weight": Hostile()}, tmp_path / "bad.pt")
    found = own("good", weights=str(tmp_path / "bad.pt"))
    assert found.not_run is not None
    assert not (tmp_path / "owned").exists()


def test_weights_of_a_file_are_used(tmp_path: Path) -> None:
    torch.save(good().state_dict(), tmp_path / "good.pt")
    assert own("good", weights=str(tmp_path / "good.pt")).not_run is None
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    assert "does not fit" in (own("good", weights=str(tmp_path / "other.pt")).not_run or "")


def test_own_processes_outlive_models_that_do_not(capfd: pytest.CaptureFixture[str]) -> None:
    cases = [
        ("model", Model(model=f"{OWN}:{name}", input="float:N,8", batch=2)) for name in ("prints", "exits", "dies", "good")
    ]
    with Workers() as workers:
        rows = list(runs.run(cases, cpu_device(), FAST, workers))
    assert rows[0].not_run is None
    assert "SystemExit: 3" in (rows[1].not_run or "")
    assert "SIGABRT" in (rows[2].not_run or "")
    assert rows[3].not_run is None
    assert capfd.readouterr().out == ""


def test_a_model_that_hangs_costs_its_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "extra_s", 0.0)
    monkeypatch.setattr(runs, "_ADDED_S", 1.0)
    with Workers() as workers:
        (row,) = runs.run(
            [("model", Model(model=f"{OWN}:hangs", input="float:N,8"))], cpu_device(), replace(FAST, cap_s=1.0), workers
        )
    assert "was stopped after" in (row.not_run or "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "resnet5"}, "resnet50"),
        ({"precision": "fp31"}, "fp32"),
        ({"optimizer": "adamm"}, "adam"),
        ({"mode": "training"}, "train"),
        ({"input": "float"}, "describes no inputs"),
        ({"mode": "train", "precision": "int8"}, "inference"),
        ({"mode": "train", "backend": "openvino"}, "openvino"),
        ({"compile": "fast"}, "default"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Model(**fields)
    assert said in f"{refused.value} {refused.value.remedy}"


def made(**fields: Any) -> Network:
    subject = making.subject_of(f"{OWN}:good", {}, "float:N,8")
    return making.network(torch, subject, cpu_device(), PRECISIONS["fp32"], batch=4, training=False, **fields)


def test_outputs_are_compared_with_the_reference() -> None:
    known = checking.reference(made(), training=False)
    assert known.samples == 2
    right = made().forward()
    told, accuracy = checking.of_outputs(right, known, 1e-3)
    assert told.ok
    assert accuracy is not None
    wrong, accuracy = checking.of_outputs(right * torch.tensor([1.0, 1.0, 1.0, 1.1]), known, 1e-3)
    assert not wrong.ok
    assert accuracy is not None
    assert accuracy.relative_error > 0.01


def test_outputs_of_other_shapes_must_at_least_be_numbers() -> None:
    known = checking.Reference("eager fp32", outputs=(torch.zeros(3, 4),))
    assert checking.of_outputs(torch.zeros(2, 4), known, 0.1)[0].ok
    assert not checking.of_outputs(torch.tensor([float("inf")]), known, 0.1)[0].ok


def test_the_last_loss_must_be_a_number() -> None:
    known = checking.Reference("fp32", loss=2.0)
    assert checking.of_loss(2.1, 1.0, known).ok
    assert not checking.of_loss(2.1, float("nan"), known).ok
    assert not checking.of_loss(4.0, 1.0, known).ok


def test_the_peak_of_the_process_begins_anew() -> None:
    torch.zeros(2**26)  # 256 MiB, gone at once
    before = resident.peak() or 0
    examining.forget_peak(cpu_device(), torch)
    assert (resident.peak() or 0) < before - 2**27


def test_memory_of_the_process_is_read() -> None:
    assert (resident.now() or 0) > 10**7
    assert (resident.peak() or 0) >= (resident.now() or 0) * 0.5
