"""A GPU of this machine beside its row: what differs is said, what does not is not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from recorded import NAMES, load

from dltool import catalog, live, names, peaks
from dltool.catalog import Board
from dltool.machine import Gpu

GIB = 2**30
H100 = catalog.board("H100 SXM5 80GB")
LAPTOP = catalog.board("GeForce RTX 4090 Laptop GPU")
AS_ITS_ROW = Gpu(
    index=0,
    name="NVIDIA H100 80GB HBM3",
    compute_capability="9.0",
    cuda_cores=16896,
    memory_total_bytes=81559 * 2**20,
    memory_bus_bits=5120,
    bar1_total_bytes=128 * GIB,
    pcie_generation=1,  # asleep
    pcie_generation_max=5,
    pcie_width=4,
    pcie_width_max=16,
    sm_mhz=345,
    sm_mhz_max=1980,
    power_limit_w=700.0,
    power_limit_default_w=700.0,
)


def differences(board: Board = H100, gpu: Gpu = AS_ITS_ROW, **facts: Any) -> list[str]:
    return list(live.differences(replace(gpu, **facts), board))


def test_a_gpu_that_is_as_its_row_has_none() -> None:
    assert differences() == []


SAYS = [
    pytest.param({"power_limit_w": 500.0}, "power limit 500 W, below the default of 700 W", id="limit lowered"),
    pytest.param({"power_limit_w": 400.0, "power_limit_default_w": 400.0}, "the board is set to 400 W", id="power"),
    pytest.param({"cuda_cores": 14592}, "114 SMs, where the board has 132", id="fewer SMs"),
    pytest.param({"cuda_cores": 18432}, "144 SMs, where the board has 132", id="more SMs"),
    pytest.param({"memory_total_bytes": 64 * GIB}, "64.0 GiB of memory, where 80 GB are published", id="memory"),
    pytest.param({"sm_mhz_max": 1755}, "at most 1755 MHz, where 1980 MHz are published", id="clock"),
    pytest.param({"memory_bus_bits": 4096}, "memory bus of 4096 bit, where 5120 are published", id="bus"),
    pytest.param({"bar1_total_bytes": 256 * 2**20}, "BAR1 of 256 MiB shows a part of the memory only", id="BAR1"),
    pytest.param({"pcie_width_max": 8}, "PCIe x8, where the board has x16", id="lanes"),
    pytest.param({"pcie_generation_max": 4}, "PCIe generation 4 at most, where the board has 5", id="generation"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "sentence"), SAYS)
def test_a_fact_that_differs_is_the_one_that_is_said(facts: dict[str, Any], sentence: str) -> None:
    (said,) = differences(**facts)
    assert said.startswith(sentence)


@pytest.mark.parametrize(("facts", "sentence"), SAYS)
def test_what_is_not_known_does_not_differ(facts: dict[str, Any], sentence: str) -> None:
    assert differences(**dict.fromkeys(facts)) == []
    bare = Board(name="x", compute_capability="9.0", chip="GH100")
    on_its_own = {"limit lowered", "BAR1"}  # these compare the GPU with itself
    assert bool(differences(bare, **facts)) == any(SAY.id in on_its_own for SAY in SAYS if SAY.values[0] is facts)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"power_limit_w": 690.0}, id="limit within 2 %"),
        pytest.param({"power_limit_w": 800.0}, id="limit raised"),
        pytest.param({"power_limit_w": 670.0, "power_limit_default_w": 670.0}, id="power within 5 %"),
        pytest.param({"memory_total_bytes": int(80e9 * 15 / 16)}, id="memory with ECC"),
        pytest.param({"memory_total_bytes": 96 * GIB}, id="more memory"),
        pytest.param({"sm_mhz_max": 1900}, id="clock within 5 %"),
        pytest.param({"sm_mhz_max": 2100}, id="overclocked"),
        pytest.param({"memory_bus_bits": 6144}, id="wider bus"),
        pytest.param({"bar1_total_bytes": 64 * GIB}, id="BAR1 of most"),
        pytest.param({"pcie_generation_max": 6, "pcie_width_max": 32}, id="better slot"),
        pytest.param({"pcie_generation": 1, "pcie_width": 1}, id="sleeping link"),
        pytest.param({"cuda_cores": 16 * 128, "mig_enabled": True}, id="slice"),
        pytest.param({"memory_total_bytes": 0, "power_limit_w": 0.0, "sm_mhz_max": 0}, id="noughts"),
    ],
)
def test_what_is_usual_is_not_said(facts: dict[str, Any]) -> None:
    assert differences(**facts) == []


def test_a_laptop_gets_the_power_that_its_maker_chose() -> None:
    assert LAPTOP.tdp_w is not None
    gpu = Gpu(index=0, power_limit_w=80.0, power_limit_default_w=80.0)
    (said,) = live.differences(gpu, LAPTOP)
    assert said.startswith(f"the laptop's maker chose 80 W, where up to {LAPTOP.tdp_w:g} W are published")
    mobile = next(
        board for board in catalog.boards().values() if board.segment == "mobile-workstation" and (board.tdp_w or 0) > 100
    )
    (said,) = live.differences(gpu, mobile)
    assert said.startswith("the laptop's maker chose 80 W")


def test_everything_at_once_is_all_said() -> None:
    facts: dict[str, Any] = {}
    for case in reversed(SAYS):
        facts |= case.values[0]
    facts |= {"memory_total_bytes": 64 * GIB, "power_limit_w": 200.0, "power_limit_default_w": 400.0, "cuda_cores": 14592}
    assert len(differences(**facts)) == 9


# --- the whole board --------------------------------------------------------------------------------------------------


def test_a_known_gpu_is_its_row_with_an_index_and_two_clocks() -> None:
    board = live.live_board(AS_ITS_ROW, H100)
    assert board is not None
    assert (board.name, board.index, board.differences) == ("H100 SXM5 80GB", 0, ())
    assert board.peaks == peaks.gpu_peaks(H100)
    assert board.peaks_now["fp32"].dense == pytest.approx((board.peaks["fp32"].dense or 0) * 345 / 1980)
    assert live.live_board(replace(AS_ITS_ROW, sm_mhz=None), H100).peaks_now == {}  # type: ignore[union-attr]


def test_a_clock_asked_for_is_that_of_the_peaks_not_of_now() -> None:
    board = live.live_board(AS_ITS_ROW, H100, clock_mhz=990)
    assert board is not None
    assert (board.peaks["fp32"].clock_mhz, board.peaks_now["fp32"].clock_mhz) == (990, 345)


def test_a_gpu_that_differs_says_so_on_its_board() -> None:
    board = live.live_board(replace(AS_ITS_ROW, power_limit_w=500.0, pcie_width_max=8), H100)
    assert board is not None
    assert [said.split(",")[0] for said in board.differences] == ["power limit 500 W", "PCIe x8"]


def test_a_gpu_that_no_row_has_is_read_from_the_driver_and_marked() -> None:
    gpu = replace(AS_ITS_ROW, name="NVIDIA GeForce RTX 9090", compute_capability="8.9", cuda_cores=128 * 10)
    board = live.live_board(gpu, None)
    assert board is not None
    assert (board.name, board.sms, board.boost_mhz, board.rate_class) == ("NVIDIA GeForce RTX 9090", 10, 1980, "half")
    assert {peak.basis for peak in (*board.peaks.values(), *board.peaks_now.values())} == {"unverified"}
    assert board.differences == ()
    assert "not in the catalogue" in (board.note or "")


def test_a_row_without_sms_is_completed_by_the_driver() -> None:
    bare = replace(H100, sms=None, boost_mhz=None, cuda_cores=None)
    board = live.live_board(AS_ITS_ROW, bare)
    assert board is not None
    assert (board.name, board.sms, board.boost_mhz, board.cuda_cores) == ("H100 SXM5 80GB", 132, 1980, 16896)
    assert {peak.basis for peak in board.peaks.values()} == {"unverified"}


@pytest.mark.parametrize("facts", [{"cuda_cores": None}, {"compute_capability": None}, {"compute_capability": "99.0"}], ids=str)
def test_a_driver_that_tells_too_little(facts: dict[str, Any]) -> None:
    gpu = replace(AS_ITS_ROW, **facts)
    assert live.live_board(gpu, None) is None
    bare = replace(H100, sms=None)
    assert live.live_board(gpu, bare) == bare
    assert live.live_board(gpu, H100) is not None


def test_a_part_of_a_gpu_has_no_known_bandwidth() -> None:
    part = live.part_of(H100, 16)
    assert (part.sms, part.memory_gb_per_s) == (16, None)
    whole = peaks.gpu_peaks(H100)["bf16_tensor"].dense
    assert whole is not None
    assert part.peaks["bf16_tensor"].dense == pytest.approx(whole * 16 / 132)
    assert {peak.basis for peak in part.peaks.values()} == {"unverified"}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_gpus_are_as_their_rows(name: str) -> None:
    """Real machines: a GPU that is found differs in power, slot or BAR1 at most, never in what it is built from."""
    for gpu in load(name).gpus:
        known = names.identify(
            name=gpu.name,
            device_id=gpu.pci_device_id,
            memory_bytes=gpu.memory_total_bytes,
            power_limit_w=gpu.power_limit_default_w,
        )
        board = live.live_board(gpu, known)
        if known is not None and board is not None:
            built = [said for said in board.differences if " SMs, " in said or "of memory, " in said or "memory bus" in said]
            assert built == []
