"""Where the rest of the peak went: factors whose product is the share, and the sentence that tells them."""

from __future__ import annotations

from typing import Any

import pytest
from bench_fakes import RIGHT, FakeTime, Scripted
from explained_cases import H100, RTX4090, WRONG, cpu_of, gemm, gpu, on_cpu, steady
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dltool import peaks, probe, tables
from dltool.bench import WORKLOADS, cases, devices, harness, tiles
from dltool.bench.devices import Device, host_timer
from dltool.bench.explain import explain, total
from dltool.catalog import Board
from dltool.live import part_of
from dltool.nvml import THROTTLE_REASONS
from dltool.results import Conditions, Measurement

ZEN5 = ("avx2", "fma", "avx512f")


def causes(measurement: Measurement) -> list[str]:
    return [loss.cause for loss in measurement.losses]


def cpu(board: Board, threads: int = 8) -> Device:
    return Device(name="cpu", board=board, timer=host_timer, threads=threads)


# --- the sum ----------------------------------------------------------------------------------------------------------


@given(
    rate=st.floats(1e9, 3e15),
    mhz=st.none() | st.floats(200, 2600),
    highest=st.none() | st.floats(500, 2600),
    throttle=st.none() | st.lists(st.sampled_from(list(THROTTLE_REASONS.values())), max_size=4).map(tuple),
    sides=st.tuples(*[st.integers(1, 20000)] * 3),
    board=st.sampled_from([H100, RTX4090]),
    kernel=st.sampled_from([None, "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNN", "gemm_splitK_128x64"]),
)
def test_the_product_of_the_factors_is_the_share(
    rate: float, mhz: Any, highest: Any, throttle: Any, sides: Any, board: Board, kernel: Any
) -> None:
    m, n, k = sides
    case = gemm(rate, mhz=mhz, throttle=throttle, m=m, n=n, k=k, board=board, kernel=kernel)
    found = explain(case, gpu(board, highest))
    assert found.shares is not None
    assert found.shares.datasheet is not None
    assert total(found.losses) == pytest.approx(found.shares.datasheet, rel=1e-9)
    assert all(loss.factor > 0 and loss.text for loss in found.losses)
    assert found.explained
    assert replace(found, shares=None, losses=(), explained="", normal=None) == case


@given(
    rate=st.floats(1e6, 1e13),
    mhz=st.none() | st.floats(500, 6000),
    highest=st.none() | st.floats(500, 6000),
    threads=st.integers(1, 64),
    share=st.none() | st.floats(0, 1),
    steal=st.none() | st.floats(0, 1),
    simd=st.sampled_from([ZEN5, ZEN5[:2]]),
)
def test_the_same_on_a_cpu(rate: float, mhz: Any, highest: Any, threads: int, share: Any, steal: Any, simd: Any) -> None:
    board = cpu_of(simd, mhz_max=highest)
    case = on_cpu(rate, board, conditions=Conditions(cpu_mhz=mhz, cpu_share=share, steal=steal))
    found = explain(case, cpu(board, threads))
    assert found.shares is not None
    top = found.shares.max_clock or found.shares.held_clock
    assert found.shares.datasheet is None
    if top is None:
        assert not found.losses
    else:
        assert total(found.losses) == pytest.approx(top, rel=1e-9)


# --- a GPU ------------------------------------------------------------------------------------------------------------


def test_a_power_cap_is_normal_at_full_load() -> None:
    found = explain(gemm(722e12, mhz=1410, throttle=("sw_power_cap",)), gpu())
    assert found.explained == (
        "73 %: power cap held 1410 of 1980 MHz (datasheet: 1830), as is normal at full load; "
        "2048 tiles of 128x256 (assumed) fill 97 % of 16 waves; at that clock the kernel reaches 98 %"
    )
    assert causes(found) == ["boost", "power", "quantisation", "kernel"]
    assert found.shares is not None
    assert found.shares.datasheet == pytest.approx(722 / 989.5)  # as NVIDIA prints it
    assert found.shares.max_clock == pytest.approx(722 / (989.43 * 1980 / 1830), rel=1e-4)
    assert found.shares.held_clock == pytest.approx(722 / (989.43 * 1410 / 1830), rel=1e-4)


def test_a_lowered_power_limit_is_named() -> None:
    lowered = replace(H100, differences=("power limit 500 W, below the default of 700 W: the clock falls under load",))
    found = explain(gemm(600e12, mhz=1200, throttle=("sw_power_cap",)), gpu(lowered))
    assert (
        "power cap held 1200 of 1980 MHz (datasheet: 1830) (power limit 500 W, below the default of 700 W)" in found.explained
    )
    assert "normal" not in found.explained


def test_heat_is_not_normal_and_outranks_the_power_cap() -> None:
    case = gemm(560e12, mhz=1140, throttle=("sw_power_cap", "hw_thermal_slowdown"))
    found = explain(replace(case, conditions=replace(case.conditions, temperature_c=steady(91))), gpu())
    assert "thermal slowdown by the hardware at 91 °C held 1140 of 1980 MHz" in found.explained
    assert "which is not normal (see to cooling" in found.explained
    assert "thermal" in causes(found)
    assert "power" not in causes(found)


@pytest.mark.parametrize(("reason", "cause"), [(row["reason"], row["cause"]) for row in tables.rows("clock_reasons")])
def test_every_reason_has_its_words(reason: str, cause: str) -> None:
    assert reason in THROTTLE_REASONS.values()
    found = explain(gemm(500e12, mhz=1300, throttle=(reason,)), gpu())
    assert causes(found)[1] == cause
    assert " held 1300 of 1980 MHz" in found.explained


def test_a_low_clock_without_a_reason_says_so() -> None:
    assert "the driver tells no reason" in explain(gemm(500e12, mhz=1300), gpu()).explained
    unknown = explain(gemm(500e12, mhz=1300, throttle=None), gpu()).explained
    assert "the clock was 1300 of 1980 MHz" in unknown
    assert "reason" not in unknown


def test_above_the_datasheet_is_explained_by_the_boost() -> None:
    peak = RTX4090.peaks["bf16_tensor"].dense
    assert peak is not None
    found = explain(gemm(1.05 * peak * 1e12, mhz=2745, board=RTX4090), gpu(RTX4090, 3105))
    assert found.explained.startswith("105 %: the clock was 2745 of 3105 MHz (datasheet: 2520)")
    assert "more than the hardware should do" not in found.explained


def test_above_what_the_clock_allows_is_doubted() -> None:
    found = explain(gemm(900e12, mhz=1410, throttle=("sw_power_cap",)), gpu())
    assert "more than the hardware should do" in found.explained
    assert causes(found) == ["boost", "power", "kernel"]  # a rate that refutes an estimate leaves it out


def test_without_a_sampled_clock_nothing_is_said_of_power() -> None:
    found = explain(gemm(722e12), gpu())
    assert found.explained == "73 %: the kernel reaches 73 % (the clock was not sampled: what power and heat took is not known)"
    assert found.shares is not None
    assert found.shares.held_clock is None


def test_a_small_product_does_not_fill_the_gpu() -> None:
    found = explain(gemm(300e12, mhz=1830, m=1024, n=1024), gpu(sm_mhz_max=1830))
    assert "64 tiles of 128x128 (assumed) fill 48 % of one wave" in found.explained
    assert "boost" not in found.explained


def test_the_tile_in_the_name_of_the_kernel_counts() -> None:
    found = explain(gemm(600e12, mhz=1830, m=4096, n=4096, kernel="nvjet_hsh_192x192_64x4_1x2_h_bz"), gpu())
    assert "484 tiles of 192x192 fill 92 % of 4 waves" in found.explained
    assert "6.0 % of the tiles of 192x192 lie outside of the matrix" in found.explained
    assert "assumed" not in found.explained


def test_memory_is_the_roof_of_a_thin_product() -> None:
    found = explain(gemm(150e12, mhz=1900, n=64), gpu())
    (loss,) = [loss for loss in found.losses if loss.cause == "bandwidth"]
    assert loss.text == "memory feeds 211 TFLOP/s at 63 operations a byte"


def test_a_rate_beyond_memory_came_from_a_cache() -> None:
    assert "bandwidth" not in causes(explain(gemm(300e12, mhz=1900, n=64), gpu()))


def test_rows_that_are_not_aligned() -> None:
    found = explain(gemm(400e12, mhz=1755, k=8191), gpu())
    assert found.losses[-1].cause == "shape"
    assert "rows of k=8191 are no multiple of 16 bytes" in found.explained
    assert "multiple of" not in explain(gemm(400e12, mhz=1755), gpu()).explained


def test_a_bandwidth_is_a_share_of_the_datasheet() -> None:
    moved = gemm(3e12, rate_unit="B/s", peak=3.35e12, peak_basis="datasheet", workload="memory", params={"kernel": "copy"})
    assert explain(moved, gpu()).explained == "90 % of the bandwidth of the datasheet"
    cached = replace(moved, rate=4e12)
    assert explain(cached, gpu()).explained == "119 % of the bandwidth of the datasheet: a cache delivered part of it"


def test_2_to_4_sparsity_keeps_its_peak() -> None:
    sparse = H100.peaks["bf16_tensor"].sparse
    assert sparse is not None
    found = explain(gemm(1200e12, mhz=1830, peak=sparse * 1e12, peak_basis="bf16_tensor 2:4 sparse derived"), gpu())
    assert found.shares is not None
    assert found.shares.datasheet == pytest.approx(1200 / 1979, rel=1e-3)
    assert found.shares.held_clock == pytest.approx(1200 / 1978.9, rel=1e-3)


def test_a_part_of_a_gpu_is_no_share_of_the_whole_datasheet() -> None:
    part = part_of(H100, 16)
    found = explain(gemm(80e12, mhz=1830, board=part), gpu(part))
    assert found.shares is not None
    assert found.shares.datasheet == pytest.approx(80 / (989.43 * 16 / 132), rel=1e-3)
    assert found.normal is not None
    assert found.normal.verdict == "unknown"


def test_a_wrong_result_has_no_share() -> None:
    found = explain(gemm(722e12, mhz=1410, verified=WRONG), gpu())
    assert (found.shares, found.losses, found.normal) == (None, (), None)
    assert found.explained == "wrong result: its rate means nothing"


def test_what_was_not_run_stays_as_it_is() -> None:
    case = Measurement(workload="gemm", params={}, device="cuda:0 x", dtype="bf16", not_run="no memory")
    assert explain(case, gpu()) == case


# --- a CPU ------------------------------------------------------------------------------------------------------------


def test_a_library_on_the_avx2_path_of_an_avx512_machine() -> None:
    """119 of 272 GFLOP/s for a core at 4.25 GHz: oneMKL on an AMD processor, as it was published."""
    board = cpu_of(ZEN5, mhz=4250.0)
    found = explain(on_cpu(8 * 119e9, board, conditions=Conditions(cpu_mhz=4250.0)), cpu(board))
    assert found.explained == (
        "44 %: the library seems to take the AVX2 path, 50 % of the AVX-512 peak; of what that leaves the kernel reaches 87 %"
    )
    told = on_cpu(8 * 119e9, board, conditions=Conditions(cpu_mhz=4250.0), kernel="mkl sgemm avx2", settings={})
    assert "the library takes the AVX2 path" in explain(told, cpu(board)).explained


@pytest.mark.parametrize(
    ("gflops", "settings"), [(8 * 200.0, {"blas": "mkl"}), (8 * 30.0, {"blas": "open"})], ids=["too-fast", "no-sign"]
)
def test_no_avx2_path_is_claimed_without_a_sign(gflops: float, settings: dict[str, str]) -> None:
    board = cpu_of(ZEN5)
    assert "isa" not in causes(explain(on_cpu(gflops * 1e9, board, settings=settings), cpu(board)))


def test_a_design_whose_pipes_are_no_wider_has_no_narrow_path() -> None:
    zen4 = cpu_of(("avx2", "fma", "avx512f"), family=25, model=17)
    assert peaks.narrower(zen4, "fp32") is None
    assert "isa" not in causes(explain(on_cpu(1e11, zen4), cpu(zen4)))


def test_fewer_threads_than_cores() -> None:
    board = cpu_of(ZEN5)
    assert "2 threads for 8 cores" in explain(on_cpu(4e11, board), cpu(board, threads=2)).explained


def test_a_quota_lowers_the_peak_and_is_named_when_it_stops_the_run() -> None:
    board = cpu_of(ZEN5, quota_cpus=4.0)
    assert peaks.cores_of(board, "fp32") == 4.0
    seen = Conditions(cpu_mhz=4000.0, cpu_share=0.25, quota_wait_s=1.2)  # 8 threads: 0.5 is all that the quota grants
    found = explain(on_cpu(4e11, board, conditions=seen), cpu(board))
    assert "got 50 % of the processors' time (the control group's CPU quota stopped it)" in found.explained
    assert "quota" in causes(found)
    granted = replace(seen, cpu_share=0.5)
    assert "quota" not in causes(explain(on_cpu(4e11, board, conditions=granted), cpu(board)))


def test_more_threads_than_cores_add_nothing() -> None:
    board = cpu_of(ZEN5, threads=16, usable_threads=16)
    found = explain(on_cpu(1.2e12, board), cpu(board, threads=16))
    assert found.explained == (
        "59 %: the kernel reaches 59 %, with 16 threads on the 8 cores that it may use, which adds no arithmetic"
    )


def test_a_low_rate_without_a_cause_blames_the_kernel() -> None:
    board = cpu_of(ZEN5, mhz=4000.0)
    found = explain(on_cpu(1.5e12, board), cpu(board))
    assert found.explained == "73 %: nothing was seen to hold it back but the kernel itself"


def test_other_programs_and_the_hypervisor() -> None:
    board = cpu_of(ZEN5)
    busy = explain(on_cpu(4e11, board, conditions=Conditions(cpu_mhz=4000.0, cpu_share=0.34, steal=0.2)), cpu(board))
    assert "got 34 % of the processors' time: other programs ran" in busy.explained
    assert causes(busy).count("neighbours") == 1
    stolen = explain(on_cpu(4e11, board, conditions=Conditions(cpu_mhz=4000.0, cpu_share=1.0, steal=0.2)), cpu(board))
    assert "the hypervisor gave 20 % of the processors' time to others" in stolen.explained


def test_a_clock_below_the_highest() -> None:
    board = cpu_of(ZEN5, mhz_max=5000.0)
    found = explain(on_cpu(1.8e12, board), cpu(board))
    assert "the clock was 4000 of 5000 MHz" in found.explained


def test_fp16_without_instructions_is_a_fallback() -> None:
    board = cpu_of(ZEN5)
    found = explain(on_cpu(1e9, board, key="fp16"), cpu(board))
    assert found.shares is None
    assert found.explained == (
        "no peak, emulated: this CPU has no instructions for fp16; the library's fallback is 2000 times below the fp32 peak"
    )


# --- tiles ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30000), st.integers(1, 30000), st.integers(16, 512), st.integers(16, 512), st.integers(1, 200))
def test_tiles_cover_the_matrix(m: int, n: int, tile_m: int, tile_n: int, sms: int) -> None:
    cut = tiles.tiling(m, n, (tile_m, tile_n), sms)
    assert 0 < cut.padding <= 1
    assert 0 < cut.filling <= 1
    assert (cut.waves - 1) * sms < cut.tiles <= cut.waves * sms
    assert cut.padding * cut.tiles * tile_m * tile_n == pytest.approx(m * n)


def test_the_example_of_the_guide() -> None:
    """12 tiles of 256x128 on 108 SMs would be a ninth of a wave; 109 tiles are two waves, half of it idle."""
    assert tiles.tiling(256 * 3, 128 * 4, (256, 128), 108).filling == pytest.approx(12 / 108)
    assert tiles.tiling(256 * 109, 128, (256, 128), 108).filling == pytest.approx(109 / 216)


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn", (128, 256)),
        ("cutlass_80_tensorop_bf16_s16816gemm_bf16_128x64_32x6_nn_align8", (128, 64)),
        ("nvjet_hsh_192x192_64x4_1x2_h_bz_coopA_TNN", (192, 192)),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x256x64_warpgroupsize2x1x1_execute_segment_k_off", (128, 256)),
        ("cutlass3x_sm90_tensorop_s64x256x16gemm_bf16_bf16_f32_bf16_bf16_128x256x64_2x1x1_0_tnn_align8", (128, 256)),
        ("volta_sgemm_32x128_nn", (32, 128)),
        ("mkl sgemm avx512", None),
        ("void gemv2T_kernel_val<int, int>", None),
        (None, None),
    ],
)
def test_the_tile_in_a_name(name: str | None, tile: tuple[int, int] | None) -> None:
    assert tiles.of_kernel(name) == tile


def test_split_k_has_no_waves() -> None:
    assert tiles.splits_k("void splitKreduce_kernel<32, 16>")
    assert "quantisation" not in causes(explain(gemm(300e12, mhz=1830, m=512, n=512, kernel="gemm_128x64_splitK"), gpu()))


# --- as it is called --------------------------------------------------------------------------------------------------


def test_the_harness_explains_what_it_measured() -> None:
    time = FakeTime()
    device = time.device()
    found = harness.measure("scripted", Scripted(), device, harness.Plan(), clock=time.clock)
    assert found.shares is not None
    assert found.shares.datasheet == found.share_of_peak == pytest.approx(0.5)
    assert found.explained.startswith("50 %: the kernel reaches 50 %")
    wrong = replace(RIGHT, ok=False)
    broken = harness.measure("scripted", Scripted(verified=wrong), time.device(), harness.Plan(), clock=time.clock)
    assert broken.explained == "wrong result: its rate means nothing"


def test_a_real_product_on_this_cpu_is_explained() -> None:
    pytest.importorskip("torch")
    device = devices.find("cpu", probe.read())
    (case,) = cases(WORKLOADS.get("gemm"), {"m": ["256"], "n": ["256"], "k": ["256"], "dtype": ["fp32"]})
    found = harness.measure("gemm", case, device, harness.Plan(sampling_s=0.05, warmup_s=0.05))
    assert found.explained
    if found.peak is not None and found.shares is not None and (top := found.shares.max_clock or found.shares.held_clock):
        assert total(found.losses) == pytest.approx(top)
    assert found.conditions.cpu_share is None or 0 < found.conditions.cpu_share <= 1
