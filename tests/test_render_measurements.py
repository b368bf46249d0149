"""What people see of a benchmark, at 60, 80 and 120 columns: measurements made up from published conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from explained_cases import H100, WRONG, cpu_of, gemm, gpu, on_cpu, steady
from msgspec.structs import replace

from dltool.bench.devices import Device, host_timer
from dltool.bench.explain import explain
from dltool.render import FORMATS, Style, measured
from dltool.render.cases import cases
from dltool.results import Conditions, Measurement, Report, Status, Work

STEP = 2 * 8192**3
CAPPED = gemm(
    722e12,
    mhz=1410,
    throttle=("sw_power_cap",),
    burst_s=STEP / 790e12,
    kernel="nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNN",
    energy_j=1.06,
)
_HOT = gemm(560e12, mhz=1140, throttle=("hw_thermal_slowdown",), dtype="fp16", cold_s=STEP / 500e12)
HOT = replace(_HOT, conditions=replace(_HOT.conditions, temperature_c=steady(91)))
SMALL = gemm(300e12, mhz=1755, m=1024, n=1024, dtype="fp16")
BROKEN = gemm(700e12, verified=WRONG, dtype="fp8_e4m3", warnings=("WRONG RESULT: error 0.4, tolerance 0.01 against float64",))
NOT_RUN = Measurement(
    workload="gemm",
    params={"m": 8192, "n": 8192, "k": 8192, "dtype": "int8"},
    device="cuda:0 H100 SXM5 80GB",
    dtype="int8",
    not_run="CUDA out of memory",
)
EMULATED = gemm(
    90e12,
    mhz=1755,
    dtype="int4",
    implementation="emulated: Hopper has no units for int4",
    support="emulated",
    peak=None,
    peak_basis=None,
    share_of_peak=None,
)
READ = gemm(
    2.8e12,
    mhz=1755,
    workload="memory",
    params={"kernel": "read", "bytes": 2**28},
    rate_unit="B/s",
    peak=3.35e12,
    peak_basis="datasheet",
    dtype="fp32",
)
REPORT = Report(
    boards=(H100,),
    measurements=tuple(explain(case, gpu()) for case in (CAPPED, HOT, SMALL, BROKEN, NOT_RUN, EMULATED, READ)),
)


def text(report: Report = REPORT, **style: object) -> str:
    return FORMATS.get("text")(report, Style(**style))  # type: ignore[arg-type]


def tables(width: int) -> str:
    """The two tables alone."""
    return text(width=width).split("\n\n", 1)[1].partition("\n\nbf16 ")[0].partition("\n\nbf16\n")[0]


def test_the_table_at_60_columns() -> None:
    assert tables(60) == (
        "gemm      size                   rate  of peak  normal?\n"
        "bf16      8192³           722 TFLOP/s     73 %  normal\n"
        "fp16      8192³           560 TFLOP/s     57 %  low\n"
        "fp16      1024x1024x8192  300 TFLOP/s     30 %\n"
        "fp8_e4m3  8192³                 WRONG\n"
        "int8      8192³               not run\n"
        "int4      8192³            90 TFLOP/s\n"
        "\n"
        "memory  size         rate  of peak    95 %    step  samples\n"
        "read    256 MiB  2.8 TB/s     84 %  ±1.0 %  393 ms       12"
    )


def test_the_table_at_80_columns() -> None:
    assert tables(80).splitlines()[:6] == [
        "gemm      size                   rate  of peak  at clock  normal?    95 %  burst",
        "bf16      8192³           722 TFLOP/s     73 %      95 %  normal   ±1.0 %   +9 %",
        "fp16      8192³           560 TFLOP/s     57 %      91 %  low      ±1.0 %",
        "fp16      1024x1024x8192  300 TFLOP/s     30 %      32 %           ±1.0 %",
        "fp8_e4m3  8192³                 WRONG",
        "int8      8192³               not run",
    ]


def test_the_table_at_120_columns() -> None:
    assert tables(120).splitlines()[:4] == [
        "gemm      size                   rate  of peak  at clock  normal?    95 %  burst   cold     step  samples",
        "bf16      8192³           722 TFLOP/s     73 %      95 %  normal   ±1.0 %   +9 %         1.52 ms       12",
        "fp16      8192³           560 TFLOP/s     57 %      91 %  low      ±1.0 %         -11 %  1.96 ms       12",
        "fp16      1024x1024x8192  300 TFLOP/s     30 %      32 %           ±1.0 %                57.3 µs       12",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_too_long_and_nothing_is_lost(width: int, verbose: bool) -> None:
    shown = text(width=width, verbose=verbose)
    assert max(map(len, shown.splitlines())) <= max(width, 46)  # the name and the rate are never left out
    words = " ".join(shown.split())
    for sentence in ("which is not normal", "not run: CUDA out of memory", "fallback reaches 1.3 times the"):
        assert sentence in words


def test_beneath_stands_why() -> None:
    assert "\n\nbf16                73 %: power cap held 1410 of 1980 MHz (datasheet: 1830), as\n" in text()
    assert "                    low: 821 TFLOP/s published for H100 SXM5 80GB, fp16 gemm (1\n" in text()
    assert "fp8_e4m3            WRONG RESULT: error 0.4, tolerance 0.01 against float64\n" in text()


def test_verbose_shows_how_each_figure_follows() -> None:
    shown = " ".join(text(verbose=True, width=100).split())
    for part in (
        "normal: 730 to 821 TFLOP/s published for H100 SXM5 80GB, bf16 gemm (3 figures); yours, 722 TFLOP/s, is close to that",
        "kernel nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNN",
        "peak 989 TFLOP/s: 132 SMs x 4096 op/clock/SM x 1830 MHz [derived], published as 989.5 TFLOP/s",
        "990 TFLOP/s x 1.08 boost x 0.71 power x 0.97 quantisation x 0.98 kernel = 722 TFLOP/s",
        "burst 790 TFLOP/s",
        "1.06 J a step",
        "published by huggingface/gpu-fryer",
    ):
        assert part in shown
        assert part not in " ".join(text(width=100).split())


def test_what_reaches_its_peak_needs_no_words() -> None:
    good = explain(gemm(722e12, mhz=1410, board=H100), gpu())
    assert "power cap" not in text(Report(measurements=(replace(good, normal=None, shares=None, share_of_peak=0.95),)))


def test_a_wrong_result_shows_no_rate_in_any_format() -> None:
    report = Report(measurements=(explain(BROKEN, gpu()),))
    for name in ("text", "markdown", "junit", "sarif", "github", "gitlab"):
        shown = FORMATS.get(name)(report, Style(verbose=True))
        assert "700 TFLOP/s" not in shown, name
        assert "71 %" not in shown, name
    assert [case.finding.status for case in cases(report)] == [Status.FAIL]


def test_markdown_has_the_columns_that_matter() -> None:
    shown = FORMATS.get("markdown")(REPORT, Style())
    assert "| case | rate | of peak | at clock | normal? | 95 % of median | step | samples | remarks |" in shown
    assert "| 722 TFLOP/s | 73 % | 95 % | normal | ±1.0 % | 1.52 ms | 12 | 73 %: power cap held 1410" in shown
    assert "| WRONG |  |  |  |  |  |" in shown


def test_names_say_what_is_unusual() -> None:
    sides = {"m": 4096, "n": 4096, "k": 4096}
    plain = replace(CAPPED, params=sides)
    assert (measured.name(plain), measured.size(plain)) == ("bf16", "4096³")
    assert measured.name(replace(plain, params={**sides, "data": "zeros"})) == "bf16 zeros"
    assert measured.name(replace(plain, params={**sides, "layout": "tt"})) == "bf16 tt"
    assert measured.name(replace(plain, label="flash, causal")) == "flash, causal"
    assert measured.size(replace(plain, size="8 x 1024")) == "8 x 1024"


def test_skipped_products_are_told() -> None:
    sparse = replace(CAPPED, work=Work(ops=100, bytes=1, skipped_ops=50))
    assert measured.troubles(sparse) == ["counts skipped products, as datasheets do; 361 TFLOP/s are computed"]


def test_a_cpu_tells_what_it_did_not_get() -> None:
    board = cpu_of(("avx2", "fma", "avx512f"))
    case = on_cpu(
        4e11,
        board,
        conditions=Conditions(cpu_mhz=4000.0, cpu_share=0.34),
        warnings=("got 34% of 8 processors: other programs ran, or threads waited",),
    )
    device = Device(name="cpu", board=board, timer=host_timer, threads=8)
    shown = text(Report(measurements=(explain(case, device),), boards=(board,)), verbose=True)
    assert "at clock" not in shown
    assert shown.count("got 34") == 1
    assert "peak 2.05 TFLOP/s: 8 cores x 64 op/clock/core (avx512f) x 4000 MHz measured" in " ".join(shown.split())
    assert "x 0.34 neighbours" in shown


def test_the_readme_shows_the_same() -> None:
    shown = text(Report(boards=(H100,), measurements=tuple(explain(case, gpu()) for case in (CAPPED, HOT, BROKEN))), width=100)
    assert shown in (Path(__file__).parent.parent / "docs/bench.md").read_text(encoding="utf-8")
