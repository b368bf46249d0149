"""Peak rates: derived from the catalogue, beside what the makers print."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from msgspec.structs import replace

from dltool import catalog, live, names, peaks, tables
from dltool.catalog import PEAK_KEYS, Board, Peak
from dltool.machine import Cpu, Gpu

PUBLISHED = tables.rows("published")
DERIVED = r"(\d+) SMs x ([\d.]+) op/clock/SM(?: \(([^)]+)\))? x ([\d.]+) MHz"


def peaks_of(name: str) -> dict[str, Peak]:
    return peaks.gpu_peaks(names.find(name))


@pytest.fixture(scope="module")
def all_peaks() -> dict[str, dict[str, Peak]]:
    return {name: peaks.gpu_peaks(board) for name, board in catalog.boards().items()}


# --- worked values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "key", "dense"),
    [
        ("H100 SXM5 80GB", "bf16_tensor", 989.4),
        ("H100 SXM5 80GB", "fp64", 33.5),
        ("H100 SXM5 80GB", "fp64_tensor", 66.9),
        ("H100 SXM5 80GB", "fp8_tensor_acc32", 1978.9),
        ("H100 PCIe 80GB", "bf16_tensor", 756.4),
        ("A100 SXM4 80GB", "bf16_tensor", 311.9),
        ("A100 SXM4 80GB", "tf32_tensor", 155.9),
        ("A100 SXM4 80GB", "fp64_tensor", 19.49),
        ("A100 SXM4 80GB", "fp32", 19.49),
        ("GeForce RTX 4090", "bf16_tensor", 165.2),
        ("GeForce RTX 4090", "fp16_tensor", 330.3),
        ("GeForce RTX 4090", "fp16_tensor_acc32", 165.2),
        ("GeForce RTX 4090", "fp32", 82.58),
        ("GeForce RTX 3090", "bf16_tensor", 71.2),
        ("GeForce RTX 2080 Ti", "fp16_tensor_acc32", 53.8),
        ("TITAN RTX", "fp16_tensor_acc32", 130.5),
        ("Tesla V100 SXM2 16GB", "fp16_tensor_acc32", 125.3),
        ("Tesla V100 SXM2 16GB", "fp64", 7.83),
        ("Tesla T4", "fp16_tensor_acc32", 65.1),
        ("A10G", "bf16_tensor", 70.0),
        ("A10", "bf16_tensor", 125.0),
        ("L4", "bf16_tensor", 121.2),
        ("L40", "bf16_tensor", 181.1),
        ("L40S", "bf16_tensor", 366.4),
        ("B200", "fp8_tensor_acc32", 4500.5),
        ("B200", "fp4_tensor", 9001.0),
        ("B300", "fp4_tensor", 13501.5),
        ("GeForce RTX 5090", "bf16_tensor", 209.5),
        ("Tesla P100 SXM2 16GB", "fp16", 21.2),
        ("Tesla K40", "fp64", 1.68),
        ("GeForce GTX 1080 Ti", "fp32", 11.34),
        ("GeForce GTX 580", "fp32", 1.581),
        ("GeForce GTX 580", "fp64", 0.1976),
    ],
)
def test_worked_values(board: str, key: str, dense: float) -> None:
    assert peaks_of(board)[key].dense == pytest.approx(dense, rel=2e-3)


def test_sparsity_doubles_what_has_it_and_nothing_else() -> None:
    h100 = peaks_of("H100 SXM5 80GB")
    assert h100["bf16_tensor"].sparse == pytest.approx(1978.9, rel=1e-3)
    assert h100["fp64_tensor"].sparse is None
    assert h100["fp32"].sparse is None
    assert peaks_of("A100 SXM4 80GB")["int1_tensor"].sparse is None
    assert peaks_of("Tesla V100 SXM2 16GB")["fp16_tensor"].sparse is None
    b300 = peaks_of("B300")["fp4_tensor"]
    assert b300.dense is not None
    assert b300.sparse is not None
    assert b300.sparse / b300.dense == pytest.approx(4 / 3, rel=1e-3)


def test_tensor_and_vector_peaks_have_clocks_of_their_own_on_hopper() -> None:
    h100 = peaks_of("H100 SXM5 80GB")
    assert (h100["bf16_tensor"].clock_mhz, h100["fp8_tensor_acc32"].clock_mhz) == (1830, 1830)
    assert (h100["fp32"].clock_mhz, h100["fp64_tensor"].clock_mhz) == (1980, 1980)


def test_integer_kinds_count_operations_that_are_not_floating() -> None:
    for key, peak in peaks_of("A100 SXM4 80GB").items():
        assert peak.unit == ("TOP/s" if key.startswith("int") else "TFLOP/s")


# --- the whole catalogue ----------------------------------------------------------------------------------------------


def test_every_architecture_has_a_board_with_peaks(all_peaks: dict[str, dict[str, Peak]]) -> None:
    derived = Counter[str]()
    for name, found in all_peaks.items():
        if any(peak.dense for peak in found.values()):
            derived[catalog.boards()[name].chip or ""] += 1
    without = [row.compute_capability for row in catalog.architectures() if not any(derived[chip] for chip in row.chips)]
    assert without == []
    assert derived.total() >= 700


def test_a_board_without_sms_has_published_peaks_at_most(all_peaks: dict[str, dict[str, Peak]]) -> None:
    unknown = [name for name, board in catalog.boards().items() if board.sms is None]
    assert unknown
    for name in unknown:
        assert {peak.dense for peak in all_peaks[name].values() if peak.basis != "published"} <= {None}
        assert all(peak.published for peak in all_peaks[name].values())
    assert all_peaks["L2"]["bf16_tensor"].formula == "number of SMs unknown"


def test_a_board_without_a_clock_has_no_derived_peak(all_peaks: dict[str, dict[str, Peak]]) -> None:
    unclocked = {
        name: found
        for name, found in all_peaks.items()
        if (board := catalog.boards()[name]).sms and not (board.boost_mhz or board.base_mhz or board.shader_mhz)
    }
    assert len(unclocked) > 10
    for name, found in unclocked.items():
        derived = [peak for peak in found.values() if peak.basis != "published"]
        assert {peak.dense for peak in derived if peak.clock_mhz is None} <= {None}, name


def test_a_board_whose_tensor_cores_are_switched_off_has_no_tensor_peaks(all_peaks: dict[str, dict[str, Peak]]) -> None:
    assert not any(key.endswith("_tensor") for key in all_peaks["GeForce GTX 1650 TU106"])


def test_what_is_cut_by_an_unknown_factor_is_not_guessed(all_peaks: dict[str, dict[str, Peak]]) -> None:
    mining = all_peaks["CMP 170HX 8GB"]
    assert {peak.dense for peak in mining.values()} == {None}
    assert mining["fp32"].formula == "cut by an unknown factor, rate class mining"


def test_the_formula_multiplies_to_the_number(all_peaks: dict[str, dict[str, Peak]]) -> None:
    for name, found in all_peaks.items():
        for key, peak in found.items():
            dense = peak.dense
            if peak.basis == "published":
                match = re.fullmatch(rf"published; the parts alone would give ([\d.e+]+) \({DERIVED}\)", peak.formula)
                assert match, (name, key, peak.formula)
                dense, parts = float(match[1]), match.groups()[1:]
            elif dense is None:
                continue
            else:
                match = re.fullmatch(DERIVED, peak.formula)
                assert match, (name, key, peak.formula)
                parts = match.groups()
            sms, ops, rate, clock = parts
            assert float(sms) * float(ops) * float(clock) / 1e6 == pytest.approx(dense, rel=1e-3), (name, key)
            if rate and (scaled := re.match(r"([\d.]+) x ([\d.]+), rate class", rate)):
                assert float(scaled[1]) * float(scaled[2]) == float(ops), (name, key)


def test_keys_are_in_the_order_of_display_and_have_a_basis(all_peaks: dict[str, dict[str, Peak]]) -> None:
    for found in all_peaks.values():
        assert list(found) == [key for key in PEAK_KEYS if key in found]
        assert {peak.basis for peak in found.values()} <= {"derived", "published", "unverified"}
        assert all(peak.source for peak in found.values())


def test_no_peak_is_beyond_its_relatives(all_peaks: dict[str, dict[str, Peak]]) -> None:
    """A wider type is never faster on the same units."""
    pairs = (
        ("fp64", "fp32"),
        ("tf32_tensor", "bf16_tensor"),
        ("bf16_tensor", "fp8_tensor_acc32"),
        ("fp8_tensor_acc32", "fp8_tensor"),
        ("fp16_tensor_acc32", "fp16_tensor"),
        ("fp6_tensor", "fp4_tensor"),
        ("int8_tensor", "int4_tensor"),
    )
    for name, found in all_peaks.items():
        for wide, narrow in pairs:
            one, other = (found[key].dense if key in found else None for key in (wide, narrow))
            assert one is None or other is None or one <= other * 1.001, (name, wide, narrow)


# --- published figures ------------------------------------------------------------------------------------------------


def test_published_rows_are_well_formed() -> None:
    pairs = Counter((row["board"], row["key"]) for row in PUBLISHED)
    assert [pair for pair, count in pairs.items() if count > 1] == []
    for row in PUBLISHED:
        assert row["board"] in catalog.boards(), row
        assert row["key"] in PEAK_KEYS, row
        assert row["rule"] in ("check", "cap"), row
        assert row["unit"] == ("TOP/s" if row["key"].startswith("int") else "TFLOP/s"), row
        assert float(row["dense"]) > 0, row
        assert not row["sparse"] or float(row["sparse"]) > float(row["dense"]), row


def test_every_published_figure_is_met_or_the_difference_is_told(all_peaks: dict[str, dict[str, Peak]]) -> None:
    """Where the figure's own clock is known, it is met at that clock too."""
    compared = 0
    for row in PUBLISHED:
        peak = all_peaks[row["board"]].get(row["key"])
        if row["rule"] != "check" or peak is None or peak.dense is None:
            continue
        compared += 1
        dense = float(row["dense"])
        assert peak.dense == pytest.approx(dense, rel=0.02) or row["difference"], row
        assert peak.published == dense, row
        if row["sparse"] and not row["difference"]:
            assert peak.sparse == pytest.approx(float(row["sparse"]), rel=0.02), row
        if row["clock_mhz"]:
            board = catalog.boards()[row["board"]]
            at_its_clock = peaks.gpu_peaks(board, clock_mhz=float(row["clock_mhz"]))[row["key"]].dense
            assert at_its_clock == pytest.approx(dense, rel=0.02), row
    assert compared > 450


def test_published_figures_are_of_at_least_twenty_boards_of_all_architectures() -> None:
    boards = {row["board"] for row in PUBLISHED}
    assert len(boards) >= 20
    names = {architecture.name for architecture in catalog.architectures()}
    assert {catalog.boards()[name].architecture for name in boards} == names


def test_a_product_that_is_cut_has_the_published_peak(all_peaks: dict[str, dict[str, Peak]]) -> None:
    caps = [row for row in PUBLISHED if row["rule"] == "cap"]
    assert caps
    for row in caps:
        peak = all_peaks[row["board"]][row["key"]]
        assert peak.dense == float(row["dense"]), row
        assert peak.basis == "published", row
        derived = peaks.gpu_peaks(catalog.boards()[row["board"]], clock_mhz=peak.clock_mhz)[row["key"]].dense
        assert derived is not None
        assert derived >= float(row["dense"]) * 0.98, row


# --- another clock, other boards --------------------------------------------------------------------------------------


def test_another_clock_rules_for_every_unit_and_no_published_figure_applies() -> None:
    board = names.find("H100 SXM5 80GB")
    at_1000 = peaks.with_peaks(board, clock_mhz=1000).peaks
    assert at_1000["bf16_tensor"].dense == pytest.approx(132 * 4096 / 1000)
    assert at_1000["fp32"].dense == pytest.approx(132 * 256 / 1000)
    assert {peak.clock_mhz for peak in at_1000.values()} == {1000}
    assert {peak.published for peak in at_1000.values()} == {None}


def test_a_cut_holds_at_any_clock() -> None:
    """At its own clock and above a cut product reaches what is published, below it less; never what its parts would."""
    for name, key in (("H20", "bf16_tensor"), ("GeForce RTX 5090 D", "fp4_tensor")):
        board = names.find(name)
        published = peaks.gpu_peaks(board)[key].dense
        clock = board.tensor_boost_mhz or board.boost_mhz
        for share in (0.5, 1.0, 1.5):
            peak = peaks.gpu_peaks(board, clock_mhz=clock * share)[key]
            assert peak.basis == "published"
            assert peak.dense == pytest.approx(published * min(1.0, share))


def test_thin_rows_are_marked() -> None:
    thin = [board for board in catalog.boards().values() if board.confidence == "C" and board.sms]
    assert thin
    for board in thin:
        assert {peak.basis for peak in peaks.gpu_peaks(board).values()} <= {"unverified", "published"}
    assert peaks_of("H100 SXM5 80GB")["int8"].basis == "unverified"


def test_a_board_of_no_known_architecture_has_no_peaks() -> None:
    assert peaks.gpu_peaks(Board(name="GPU of tomorrow", compute_capability="99.0", sms=100, boost_mhz=2000)) == {}
    assert peaks.gpu_peaks(Board(name="CPU", sms=4)) == {}


def test_a_gpu_here_has_peaks_at_the_clock_of_now_too() -> None:
    gpu = Gpu(index=3, name="NVIDIA A100-SXM4-80GB", sm_mhz=210)
    board = live.live_board(gpu, names.find("A100 SXM4 80GB"))
    assert board is not None
    assert board.index == 3
    assert board.peaks["bf16_tensor"].dense == pytest.approx(311.9, rel=1e-3)
    assert board.peaks_now["bf16_tensor"].dense == pytest.approx(108 * 2048 * 210 / 1e6)


def test_a_gpu_that_is_not_listed_is_derived_from_the_driver_and_marked() -> None:
    gpu = Gpu(
        index=0, name="NVIDIA GeForce RTX 4099", compute_capability="8.9", cuda_cores=2560, sm_mhz_max=2000,
        memory_total_bytes=16 * 10**9,
    )  # fmt: skip
    board = live.live_board(gpu, None)
    assert board is not None
    assert (board.sms, board.memory_gb, board.rate_class) == (20, 16.0, "half")
    assert board.peaks["bf16_tensor"].dense == pytest.approx(20 * 512 * 2000 / 1e6)
    assert {peak.basis for peak in board.peaks.values()} == {"unverified"}
    assert board.peaks_now == {}


@pytest.mark.parametrize("gpu", [Gpu(index=0), Gpu(index=0, compute_capability="8.9"), Gpu(index=0, cuda_cores=1280)])
def test_a_gpu_that_says_nothing_of_itself_is_no_board(gpu: Gpu) -> None:
    assert live.live_board(gpu, None) is None


# --- processors -------------------------------------------------------------------------------------------------------

ZEN_4 = Cpu(
    model="AMD EPYC 9354", vendor="AuthenticAMD", family=25, model_number=17, cores=32, threads=64, usable_threads=64,
    mhz_max=3250.0, mhz_measured=3500.0, simd=("avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512f", "fma"),
)  # fmt: skip
SAPPHIRE_RAPIDS = Cpu(
    vendor="GenuineIntel", family=6, model_number=143, cores=56, threads=112, usable_threads=112, mhz_measured=2000.0,
    simd=("amx_bf16", "amx_int8", "amx_tile", "avx2", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx512f", "fma"),
)  # fmt: skip


def rates(cpu: Cpu) -> dict[str, float]:
    return {key: round(peak.dense or 0, 3) for key, peak in peaks.cpu_board(cpu).peaks.items()}


def test_zen_4() -> None:
    board = peaks.cpu_board(ZEN_4)
    assert (board.name, board.architecture, board.segment, board.sms) == ("AMD EPYC 9354", "Zen 4", "cpu", 32)
    assert rates(ZEN_4) == {"fp64": 1.792, "fp32": 3.584, "bf16": 7.168, "int8": 14.336}
    assert {peak.basis for peak in board.peaks.values()} == {"derived"}
    assert board.peaks["int8"].unit == "TOP/s"


def test_sapphire_rapids_with_and_without_amx() -> None:
    assert rates(SAPPHIRE_RAPIDS) == {"fp64": 3.584, "fp32": 7.168, "fp16": 14.336, "bf16": 229.376, "int8": 458.752}
    hidden = replace(SAPPHIRE_RAPIDS, simd=tuple(name for name in SAPPHIRE_RAPIDS.simd if not name.startswith("amx")))
    assert rates(hidden) == {"fp64": 3.584, "fp32": 7.168, "fp16": 14.336, "bf16": 14.336, "int8": 28.672}


def test_neoverse_v2() -> None:
    cpu = Cpu(vendor="0x41", family=8, model_number=0xD4F, cores=72, mhz_measured=3000.0, simd=("asimd", "asimdhp", "sve2"))
    assert peaks.cpu_board(cpu).architecture == "Neoverse V2 (Grace)"
    assert rates(cpu) == {"fp64": 3.456, "fp32": 6.912, "fp16": 13.824}


def test_a_processor_that_is_not_listed_is_unverified() -> None:
    cpu = replace(ZEN_4, vendor="SomeoneElse", family=99)
    board = peaks.cpu_board(cpu)
    assert board.architecture is None
    assert rates(cpu) == {"fp64": 1.792, "fp32": 3.584}
    assert {peak.basis for peak in board.peaks.values()} == {"unverified"}


def test_the_clock_of_the_kernel_is_unverified_and_said() -> None:
    board = peaks.cpu_board(replace(ZEN_4, mhz_measured=None))
    assert {peak.basis for peak in board.peaks.values()} == {"unverified"}
    assert board.peaks["fp32"].formula.endswith("x 3250 MHz as the kernel says")


@pytest.mark.parametrize(
    ("usable_threads", "quota", "cores"), [(64, None, 32), (8, None, 8), (64, 1.5, 1.5), (4, 16.0, 4), (64, 100.0, 32)]
)
def test_only_what_may_be_used_counts(usable_threads: int, quota: float | None, cores: float) -> None:
    board = peaks.cpu_board(replace(ZEN_4, usable_threads=usable_threads, quota_cpus=quota))
    assert board.peaks["fp32"].dense == pytest.approx(cores * 32 * 3500 / 1e6)
    assert board.peaks["fp32"].formula.startswith(f"{cores:g} cores x 32 op/clock/core")


@pytest.mark.parametrize(
    "cpu", [Cpu(), replace(ZEN_4, cores=None), replace(ZEN_4, mhz_max=None, mhz_measured=None), replace(ZEN_4, simd=())]
)
def test_a_processor_of_which_too_little_is_known_has_no_peaks(cpu: Cpu) -> None:
    assert peaks.cpu_board(cpu).peaks == {}


def test_the_formula_of_a_processor_multiplies_to_the_number() -> None:
    for cpu in (ZEN_4, SAPPHIRE_RAPIDS):
        for key, peak in peaks.cpu_board(cpu).peaks.items():
            match = re.fullmatch(r"([\d.]+) cores x ([\d.]+) op/clock/core \([^)]+\) x ([\d.]+) MHz measured", peak.formula)
            assert match, peak.formula
            assert float(match[1]) * float(match[2]) * float(match[3]) / 1e6 == pytest.approx(peak.dense), key


def test_rows_of_processors_are_well_formed() -> None:
    for row in tables.rows("cpu_rates"):
        assert row["key"] in PEAK_KEYS
        assert float(row["ops_per_clock_per_core"]) > 0
        assert row["requires"]
        assert bool(row["microarchitecture"]) == bool(row["vendor"]) == bool(row["family"]) == bool(row["models"])
        assert re.fullmatch(r"(\d+(-\d+)?( \d+(-\d+)?)*)?", row["models"])


def test_no_processor_is_of_two_designs() -> None:
    spans: dict[tuple[str, str, int], str] = {}
    for row in tables.rows("cpu_rates"):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", row["models"]):
            for model in range(int(first), int(last or first) + 1):
                key = (row["vendor"], row["family"], model)
                assert spans.setdefault(key, row["microarchitecture"]) == row["microarchitecture"], key
