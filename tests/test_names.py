"""From what people, drivers and lspci write to boards: one, several, or the plain answer that nothing of the name shipped."""

from __future__ import annotations

import contextlib
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dltool import catalog, names, tables
from dltool.errors import UsageError
from dltool.names import Resolution

BOARDS = tuple(catalog.board_names())
NAMES = tables.rows("names")
PCI_IDS = Path("/usr/share/misc/pci.ids")
GIB = 2**30


def boards(asked: str) -> tuple[str, ...]:
    return names.resolve(asked).boards


def resolved(asked: str) -> Resolution | None:
    """What a name leads to; None: it is refused."""
    with contextlib.suppress(UsageError):
        return names.resolve(asked)
    return None


def squeezed(name: str) -> str:
    """A name without blanks, signs, capitals and "NVIDIA"."""
    return re.sub(r"nvidia|[\W_]", "", name.casefold())


OWN = {squeezed(name) for name in BOARDS}


# --- every name of the tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(str, id="as it is"),
        pytest.param(str.upper, id="capitals"),
        pytest.param(str.lower, id="small letters"),
        pytest.param(str.swapcase, id="swapped"),
        pytest.param(lambda name: f"  {name} ", id="blanks around"),
        pytest.param(lambda name: name.replace(" ", "_"), id="underscores"),
    ],
)
def test_every_board_is_found_under_its_own_name(write) -> None:
    assert [name for name in BOARDS if boards(write(name)) != (name,)] == []


def test_every_board_is_among_those_that_a_driver_so_calls() -> None:
    """With NVIDIA before it a name is the driver's, which may say the same of several."""
    assert [name for name in BOARDS if name not in boards(f"NVIDIA {name}")] == []
    assert [name for name in BOARDS if name not in boards(f"nvidia {name.upper()}")] == []


@pytest.mark.parametrize("kind", ["alias", "nvml"])
def test_every_row_of_names_leads_to_its_board(kind: str) -> None:
    """But where the text is another board's very own name: that one wins."""
    rows = [row for row in NAMES if row["kind"] == kind]
    assert len(rows) > 200
    lost = [row for row in rows if row["board"] not in boards(row["name"])]
    assert [row["name"] for row in lost if squeezed(row["name"]) not in OWN] == []


def test_every_vgpu_profile_leads_to_its_board() -> None:
    families = [row for row in NAMES if row["kind"] == "vgpu" and not row["name"].startswith("GRID K")]
    assert len(families) > 60
    for profile in ("-8Q", "-4C", "-16A", "-1B"):
        assert [row["name"] for row in families if row["board"] not in boards(row["name"] + profile)] == []
    assert all("vGPU" in names.resolve(row["name"] + "-8Q").note for row in families)


def test_vgpu_profiles_of_kepler_are_whole_names() -> None:
    profiles = [row for row in NAMES if row["kind"] == "vgpu" and re.fullmatch(r"GRID K\d+Q?", row["name"])]
    assert [
        row["name"] for row in profiles if (found := resolved(row["name"])) is None or row["board"] not in found.boards
    ] == []


def test_what_never_shipped_is_told_with_its_note() -> None:
    rows = [row for row in NAMES if row["kind"] == "never"]
    assert len(rows) > 150
    notes: dict[str, set[str]] = {}  # "RTX 4010" and "GeForce RTX 4010" are one name
    for row in rows:
        notes.setdefault(squeezed(row["name"]).removeprefix("geforce"), set()).add(row["note"])
    for row in rows:
        found = names.resolve(row["name"])
        assert not found.shipped, row["name"]
        assert found.note in notes[squeezed(row["name"]).removeprefix("geforce")], row["name"]
        if row["board"] and found.note == row["note"]:
            assert found.boards == boards(row["board"]), row["name"]


@given(st.sampled_from(BOARDS), st.sampled_from(BOARDS))
def test_no_board_answers_to_the_name_of_another(one: str, other: str) -> None:
    assume(one != other)
    assert boards(one) == (one,)
    assert one not in boards(other)


# --- what people type -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("4090", ["GeForce RTX 4090"]),
        ("rtx4090", ["GeForce RTX 4090"]),
        ("RTX 4090 24GB", ["GeForce RTX 4090"]),
        ("4090 mobile", ["GeForce RTX 4090 Laptop GPU"]),
        ("5090 notebook", ["GeForce RTX 5090 Laptop GPU"]),
        ("rtx_4070tisuper", ["GeForce RTX 4070 Ti SUPER"]),
        ("4090d", ["GeForce RTX 4090 D"]),
        ("gtx1050ti", ["GeForce GTX 1050 Ti"]),
        ("GeForce RTX 4060 Ti(8G) (AD106)", ["GeForce RTX 4060 Ti 8GB"]),
        ("RTX 2080 Max Q", ["GeForce RTX 2080 with Max-Q Design"]),
        ("1060", ["GeForce GTX 1060 3GB", "GeForce GTX 1060 6GB"]),
        ("4060 Ti", ["GeForce RTX 4060 Ti 8GB", "GeForce RTX 4060 Ti 16GB"]),
        ("TITAN X", ["GeForce GTX TITAN X", "TITAN X (Pascal)"]),
        ("titan xp", ["TITAN Xp"]),
        ("a100", ["A100 PCIe 40GB", "A100 PCIe 80GB", "A100 SXM4 40GB", "A100 SXM4 80GB"]),
        ("a100 80g", ["A100 PCIe 80GB", "A100 SXM4 80GB"]),
        ("a100 80 GiB", ["A100 PCIe 80GB", "A100 SXM4 80GB"]),
        ("A100 SXM", ["A100 SXM4 40GB", "A100 SXM4 80GB"]),
        ("A100-SXM4-80GB", ["A100 SXM4 80GB"]),
        ("h100 pcie", ["H100 PCIe 80GB"]),
        ("v100 32gb sxm2", ["Tesla V100 SXM2 32GB"]),
        ("t4", ["Tesla T4"]),
        ("k80", ["Tesla K80"]),
        ("rtx 6000 ada", ["RTX 6000 Ada Generation"]),
        ("AGX Orin 64", []),
        ("DGX H100", ["DGX H100"]),
        ("dgx-h100", ["DGX H100"]),
        ("HGX H100", ["HGX H100 4-GPU", "HGX H100 8-GPU"]),
    ],
)
def test_short_forms(asked: str, found: list[str]) -> None:
    answer = resolved(asked)
    assert sorted(answer.boards if answer else ()) == sorted(found)
    assert answer is None or (answer.shipped and not answer.group and not answer.note)


def test_what_contradicts_itself_is_a_list_with_a_note() -> None:
    found = names.resolve("3060 12gb laptop")
    assert set(found.boards) == {"GeForce RTX 3060", "GeForce RTX 3060 Laptop GPU"}
    assert "no board is all of `3060 12gb laptop`" in found.note
    assert names.resolve("L40S 24GB").boards == ("L40S",)
    assert "no board is all of `L40S 24GB`" in names.resolve("L40S 24GB").note


@pytest.mark.parametrize(
    "asked",
    [
        "H100",
        "nvidia h100",
        pytest.param(
            "NVIDIA H100",
        ),
    ],
)
def test_what_people_type_goes_before_the_one_board_that_a_driver_so_calls(asked: str) -> None:
    assert "H100 SXM5 80GB" in boards(asked)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("M4000", {"Quadro M4000"}),
        ("4000M", {"Quadro 4000M"}),
        ("NVIDIA Quadro M4000", {"Quadro M4000"}),
        ("NVIDIA Quadro M2000M", {"Quadro M2000M"}),
        ("1000M", {"Quadro 1000M"}),
        ("40M", set()),
        ("4T", set()),
    ],
)
def test_a_letter_before_a_number_is_not_one_behind_it(asked: str, found: set[str]) -> None:
    answer = resolved(asked)
    assert set(answer.boards if answer else ()) == found


@pytest.mark.parametrize("asked", ["Tesla H40", "NVIDIA Tesla H40", "tesla-h40", "RTX 4090 Ti", "Quadro RTX H3000"])
def test_what_never_shipped_is_said_so(asked: str) -> None:
    found = names.resolve(asked)
    assert not found.shipped
    assert found.note


def test_what_never_shipped_names_what_was_meant() -> None:
    assert names.resolve("Tesla A10").boards == ("A10",)
    assert len(names.resolve("Tesla A100").boards) == 4


# --- lspci ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("GH100 [H100 SXM5 80GB]", ["H100 SXM5 80GB"]),
        ("NVIDIA Corporation GA100 [A100 SXM4 80GB] (rev a1)", ["A100 SXM4 80GB"]),
        ("17:00.0 3D controller: NVIDIA Corporation AD102GL [L40S] (rev a1)", ["L40S"]),
        ("01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [GeForce RTX 3090] [10de:2204] (rev a1)",
         ["GeForce RTX 3090"]),
        ("NVIDIA Corporation TU116 [GeForce GTX 1660 SUPER]", ["GeForce GTX 1660 SUPER"]),
        ("GA102 [GeForce RTX 3080 Lite Hash Rate]", ["GeForce RTX 3080"]),
        ("GP106M [GeForce GTX 1060 Mobile 6GB]", ["GeForce GTX 1060 Mobile"]),
        ("TU102GL [Quadro RTX 6000/8000]", ["Quadro RTX 6000", "Quadro RTX 8000"]),
        ("TU104M [GeForce RTX 2080 Mobile / Max-Q]", ["GeForce RTX 2080 Mobile"]),
    ],
)  # fmt: skip
def test_lines_of_lspci(line: str, found: list[str]) -> None:
    assert boards(line) == tuple(found)


@pytest.mark.parametrize("asked", ["10de:2204", "10DE:2204", "10de 2204", "10de-2204", "0x2204", "0x220410DE", "0x220410de"])
def test_ids_however_they_are_written(asked: str) -> None:
    assert boards(asked) == ("GeForce RTX 3090",)


def test_an_id_of_several_boards() -> None:
    assert set(boards("10de:06d1")) == {"Tesla C2050", "Tesla C2070"}


def test_every_id_is_found() -> None:
    for row in tables.folder("gpus"):
        for device in row["pci_device_ids"].split():
            assert row["name"] in boards(f"10de:{device}")


@pytest.mark.parametrize("asked", ["10de:ffff", "1002:2204", "10de:", "0x", "10de:22"])
def test_ids_that_are_not_known(asked: str) -> None:
    assert resolved(asked) is None


@pytest.mark.parametrize("asked", ["0x22041", "10de:22041", "0x22041234"])
def test_an_id_is_not_found_inside_a_longer_one(asked: str) -> None:
    assert resolved(asked) is None


@pytest.mark.skipif(not PCI_IDS.exists(), reason="no list of PCI ids here")
def test_names_of_the_list_of_pci_ids() -> None:
    """Of the chips from Fermi to Hopper: nearly every name that the list gives an id leads to a board that has the id."""
    owners: dict[str, set[str]] = {}
    for row in tables.folder("gpus"):
        for device in row["pci_device_ids"].split():
            owners.setdefault(device, set()).add(row["name"])
    chip = r"(?:G[FKMPV]|TU|GA|AD|GH)\d{3}\w*"
    nvidia = PCI_IDS.read_text(encoding="utf-8", errors="replace").partition("\n10de  ")[2]
    listed = re.findall(rf"^\t([0-9a-f]{{4}})  ({chip} \[.*\])$", re.split(r"\n[0-9a-f]{4}  ", nvidia)[0], re.MULTILINE)
    known = [(device, name) for device, name in listed if device in owners]
    assert len(known) > 300
    answers = {(device, name): resolved(name) for device, name in listed}  # no crash
    right = [key for key in known if (found := answers[key]) is not None and owners[key[0]] & set(found.boards)]
    assert len(right) / len(known) >= 0.9
    assert all(answers[key] is not None for key in right)


# --- parts of GPUs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "board", "note"),
    [
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100 SXM4 40GB", "1 of 7 compute slices with 5 GB"),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "H100 SXM5 80GB", "3 of 7 compute slices with 40 GB"),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb+me", "A100 SXM4 80GB", "1 of 7 compute slices with 10 GB"),
        ("GRID A100-10C", "A100 PCIe 40GB", "a vGPU profile (10 GB, for compute)"),
        ("GRID A100D-80C", "A100 PCIe 80GB", "a vGPU profile (80 GB, for compute)"),
        ("NVIDIA A100X-1-10C", "A100 SXM4 40GB", "a vGPU profile"),
        ("NVIDIA L40-48Q", "L40", "a vGPU profile (48 GB, for workstations)"),
        ("NVIDIA A10-24Q", "A10", "a vGPU profile (24 GB, for workstations)"),
        ("GRID T4-2B", "Tesla T4", "a vGPU profile (2 GB, for desktops)"),
        ("GRID V100X-8A", "Tesla V100 SXM2 16GB", "a vGPU profile (8 GB, for applications)"),
        ("NVIDIA H100XM-80C", "H100 SXM5 80GB", "a vGPU profile (80 GB, for compute)"),
    ],
)
def test_slices_and_virtual_gpus_are_shares_of_a_board(asked: str, board: str, note: str) -> None:
    found = names.resolve(asked)
    assert found.boards == (board,)
    assert found.note.startswith(note)
    assert found.shipped


def test_a_slice_of_what_is_not_known_is_not_known() -> None:
    assert resolved("Voodoo MIG 1g.5gb") is None
    assert resolved("MIG 1g.5gb") is None


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["GA102", "ga102", " AD102 ", "GH100", "GF100"])
def test_chips(asked: str) -> None:
    found = names.resolve(asked)
    assert found.group
    assert {catalog.board(name).chip for name in found.boards} == {asked.strip().upper()}


@pytest.mark.parametrize(
    ("asked", "capabilities"),
    [
        ("Hopper", {"9.0"}),
        ("hopper", {"9.0"}),
        ("NVIDIA Hopper", {"9.0"}),
        ("Hopper架构 (2022)", {"9.0"}),
        ("sm_90", {"9.0"}),
        ("compute_90", {"9.0"}),
        ("SM90", {"9.0"}),
        ("sm_120", {"12.0"}),
        ("Ada", {"8.9"}),
        ("Ada Lovelace", {"8.9"}),
        ("Fermi架构 (2010)", {"2.0", "2.1"}),
        ("Volta", {"7.0", "7.2"}),
    ],
)
def test_architectures(asked: str, capabilities: set[str]) -> None:
    found = names.resolve(asked)
    assert found.group
    assert {catalog.board(name).compute_capability for name in found.boards} == capabilities
    assert {own.compute_capability for own in names.architectures_named(asked)} == capabilities


@pytest.mark.parametrize("asked", ["H100", "RTX 4090", "GA102", "", "NVIDIA", "sm_999", "T4", "A10", "2020"])
def test_what_is_no_architecture(asked: str) -> None:
    assert names.architectures_named(asked) == ()


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ("GTX 10系", r"GeForce GTX 10\d\d"),
        ("GTX10系列", r"GeForce GTX 10\d\d"),
        ("GTX 10 series", r"GeForce GTX 10\d\d"),
        ("RTX 40 series", r"GeForce RTX 40\d\d"),
        ("GeForce RTX 40 Series", r"GeForce RTX 40\d\d"),
        ("RTX 30xx", r"GeForce RTX 30\d\d"),
        ("RTX 3000 series", r"GeForce RTX 30\d\d"),
        ("50 series", r"GeForce RTX 50\d\d"),
        ("GTX 900 series", r"GeForce GTX 9\d\d"),
        ("GTX400系列", r"GeForce GTX 4\d\d"),
        ("GTX16系", r"GeForce GTX 16\d\d"),
    ],
)
def test_series(asked: str, pattern: str) -> None:
    found = names.resolve(asked)
    assert found.group
    assert found.boards == tuple(name for name in BOARDS if re.match(rf"{pattern}(?!\d)", name))


def test_a_series_is_not_taken_for_a_part_of_it() -> None:
    assert boards("GTX700系") == boards("GTX 700 series")


@pytest.mark.parametrize("asked", ["99 series", "RTX 10 series", "series", "0 series"])
def test_series_that_never_were(asked: str) -> None:
    found = resolved(asked)
    assert found is None or not found.shipped


# --- what is not known ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        *("", " ", "\t\n", "NVIDIA", "GeForce", "RTX", "GPU", "laptop", "80GB", "[]", "[/]", "-", "()", "0", "\0", "é", "四零"),
        *("H1000", "RTX 9999", "Radeon RX 7900", "RTX 3090 RTX 4090", "4" * 99, "x" * 10_000, "RTX " * 2000, "A-" * 2000),
    ],
    ids=lambda asked: repr(asked[:20]),
)  # fmt: skip
def test_what_is_not_known_is_refused_with_a_way_on(asked: str) -> None:
    with pytest.raises(UsageError, match="unknown GPU") as caught:
        names.resolve(asked)
    assert "dltool gpu-info --list" in caught.value.remedy


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [("GeForce RTX 409", "GeForce RTX 4090"), ("Hoper", None), ("L40 SS", "L40")],
)
def test_the_nearest_names_are_suggested(asked: str, suggested: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        names.resolve(asked)
    assert suggested is None or f"`{suggested}`" in caught.value.remedy


def test_many_brackets_cost_no_more_than_other_signs() -> None:
    start = time.perf_counter()
    assert resolved("[" * 20_000) is None
    assert time.perf_counter() - start < 0.5


PARTS = st.sampled_from(
    ["RTX", "GTX", "Tesla", "4090", "3060", "100", "A100", "H100", "-", "/", "[", "]", "(", ")", "Ti", "80GB", "12 g", "sm_90",
     "MIG 1g.5gb", "-8Q", "10de:", "0x", "2204", "series", "系", "Laptop", "Max-Q", "NVIDIA", " ", "Ada", "SXM4", "DGX", "GRID"]
)  # fmt: skip


@given(st.text(max_size=60) | st.lists(PARTS | st.text(string.printable, max_size=3), max_size=8).map(" ".join))
@example("Ⅷ²٣")
@example("\ud800")
@example("İstanbul 4090")
@example("((((((((")
@example(".*+?^$|\\")
def test_any_text_is_resolved_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        found = names.resolve(text)
        assert found.asked == text
        assert len(set(found.boards)) == len(found.boards)
        assert found.boards or not found.shipped
        assert set(found.boards) <= {*BOARDS, *tables.table("systems").first_cells()}
    with contextlib.suppress(UsageError):
        assert names.find(text).name in BOARDS


def numbers(name: str) -> set[str]:
    """The figures of a name that are no size, form or speed of memory."""
    bare = re.sub(r"\d+(\.\d+)? ?g(i?b)?\b|sxm\d?|g?ddr\d+|hbm\d", " ", name.casefold())
    return set(re.findall(r"\d+", bare))


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A board's name with letters and words changed."""
    words = draw(st.sampled_from(BOARDS)).split()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        how = draw(st.sampled_from(["drop", "swap", "digit", "letter", "double", "case"]))
        if how == "drop" and len(words) > 1:
            del words[place]
        elif how == "swap":
            words = draw(st.permutations(words))
        elif how == "double":
            words.insert(place, words[place])
        elif how == "case":
            words[place] = words[place].swapcase()
        else:
            word = words[place]
            at = draw(st.integers(0, len(word)))
            words[place] = word[:at] + draw(st.sampled_from(string.digits if how == "digit" else "sxtidm")) + word[at + 1 :]
    return draw(st.sampled_from([" ", " ", "-", "_"])).join(words)


def bare(name: str) -> str:
    """The letters and figures that a look-up in names.csv goes by."""
    return re.sub(r"nvidia|geforce|[^a-z0-9]", "", name.casefold())


LISTED = {bare(row["name"]) for row in NAMES}


@given(mutations())
@settings(max_examples=300)
def test_a_board_is_never_guessed_from_the_name_of_another(text: str) -> None:
    """Whatever is made of a name: the number of each board that it leads to stands in it."""
    found = resolved(text)
    if found is None or found.group or not found.shipped or bare(text) in LISTED or "vGPU" in found.note:
        return
    written = set(re.findall(r"\d+", text))
    for name in found.boards:
        assert numbers(name) <= written, name


# --- one board --------------------------------------------------------------------------------------------------------


def test_one_asks_for_more_where_several_fit() -> None:
    assert names.one("RTX 4090") == "GeForce RTX 4090"
    assert names.one("DGX H100") == "DGX H100"
    with pytest.raises(UsageError, match="`A100` is 4 boards") as caught:
        names.one("A100")
    assert all(f"`{name}`" in caught.value.remedy for name in boards("A100"))
    with pytest.raises(UsageError) as caught:
        names.one("Hopper")
    assert caught.value.remedy.endswith(", ....")


def test_find_takes_no_system() -> None:
    assert names.find("l4").name == "L4"
    with pytest.raises(UsageError, match="a system of several GPUs"):
        names.find("DGX H100")


def test_versions_differ_by_memory_or_form_only() -> None:
    assert set(names.versions_of("A100 SXM4 80GB")) == {"A100 SXM4 40GB", "A100 PCIe 40GB", "A100 PCIe 80GB", "A100 SXM 64GB"}
    assert names.versions_of("GeForce RTX 4090") == ()
    assert "A100 SXM4 80GB" not in names.versions_of("A100X")


# --- what a driver reports --------------------------------------------------------------------------------------------


def identified(
    name: str | None, device_id: str | None = None, gib: float | None = None, watts: float | None = None
) -> str | None:
    memory = int(gib * GIB) if gib else None
    board = names.identify(name=name, device_id=device_id, memory_bytes=memory, power_limit_w=watts)
    return board.name if board else None


def test_every_board_is_identified_by_its_id_and_all_its_figures() -> None:
    """Where neither tells two boards apart, there is no answer in place of a wrong one."""
    wrong = []
    for name in BOARDS:
        board = catalog.board(name)
        for device in board.pci_device_ids:
            found = identified(None, f"10de:{device}", (board.memory_gb or 0) * 0.92, board.tdp_w)
            owners = names.resolve(f"10de:{device}").boards
            if found != name and (found is not None or len(owners) == 1) and not _same_figures(found, name):
                wrong.append((name, device, found))
    assert wrong == []


def _same_figures(found: str | None, name: str) -> bool:
    """Whether some figure of either board is not known, or all are the same."""
    one, other = catalog.board(found or name), catalog.board(name)
    figures = [(one.memory_gb, other.memory_gb), (one.tdp_w, other.tdp_w)]
    return any(None in pair for pair in figures) or all(a == b for a, b in figures)


@pytest.mark.parametrize(
    ("name", "device_id", "gib", "watts", "found"),
    [
        pytest.param("NVIDIA H100 80GB HBM3", "10de:2330", 79.6, 700, "H100 SXM5 80GB", id="all"),
        pytest.param("NVIDIA H100 80GB HBM3", None, None, None, "H100 SXM5 80GB", id="name"),
        pytest.param(None, "10de:2330", None, None, "H100 SXM5 80GB", id="id"),
        pytest.param("NVIDIA GeForce RTX 3080", "10de:220a", None, None, "GeForce RTX 3080 12GB", id="name and id"),
        pytest.param("NVIDIA GeForce RTX 3080", None, 11.8, None, "GeForce RTX 3080 12GB", id="name and memory"),
        pytest.param("NVIDIA GeForce RTX 3080", None, None, None, None, id="several of one name"),
        pytest.param(None, "10de:25b6", 15, 60, "A2", id="id and power"),
        pytest.param(None, "10de:25b6", 15, 250, "A16", id="id and more power"),
        pytest.param(None, "10de:25b6", 15, None, None, id="no power"),
        pytest.param("NVIDIA Riva 128", "10de:0018", 0.004, 5, None, id="unknown"),
        pytest.param(None, None, 80, 700, None, id="figures alone"),
        pytest.param("", "", None, None, None, id="nothing"),
    ],
)
def test_what_a_driver_reports(
    name: str | None, device_id: str | None, gib: float | None, watts: float | None, found: str | None
) -> None:
    assert identified(name, device_id, gib, watts) == found


@given(st.none() | st.text(max_size=30), st.none() | st.text(max_size=12), st.none() | st.integers(0, 2**63))
def test_any_report_of_a_driver_is_survived(name: str | None, device_id: str | None, memory: int | None) -> None:
    board = names.identify(name=name, device_id=device_id, memory_bytes=memory, power_limit_w=0.0)
    assert board is None or board.name in BOARDS


def test_other_boards_of_a_name_are_told() -> None:
    assert set(names.versions_of("GeForce RTX 3050")) >= {
        "GeForce RTX 3050 6GB",
        "GeForce RTX 3050 GA107",
        "GeForce RTX 3050 OEM",
    }
    assert "GeForce RTX 3050 Laptop GPU" not in names.versions_of("GeForce RTX 3050")
    assert set(names.versions_of("A100 SXM4 80GB")) >= {"A100 SXM4 40GB", "A100 PCIe 80GB"}
    assert names.versions_of("GeForce RTX 4090") == ()
