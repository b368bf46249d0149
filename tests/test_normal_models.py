"""A model's rate beside published ones: what is the same model, under which conditions, in which unit, what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import catalog, peaks, reference, tables
from dltool.bench.normal import normal
from dltool.bench.published_conditions import Way, differing, nearest
from dltool.bench.published_models import Counterpart, counterpart_of, counterparts, options_of
from dltool.catalog import Board
from dltool.results import Measurement, Normal
from dltool.step_results import ModelStep
from dltool.zoo.building import checked, factory
from dltool.zoo.entries import entries, entry
from dltool.zoo.inputs import parse


def board(name: str) -> Board:
    return peaks.with_peaks(catalog.board(name))


def measured(
    name: str, mode: str, precision: str, batch: int, rate: float, unit: str = "image", tokens: int = 1, **params: Any
) -> Measurement:
    """A measurement as `bench model` makes it."""
    return Measurement(
        workload="model",
        params={"model": name, "mode": mode, "precision": precision, "batch": batch, **params},
        device="cuda:0",
        dtype=precision.removeprefix("amp-"),
        settings={"torch": "2.13.0"},
        model=ModelStep(unit=unit, units=batch * tokens, samples=batch, throughput=rate),
    )


def judged(where: str, *arguments: Any, **params: Any) -> Normal:
    return normal(measured(*arguments, **params), board(where))


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_published_model_has_a_row() -> None:
    published = {figure.case["model"] for figure in reference.figures() if "model" in figure.case}
    assert published == {row.published for row in counterparts()}
    without = [figure for figure in reference.figures() if "model" in figure.case and counterpart_of(figure) is None]
    assert without == []


def test_every_row_is_one_of_the_zoo_or_says_why_not() -> None:
    known = {one.name for one in entries()}
    for row in counterparts():
        assert not row.name or row.name in known
        assert row.why if not row.comparable else row.name and row.batch
        if row.name:
            checked(factory(entry(row.name)), row.options)
        if row.input:
            assert len(parse(row.input)) == 1
    cells = tables.rows("model_names")
    assert {row["compare"] for row in cells} == {"yes", "no"}
    assert {row["mode"] for row in cells} <= {"", "train", "infer", "decode"}
    assert all(row["source"] for row in cells if row["compare"] == "yes")


def test_the_models_of_the_table_are_as_large_as_theirs() -> None:
    """Parameters as papers and packages print them: 304.3 M, 88.6 M, 87.8 M, 19.3 M."""
    from dltool.zoo import build

    wanted = {
        "vit_large_patch16_224": 304_326_632, "convnext_base": 88_591_464, "swin_base_patch4_window7_224": 87_768_224,
        "efficientnet_b4": 19_341_616,
    }  # fmt: skip
    for row in counterparts():
        if row.published in wanted:
            model = build(row.name, device="meta", **row.options)
            assert sum(one.numel() for one in model.parameters()) == wanted.pop(row.published)
    assert not wanted


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("head=pretraining", {"head": "pretraining"}),
        ("a=1; b=(3, 4)", {"a": "1", "b": "(3, 4)"}),
        ("a=1, b=(3, 4), c=x", {"a": "1", "b": "(3, 4)", "c": "x"}),
        ("", {}),
    ],
)
def test_options(text: str, options: dict[str, str]) -> None:
    assert options_of(text) == options


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "verdict", "words"),
    [
        (1200, "low", "yours, 1200 images/s, is 24 % below the lowest"),
        (1520, "normal", "yours, 1520 images/s, is close to that"),
        (2000, "normal", "yours, 2000 images/s, is one of them"),
        (2900, "high", "yours, 2900 images/s, is 17 % above the highest"),
    ],
)
def test_the_verdict(rate: float, verdict: str, words: str) -> None:
    found = judged("A100 SXM4 80GB", "resnet50", "train", "amp-fp16", 256, rate)
    assert found.verdict == verdict
    begin = "1582 to 2470 images/s published for A100 SXM4 80GB, resnet50 train in amp-fp16 (2 figures); "
    assert found.text.startswith(begin + words)
    assert (found.low, found.high, found.figures, len(found.sources)) == (1582, 2470, 2, 2)


@given(st.floats(1, 1e5))
def test_a_higher_rate_is_never_called_lower(rate: float) -> None:
    order = ("low", "normal", "high")
    verdicts = [judged("Tesla T4", "resnet50", "infer", "amp-fp16", 32, value).verdict for value in (rate, rate * 1.5)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


@pytest.mark.parametrize("name", ["resnet50", "timm:resnet50", "torchvision:resnet50"])
def test_the_same_model_of_other_packages(name: str) -> None:
    assert judged("H200 SXM", name, "train", "amp-fp16", 256, 3000).high == 3079


@pytest.mark.parametrize("params", [{"options": "num_classes=10"}, {"options": "zero_init_residual=True"}])
def test_options_make_another_model(params: dict[str, str]) -> None:
    assert judged("H200 SXM", "resnet50", "train", "amp-fp16", 256, 3000, **params).verdict == "unknown"


def test_options_that_are_those_of_the_publisher() -> None:
    row = next(one for one in counterparts() if one.published == "vit_large_patch16_224")
    options = "; ".join(f"{key}={value}" for key, value in row.options.items())
    large = judged("GeForce RTX 4090", "vit_b_16", "infer", "amp-fp16", 1024, 900, options=options)
    plain = judged("GeForce RTX 4090", "vit_b_16", "infer", "amp-fp16", 1024, 900)
    assert large.high is not None
    assert plain.low is not None
    assert large.high < plain.low
    assert judged("GeForce RTX 4090", f"vit_b_16({options})", "infer", "amp-fp16", 1024, 900).high == large.high


# --- conditions -------------------------------------------------------------------------------------------------------


def test_what_differs_is_said() -> None:
    params = {"layout": "channels_last", "optimizer": "adamw", "compile": "default"}
    text = judged("H100 SXM5 80GB", "resnet50", "train", "amp-bf16", 128, 2500, **params).text
    assert text.endswith(
        "is 10 % below the lowest; not alike: fp16 mixed with fp32 there, bf16 mixed with fp32 here; "
        "batch not told there, 128 here; compiled here, not told there; channels_last here, not told there; "
        "optimizer momentum there, adamw here; "
        "software NGC PyTorch container (v2 set) there, torch 2.13.0 here"
    )


@pytest.mark.parametrize(("batch", "figures"), [(1, {79}), (2, {79}), (8, {652}), (300, {1198}), (16, {652, 1128})])
def test_the_nearest_batch_counts(batch: int, figures: set[float]) -> None:
    found = judged("Tesla T4", "resnet50", "infer", "amp-fp16", batch, 100)
    assert {found.low, found.high} == figures
    assert ("batch" in found.text.partition("not alike")[2]) == (batch not in (1, 8))


def test_eager_is_compared_with_eager() -> None:
    eager, compiled = (
        judged("GeForce RTX 4090", "convnext_tiny", "infer", "amp-fp16", 1024, 2000, compile=how, options=BASE)
        for how in (False, "default")
    )
    assert eager.high is not None
    assert compiled.low is not None
    assert eager.high < compiled.low
    assert "eager" not in eager.text.partition("not alike")[2]
    assert "eager there" not in compiled.text


BASE = "depths=(3, 3, 27, 3); dims=(128, 256, 512, 1024)"


def test_fp16_throughout_is_not_mixed() -> None:
    found = judged("H100 SXM5 80GB", "resnet50", "train", "fp16", 256, 2800)
    assert "fp16 mixed with fp32 there, fp16 throughout here" in found.text


def test_fp32_is_not_tf32() -> None:
    assert judged("H100 SXM5 80GB", "resnet50", "train", "tf32", 256, 1900).high == 1894
    assert judged("H100 SXM5 80GB", "resnet50", "train", "fp32", 256, 900).verdict == "unknown"


def test_pictures_of_another_size_are_said() -> None:
    found = judged("A100 SXM4 80GB", "maskrcnn_resnet50_fpn", "train", "tf32", 12, 22)
    assert "input 3x800x1333 there, 3x800x800 here" in found.text
    same = judged("A100 SXM4 80GB", "maskrcnn_resnet50_fpn", "train", "tf32", 12, 22, input="float:N,3,800,1333")
    assert "input" not in same.text


# --- units ------------------------------------------------------------------------------------------------------------


def test_sequences_of_a_known_length_are_tokens() -> None:
    found = judged("A100 SXM4 80GB", "bert_large", "train", "amp-fp16", 64, 70_000, unit="token", tokens=128)
    assert (found.low, found.verdict) == (580 * 128, "low")
    assert "74240 tokens/s published" in found.text
    long = judged("A100 SXM4 80GB", "bert_large", "train", "amp-fp16", 16, 110_000, unit="token", tokens=512)
    assert long.low == 210 * 512
    assert judged("A100 SXM4 80GB", "bert_large", "train", "amp-fp16", 64, 9e4, unit="token", tokens=256).verdict == "unknown"


def test_sequences_as_they_are() -> None:
    found = judged("H100 SXM5 80GB", "bert_base", "train", "tf32", 32, 430, unit="sequence", options="head=question-answering")
    assert (found.low, found.verdict) == (436, "normal")
    given_length = {"options": "head=question-answering", "input": "int<30522:N,128"}
    assert judged("H100 SXM5 80GB", "bert_base", "train", "tf32", 32, 430, unit="sequence", **given_length).verdict == "unknown"


def test_units_that_are_no_units_of_the_figure() -> None:
    assert judged("H100 SXM5 80GB", "resnet50", "train", "tf32", 256, 1900, unit="token").verdict == "unknown"


def test_decoding_is_no_forward() -> None:
    assert judged("GeForce RTX 4090", "llama_3_8b", "decode", "fp16", 1, 50, unit="token").low == 54.34
    assert judged("GeForce RTX 4090", "llama_3_8b", "infer", "fp16", 1, 50, unit="token").verdict == "unknown"


# --- what is no comparison --------------------------------------------------------------------------------------------


def test_another_backbone_is_another_model() -> None:
    found = judged("A100 SXM4 80GB", "ssd300_vgg16", "train", "tf32", 32, 300)
    assert found.verdict == "unknown"
    assert found.text.endswith("train in tf32; ssd: SSD300 there has a ResNet-50 backbone, ours VGG-16")


def test_what_nobody_published() -> None:
    assert judged("A100 SXM4 80GB", "lenet5", "train", "fp32", 32, 300).text == (
        "no figure is published for A100 SXM4 80GB, lenet5 train in fp32"
    )
    assert normal(measured("resnet50", "train", "fp32", 8, 10), Board(name="AMD EPYC")).verdict == "unknown"
    untimed = replace(measured("resnet50", "train", "fp32", 8, 10), model=None)
    assert normal(untimed, board("A100 SXM4 80GB")).text == "no throughput was measured"


# --- pure parts -------------------------------------------------------------------------------------------------------

WAYS = st.builds(
    Way,
    dtype=st.sampled_from(["fp16", "bf16", "tf32"]),
    mixed=st.booleans(),
    batch=st.none() | st.integers(1, 4096),
    compiled=st.none() | st.booleans(),
    channels_last=st.none() | st.booleans(),
    optimizer=st.none() | st.sampled_from(["adam", "momentum"]),
    software=st.none() | st.sampled_from(["a", "b"]),
)


@given(st.lists(WAYS, min_size=1, max_size=8), WAYS)
def test_some_are_always_left_and_one_like_it_stays(ways: list[Way], here: Way) -> None:
    kept = nearest(ways, lambda way: way, here)
    assert kept
    assert all(one in ways for one in kept)
    with_me = nearest([*ways, here], lambda way: way, here)
    assert here in with_me
    assert differing([*with_me], here) == ()


def test_a_counterpart_without_tokens() -> None:
    assert Counterpart(published="x", input="float:N,3,224,224").tokens is None
    assert Counterpart(published="x", input="int<30522:N,128").tokens == 128
