"""Every row of the catalogue, and every name that leads to one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from dltool import catalog, names, tables
from dltool.catalog import PEAK_KEYS
from dltool.errors import UsageError

GIB = 2**30
TABLES = [str(path.relative_to(tables.directory()).with_suffix("")) for path in sorted(tables.directory().rglob("*.csv"))]
BOARDS = tables.folder("gpus")
NAMES = tables.rows("names")
ROWS_OF_CHIP = {chip: row for row in tables.rows("architectures") for chip in row["chips"].split()}

CORES = (("cuda_cores", "cuda_cores_per_sm"), ("tensor_cores", "tensor_cores_per_sm"), ("rt_cores", "rt_cores_per_sm"))
GBIT_PER_PIN = {
    "DDR3": (1, 2.5), "DDR3L": (1, 2.5), "DDR4": (2, 3.3), "LPDDR4": (2.5, 4.3), "LPDDR4X": (2.6, 4.3),
    "LPDDR5": (4, 6.5), "LPDDR5X": (7, 9.6),
    "GDDR5": (1.4, 9.1), "GDDR5X": (8, 12), "GDDR6": (8, 20.1), "GDDR6X": (17, 24), "GDDR7": (18, 32.1),
    "HBM2": (1.3, 2.5), "HBM2e": (2.3, 3.7), "HBM3": (4.5, 6.6), "HBM3e": (5.5, 9.3),
}  # fmt: skip
"""What one pin of each kind of memory has carried in products."""


def wrong(rows: tuple[tables.Row, ...], is_wrong: Callable[[tables.Row], bool]) -> list[str]:
    """The names of the rows of which `is_wrong` holds: one list, so that a failure shows them all."""
    return [row["name"] for row in rows if is_wrong(row)]


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_every_column_and_a_source(table: str) -> None:
    rows = tables.rows(table)
    assert rows
    if table.startswith("zh/"):  # translations of other tables, which name their sources
        assert all(cell == cell.strip() for row in rows for cell in row.values())
        return
    assert "source" in rows[0]
    for row in rows:
        assert None not in row, f"too many cells: {row}"
        assert None not in row.values(), f"too few cells: {row}"
        assert row["source"].strip(), f"no source: {row}"
        assert all(cell == cell.strip() for cell in row.values()), f"blanks at an end: {row}"


@pytest.mark.parametrize("table", TABLES)
def test_the_form_that_the_readme_promises(table: str) -> None:
    data = (tables.directory() / f"{table}.csv").read_bytes()
    assert data.decode("utf-8")
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert not data.startswith(b"\xef\xbb\xbf")


# --- boards -----------------------------------------------------------------------------------------------------------


def test_board_names_are_unique_and_without_the_maker() -> None:
    names = [row["name"] for row in BOARDS]
    assert [name for name, count in Counter(map(str.casefold, names)).items() if count > 1] == []
    assert not wrong(BOARDS, lambda row: "nvidia" in row["name"].casefold())
    assert list(catalog.boards()) == names


def test_boards_are_of_all_architectures_and_in_the_right_file() -> None:
    assert len(BOARDS) >= 800
    for path in sorted((tables.directory() / "gpus").glob("*.csv")):
        rows = tables.rows(f"gpus/{path.stem}")
        assert not wrong(rows, lambda row, stem=path.stem: not _architecture(row).casefold().startswith(stem))
    assert {_architecture(row) for row in BOARDS} == {architecture.name for architecture in catalog.architectures()}


def _architecture(row: tables.Row) -> str:
    return ROWS_OF_CHIP[row["chip"]]["architecture"]


def test_the_chip_agrees_with_the_compute_capability() -> None:
    assert not wrong(BOARDS, lambda row: row["chip"] not in ROWS_OF_CHIP)
    assert not wrong(BOARDS, lambda row: ROWS_OF_CHIP[row["chip"]]["compute_capability"] != row["compute_capability"])


def test_words_with_a_fixed_meaning() -> None:
    segments = {
        "geforce", "laptop", "titan", "workstation", "mobile-workstation", "datacenter", "mining", "jetson", "superchip",
    }  # fmt: skip
    forms = {"", "PCI", "PCIe", "MXM", "laptop", "module", "superchip", "SXM", "SXM2", "SXM3", "SXM4", "SXM5", "SXM6"}
    forms |= {f"PCIe {width}-slot" for width in ("single", "dual", "triple", "quad")}
    assert not wrong(BOARDS, lambda row: row["segment"] not in segments)
    assert not wrong(BOARDS, lambda row: row["rate_class"] not in ("full", "half", "half_all", "mining"))
    assert not wrong(BOARDS, lambda row: (row["rate_class"] == "mining") != row["name"].startswith("CMP "))
    assert not wrong(BOARDS, lambda row: row["form_factor"] not in forms)
    assert not wrong(BOARDS, lambda row: row["confidence"] not in ("A", "B", "C"))
    assert not wrong(BOARDS, lambda row: not re.fullmatch(r"(\d{4}(-(0[1-9]|1[0-2]))?)?", row["launch"]))
    assert not wrong(BOARDS, lambda row: not re.fullmatch(r"([0-9a-f]{4}( [0-9a-f]{4})*)?", row["pci_device_ids"]))


def test_cores_are_sms_times_the_number_of_the_architecture() -> None:
    def disagrees(row: tables.Row, column: str, per_sm: str) -> bool:
        each = ROWS_OF_CHIP[row["chip"]][per_sm]
        if not row[column] or not row["sms"] or not each:
            return False
        # Where NVIDIA counts otherwise, the note says so.
        return int(row[column]) != int(row["sms"]) * int(each) and column.replace("_", " ") not in row["note"]

    for column, per_sm in CORES:
        assert not wrong(BOARDS, lambda row, c=column, p=per_sm: disagrees(row, c, p))


def test_only_what_has_tensor_cores_is_halved_and_has_any() -> None:
    def has_any(row: tables.Row) -> bool:
        return bool(ROWS_OF_CHIP[row["chip"]]["tensor_cores_per_sm"])

    assert not wrong(BOARDS, lambda row: row["tensor_cores"] not in ("", "0") and not has_any(row))
    assert not wrong(BOARDS, lambda row: row["rate_class"].startswith("half") and not has_any(row))
    geforce = [row for row in BOARDS if row["segment"] == "geforce" and has_any(row) and row["tensor_cores"] != "0"]
    assert not wrong(tuple(geforce), lambda row: row["rate_class"] != "half")


def test_numbers_are_numbers_that_can_be() -> None:
    ranges = {
        "sms": (1, 200), "base_mhz": (150, 3000), "boost_mhz": (200, 3100), "shader_mhz": (600, 2000), "tdp_w": (5, 2800),
        "tensor_boost_mhz": (1000, 2600), "memory_gb": (0.5, 300), "memory_bus_bits": (64, 8192), "memory_gb_per_s": (5, 8100),
        "l2_mib": (0.03, 200), "nvlink_gb_per_s": (40, 1800),
    }  # fmt: skip
    for column, (low, high) in ranges.items():
        assert not wrong(BOARDS, lambda row, c=column, lo=low, hi=high: row[c] != "" and not lo <= float(row[c]) <= hi), column
    assert not wrong(
        BOARDS, lambda row: bool(row["boost_mhz"] and row["base_mhz"]) and float(row["boost_mhz"]) < float(row["base_mhz"])
    )
    assert not wrong(BOARDS, lambda row: bool(row["shader_mhz"]) and _architecture(row) != "Fermi")


def test_bandwidth_is_bus_width_times_what_a_pin_carries() -> None:
    def impossible(row: tables.Row) -> bool:
        if not (row["memory_type"] and row["memory_bus_bits"] and row["memory_gb_per_s"]):
            return False
        low, high = GBIT_PER_PIN[row["memory_type"]]
        return not low <= float(row["memory_gb_per_s"]) * 8 / float(row["memory_bus_bits"]) <= high

    assert not wrong(BOARDS, impossible)


# --- architectures ----------------------------------------------------------------------------------------------------


def test_a_chip_stands_in_one_architecture_only() -> None:
    chips = [chip for row in tables.rows("architectures") for chip in row["chips"].split()]
    assert [chip for chip, count in Counter(chips).items() if count > 1] == []
    assert len(catalog.architectures()) == 26


def test_unverified_names_columns_of_the_table() -> None:
    for row in tables.rows("architectures"):
        assert set(row["unverified"].split()) <= row.keys(), row["compute_capability"]


def test_the_chip_decides_where_the_compute_capability_does_not() -> None:
    assert catalog.architecture_of("7.5") is None
    with_tensor_cores, without = catalog.architecture_of("7.5", "TU104"), catalog.architecture_of("7.5", "TU116")
    assert with_tensor_cores is not None
    assert without is not None
    assert "fp16_tensor" in with_tensor_cores.ops
    assert "fp16_tensor" not in without.ops
    hopper = catalog.architecture_of("9.0")
    assert hopper is not None
    assert hopper.name == "Hopper"
    assert catalog.architecture_of("99.0") is None


def test_rate_classes_scale_keys_that_exist() -> None:
    for row in tables.rows("rate_classes"):
        assert row["key"] in PEAK_KEYS
        assert (row["factor"] == "") == (row["rate_class"] == "mining"), "by how much is published for all others"
        assert not row["factor"] or 0 < float(row["factor"]) < 1


# --- names ------------------------------------------------------------------------------------------------------------


def test_rows_of_names_are_well_formed() -> None:
    known = {*catalog.board_names(), *(row["name"] for row in tables.rows("systems"))}
    assert not wrong(NAMES, lambda row: row["kind"] not in ("nvml", "alias", "vgpu", "never"))
    assert not wrong(NAMES, lambda row: row["kind"] != "never" and row["board"] not in known)
    assert not wrong(NAMES, lambda row: row["kind"] == "never" and not row["note"])
    keys = Counter((row["name"], row["board"], row["kind"]) for row in NAMES)
    assert [key for key, count in keys.items() if count > 1] == []


def test_every_board_is_found_under_its_own_name() -> None:
    assert not wrong(BOARDS, lambda row: names.find(row["name"]).name != row["name"])
    assert not wrong(BOARDS, lambda row: row["name"] not in names.resolve(f"nvidia {row['name'].upper()}").boards)


def test_every_alias_leads_to_its_board() -> None:
    aliases = tuple(row for row in NAMES if row["kind"] == "alias")
    assert len(aliases) > 200
    assert not wrong(aliases, lambda row: row["board"] not in names.resolve(row["name"]).boards)


def test_every_name_of_a_driver_leads_to_its_board() -> None:
    """By name, PCI id and memory, as a driver tells them; one string may stand for several boards, but never for another."""
    reported = tuple(row for row in NAMES if row["kind"] == "nvml")
    assert len(reported) > 600
    boards_of: dict[str, set[str]] = {}
    for row in reported:
        boards_of.setdefault(row["name"], set()).add(row["board"])
    lost, told = [], 0
    for row in reported:
        board = catalog.boards()[row["board"]]
        memory = int(float(row["memory_gb"] or board.memory_gb or 0) * GIB * 0.98) or None  # the driver keeps some for itself
        for device in board.pci_device_ids or (None,):
            found = names.identify(name=row["name"], device_id=f"10de:{device}" if device else None, memory_bytes=memory)
            told += found is not None
            shares_id = found is not None and device in found.pci_device_ids
            if found is not None and found.name != row["board"] and not shares_id:
                lost.append((row["name"], device, row["board"], found.name))
            own = {name for name in catalog.board_names() if row["name"].casefold().endswith(name.casefold())}
            if found is None and len(boards_of[row["name"]] | own) == 1:
                lost.append((row["name"], device, row["board"], None))
    assert lost == []
    assert told > len(reported) * 0.9


@pytest.mark.parametrize("row", [row for row in NAMES if row["kind"] == "never"], ids=lambda row: row["name"])
def test_what_never_shipped_is_refused_with_what_was_meant(row: tables.Row) -> None:
    found = names.resolve(row["name"])
    assert not found.shipped
    assert found.note in {other["note"] for other in NAMES if other["kind"] == "never"}
    assert bool(found.boards) == bool(row["board"]) or not row["board"]
    with pytest.raises(UsageError, match="ever shipped") as caught:
        names.find(row["name"])
    assert found.boards[:1] == () or f"`{found.boards[0]}`" in caught.value.remedy


@pytest.mark.parametrize(
    ("asked", "boards"),
    [
        ("A100", 4), ("a100 80g", 2), ("V100", 4), ("P100", 3), ("1060", 2), ("TITAN X", 2), ("RTX 4060 Ti", 2), ("GH200", 2),
    ],
)  # fmt: skip
def test_a_name_of_several_boards_is_never_one_of_them_silently(asked: str, boards: int) -> None:
    assert len(names.resolve(asked).boards) == boards
    with pytest.raises(UsageError, match=f"is {boards} boards"):
        names.find(asked)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("L4", "L4"),
        ("L40", "L40"),
        ("L40S", "L40S"),
        ("A10", "A10"),
        ("A10G", "A10G"),
        ("T4", "Tesla T4"),
        ("T400", "T400"),
        ("P4", "Tesla P4"),
        ("P40", "Tesla P40"),
        ("H20", "H20"),
        ("H200", "H200 SXM"),
        ("RTX 4090", "GeForce RTX 4090"),
        ("rtx_4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX-4090", "GeForce RTX 4090"),
        ("RTX 4000", "Quadro RTX 4000"),
        ("RTX A4000", "RTX A4000"),
        ("H100 SXM", "H100 SXM5 80GB"),
    ],
)
def test_a_name_is_never_found_inside_another(asked: str, found: str) -> None:
    assert names.find(asked).name == found


@pytest.mark.parametrize(
    "name", ["", " ", "NVIDIA", "GeForce", "RTX", "RTX 40", "A4", "L4 0", "H", "Tesla", "Radeon RX 7900", "4" * 99]
)
def test_what_is_no_name_is_refused_with_a_way_on(name: str) -> None:
    with pytest.raises(UsageError, match="unknown GPU") as caught:
        names.find(name)
    assert "dltool gpu-info --list" in caught.value.remedy


def test_a_slip_of_the_pen_suggests_the_board() -> None:
    with pytest.raises(UsageError) as caught:
        names.find("GeForce RTX 409")
    assert "`GeForce RTX 4090`" in caught.value.remedy


# --- what a driver reports --------------------------------------------------------------------------------------------


def identified(name: str | None, device_id: str | None = None, gib: float | None = None) -> str | None:
    board = names.identify(name=name, device_id=device_id, memory_bytes=int(gib * GIB) if gib else None)
    return board.name if board else None


def test_by_name_alone() -> None:
    assert identified("NVIDIA H100 80GB HBM3") == "H100 SXM5 80GB"
    assert identified("NVIDIA A100-SXM4-40GB") == "A100 SXM4 40GB"
    assert identified("Tesla T4") == "Tesla T4"
    assert identified("NVIDIA Riva 128") is None
    assert identified(None) is None


def test_memory_decides_between_boards_of_one_name() -> None:
    assert identified("NVIDIA GeForce RTX 3080", gib=9.8) == "GeForce RTX 3080"
    assert identified("NVIDIA GeForce RTX 3080", gib=11.8) == "GeForce RTX 3080 12GB"
    assert identified("NVIDIA GeForce RTX 4060 Ti", gib=15.7) == "GeForce RTX 4060 Ti 16GB"
    assert identified("NVIDIA GeForce RTX 3080") is None


def test_the_id_decides_between_boards_of_one_name() -> None:
    assert identified("NVIDIA GeForce RTX 3080", "10de:220a") == "GeForce RTX 3080 12GB"
    assert identified("NVIDIA GeForce RTX 3060", "10de:24c7") == "GeForce RTX 3060 8GB GA104"


def test_the_id_alone() -> None:
    assert identified(None, "10de:2330") == "H100 SXM5 80GB"
    assert identified("Graphics Device", "10de:20b2") == "A100 SXM4 80GB"
    assert identified(None, "1002:2330") is None
    assert identified(None, "10de:ffff") is None
    assert identified(None, "") is None


def test_an_id_of_several_boards_needs_name_or_memory() -> None:
    assert identified(None, "10de:25b6") is None
    assert identified(None, "10de:25b6", 15) is None  # A2 and A16 have the same memory too
    assert identified("NVIDIA A16", "10de:25b6", 15) == "A16"
    assert identified(None, "10de:2d04", 15.9) == "GeForce RTX 5060 Ti 16GB"


def test_a_laptop_that_reports_the_name_of_the_desktop_card() -> None:
    assert identified("NVIDIA GeForce RTX 2080", "10de:1e87", 8) == "GeForce RTX 2080"
    assert identified("NVIDIA GeForce RTX 2080", "10de:1ed0", 8) == "GeForce RTX 2080 Mobile"
    assert identified("NVIDIA GeForce RTX 2080 with Max-Q Design", "10de:1ed0", 8) == "GeForce RTX 2080 with Max-Q Design"
    assert identified("NVIDIA GeForce GTX 1080", "10de:1be0") == "GeForce GTX 1080 Mobile"


def test_an_id_that_is_not_listed_leaves_the_name_its_word() -> None:
    assert identified("NVIDIA H100 PCIe", "10de:ffff") == "H100 PCIe 80GB"
    assert identified("NVIDIA H100 PCIe", "10de:2335") == "H100 PCIe 80GB"  # of a board whose name the driver would tell


def test_every_id_leads_to_a_board_that_has_it() -> None:
    owners: dict[str, list[str]] = {}
    for row in BOARDS:
        for device in row["pci_device_ids"].split():
            owners.setdefault(device, []).append(row["name"])
    for device, boards in owners.items():
        found = identified(None, f"10de:{device}")
        assert found == (boards[0] if len(boards) == 1 else None)
