"""Published figures: every row means something, what is odd is marked, and the verdict that rests on them."""

from __future__ import annotations

import re

import pytest
from explained_cases import H100, gemm
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from dltool import catalog, peaks, reference, tables
from dltool.bench.normal import comparable, normal
from dltool.catalog import Board
from dltool.cli.bench import app
from dltool.reference import Figure
from dltool.render.figures import amount, span, summary
from dltool.results import Work

FIGURES = reference.figures()
UNITS = {
    "FLOP/s", "OP/s", "B/s", "s", "images/s", "sequences/s", "tokens/s", "mel frames/s", "audio samples/s",
}  # fmt: skip
KEYS = {
    **{row["name"]: row["cuda_peaks"].split() for row in tables.rows("dtypes")},
    "fp32_vector": ["fp32"], "fp16_vector": ["fp16"], "bf16_vector": ["bf16"], "fp64_vector": ["fp64"],
    "fp64_mma": ["fp64_tensor", "fp64"], "fp16_acc16": ["fp16_tensor"], "nvfp4": ["fp4_tensor"], "mxfp4": ["fp4_tensor"],
    "fp4": ["fp4_tensor"], "fp8_rowwise": ["fp8_tensor_acc32"], "fp8_block_1x128": ["fp8_tensor_acc32"],
    "int8_sparse": ["int8_tensor"], "nvfp4_sparse": ["fp4_tensor"], "mxfp4_sparse": ["fp4_tensor"],
}  # fmt: skip


def peak_of(figure: Figure, board: Board) -> float | None:
    """What the catalogue derives for the figure's dtype, or the board's bandwidth."""
    if figure.unit == "B/s":
        own = figure.case.get("kernel") in ("read", "write", "scale", "triad")
        return board.memory_gb_per_s * 1e9 if own and board.memory_gb_per_s else None
    for key in (key for dtype in figure.dtypes for key in KEYS.get(dtype, ())):
        if key in board.peaks:
            peak = board.peaks[key]
            found = peak.sparse if any("sparse" in dtype for dtype in figure.dtypes) else peak.dense
            return found * 1e12 if found else None
    return None


# --- the table --------------------------------------------------------------------------------------------------------


def test_nothing_was_dropped() -> None:
    assert len(FIGURES) == 471


def test_every_board_is_one_of_the_catalogue() -> None:
    assert {name for figure in FIGURES for name in figure.boards} <= set(catalog.board_names())
    assert sum(bool(figure.boards) for figure in FIGURES) == 431


def test_units_and_words_are_the_documented_ones() -> None:
    assert {figure.unit for figure in FIGURES} == UNITS
    assert {figure.workload for figure in FIGURES} == {
        "gemm", "memory", "instructions", "train", "infer", "collective", "launch",
    }  # fmt: skip
    assert {figure.metric for figure in FIGURES} == {
        "rate", "best-rate", "sustained-rate", "bus-rate", "latency", "time-to-train",
    }  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", figure.date) for figure in FIGURES)
    assert all(figure.value > 0 for figure in FIGURES)


def test_dtypes_are_ours_or_explained() -> None:
    ours = {row["name"] for row in tables.rows("dtypes")}
    later = {
        "nvfp4", "mxfp4", "fp4", "fp16_acc16", "fp8_rowwise", "fp8_block_1x128", "fp64_mma", "q4_k_m", "fp32_vector",
        "fp16_vector", "bf16_vector", "fp64_vector", "int32_vector",
    }  # fmt: skip
    found = {dtype.removesuffix("_sparse") for figure in FIGURES for dtype in figure.dtypes}
    assert found <= ours | later


def test_rates_are_plausible_or_marked() -> None:
    """No figure is above the derived peak, or so far below that a unit must be wrong, without a note that says why."""
    checked = 0
    for figure in FIGURES:
        for name in figure.boards:
            board = peaks.with_peaks(catalog.board(name))
            peak = peak_of(figure, board)
            if peak is None or figure.workload not in ("gemm", "memory", "instructions"):
                continue
            checked += 1
            share = figure.value / peak
            assert share <= 1 or "peak" in figure.note, f"{share:.2f} of peak without a note: {figure}"
            assert share > 0.5 or figure.ops is not None or "fp4" in figure.dtypes, f"{share:.2f} of peak: {figure}"
    assert checked > 90


def test_what_is_not_compared_says_why() -> None:
    left_out = [figure for figure in FIGURES if not figure.comparable]
    assert left_out
    assert all(figure.note for figure in left_out)


def test_eight_gpus_do_not_give_ten_times_as_much_unmarked() -> None:
    one = {
        (figure.boards, figure.case.get("model"), figure.dtypes, figure.software, figure.conditions): figure.value
        for figure in FIGURES
        if figure.devices == 1 and figure.workload == "train"
    }
    for figure in FIGURES:
        alone = one.get((figure.boards, figure.case.get("model"), figure.dtypes, figure.software, figure.conditions))
        if figure.devices == 8 and alone and figure.metric == "rate" and figure.comparable:
            assert figure.value / alone < 8.6, figure


def test_select() -> None:
    found = reference.select(board="H100 SXM5 80GB", dtype="bf16", workload="gemm")
    assert {round(figure.value / 1e12) for figure in found} == {730, 794, 821}
    assert len(reference.select()) == 471


# --- is this normal? --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tflops", "verdict", "words"),
    [
        (600, "low", "yours, 600 TFLOP/s, is 18 % below the lowest"),
        (722, "normal", "is close to that"),
        (790, "normal", "is one of them"),
        (850, "normal", "is close to that"),
        (950, "high", "is 16 % above the highest"),
    ],
)
def test_the_verdict(tflops: float, verdict: str, words: str) -> None:
    found = normal(gemm(tflops * 1e12), H100)
    assert found.verdict == verdict
    assert found.text.startswith("730 to 821 TFLOP/s published for H100 SXM5 80GB, bf16 gemm (3 figures); ")
    assert found.text.endswith(words)
    assert (found.low, found.high, found.figures) == (730e12, 821.2e12, 3)
    assert len(found.sources) == 3


@given(st.floats(1e9, 1e16))
def test_a_higher_rate_is_never_called_lower(rate: float) -> None:
    order = ("low", "normal", "high")
    verdicts = [normal(gemm(value), H100).verdict for value in (rate, rate * 1.5)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


def test_small_shapes_are_no_measure() -> None:
    b200 = peaks.with_peaks(catalog.board("B200"))
    rates = {figure.value for figure in comparable(gemm(1.4e15, board=b200), b200)}
    assert 423e12 not in rates  # 1024 cubed
    assert 1410e12 in rates
    small = gemm(423e12, m=1024, n=1024, k=1024, board=b200)
    assert 423e12 in {figure.value for figure in comparable(small, b200)}
    assert normal(gemm(300e12, m=1024, n=1024, k=1024), H100).verdict == "unknown"


def test_memory_compares_the_same_kernel() -> None:
    pcie = peaks.with_peaks(catalog.board("H100 PCIe 80GB"))
    read = gemm(1.9e12, workload="memory", params={"kernel": "read"}, dtype="fp32", rate_unit="B/s", work=Work(bytes=2**30))
    assert normal(read, pcie).text == (
        "1.94 TB/s published for H100 PCIe 80GB, memory read (1 figure); yours, 1.9 TB/s, is close to that"
    )
    assert normal(replace(read, params={"kernel": "copy"}), pcie).verdict == "unknown"


def test_what_nobody_published_is_unknown() -> None:
    found = normal(gemm(1e12), Board(name="AMD EPYC"))
    assert (found.verdict, found.low, found.figures) == ("unknown", None, 0)
    assert found.text == "no figure is published for AMD EPYC, bf16 gemm"


# --- shown ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(7.945e14, "FLOP/s", "794 TFLOP/s"), (3079, "images/s", "3079 images/s"), (54.34, "tokens/s", "54.3 tokens/s"),
     (540, "s", "9.0 min"), (6.08e-6, "s", "6.08 µs")],
)  # fmt: skip
def test_amounts(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_a_range_says_its_unit_once() -> None:
    assert span(794.5e12, 821.2e12, "FLOP/s") == "794 to 821 TFLOP/s"
    assert span(1e9, 2e12, "B/s") == "1 GB/s to 2 TB/s"
    assert span(5, 5, "images/s") == "5 images/s"


def test_the_summary_leaves_out_what_misleads() -> None:
    shown = {row for rows in summary(FIGURES).values() for row in rows}
    assert ("gemm", "bf16", "730 to 794 TFLOP/s", "(2)") in summary(FIGURES)["H100 SXM5 80GB"]
    assert not any("295 TFLOP/s" in row[2] for row in shown)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["reference", *arguments], env={"COLUMNS": "80"})
    return result.exit_code, result.stdout, result.stderr


def test_the_figures_of_a_board() -> None:
    code, out, _ = run("H100 SXM", "--dtype", "bf16")
    assert code == 0
    assert out == (
        "H100 SXM5 80GB\n"
        "  workload              dtype           published  \n"
        "  gemm 2048x2048x13312  bf16          794 TFLOP/s  [1] a\n"
        "  gemm 6144x17920x2816  bf16 or fp16  821 TFLOP/s  [2] b\n"
        "  gemm                  bf16          730 TFLOP/s  [3] c\n"
        "\n"
        "[1] stas00/ml-engineering, compute/accelerator/README.md, 2026-08-22\n"
        "[2] mag-/gpu_benchmark, README.md, 2026-11-21\n"
        "[3] huggingface/gpu-fryer, README.md, 2026-11-21\n"
        " a  best shape of a search; the source says H200 gives the same\n"
        " b  best shape of a search\n"
        " c  burn-in; stress test of minutes\n"
    ).replace("published  \n", "published\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense board"], "unknown GPU"),
        (["H100 SXM", "--dtype", "bf61"], "Did you mean `bf16`"),
        (["--workload", "gem"], "Did you mean `gemm`"),
        (["A100", "--workload", "memory"], "Known: gemm, infer, train"),
        (["GeForce GTX 780"], "no figure is published"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert not out
    assert words in err


def test_all_of_them_as_json_and_markdown() -> None:
    import json

    code, out, _ = run("--json")
    assert code == 0
    assert len(json.loads(out)["figures"]) == 471
    _, markdown, _ = run("L40S", "--format", "markdown")
    assert "| L40S | gemm 4416x3776x3072 |" in markdown
