"""From what people and drivers write to boards: exact names, short forms, PCI ids, vGPU and MIG names, chips, series.

A name is never guessed. It leads to one board, or to a short list where it fits several ("A100" is four boards), or to the
plain answer that nothing of that name ever shipped. It is never searched for inside another: "L4" must not find the L40S.

The parts of a name are compared as sets of words. A board answers to a name that holds only words of the board, and that leaves
out nothing but its brand, its memory size or its form factor; of the boards that answer, those win that leave out the least.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from msgspec import Struct

from dltool import tables
from dltool.catalog import Architecture, Board, architectures, board, board_names
from dltool.errors import UsageError, unknown_name

_BRANDS = frozenset({"geforce", "tesla", "quadro", "rtx", "gtx", "gt", "gts", "grid"})
_FORMS = frozenset({"pcie", "sxm", "sxm2", "sxm3", "sxm4", "sxm5", "oem"})
_VARIANTS = frozenset({"laptop", "maxq", "super", "mac", "pro", "series", "embedded"})
_NOISE = frozenset({"nvidia", "corporation", "gpu", "with", "design", "graphics", "card", "generation", "edition", "lhr"})
_SAME = {"notebook": "laptop", "mobile": "laptop"}
_WORD = re.compile(r"\d+(?:\.\d+)?gb|(?:sxm|ddr|gddr|hbm|lpddr)\d+[a-z]*|[a-z]{2,}|[a-z]?\d+(?:[a-z](?![a-z]))?|[a-z]")
"""A letter before or after a number belongs to it: M4000 and 4000M are two boards."""
_MEMORY = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s?-?g(?:i?b)?(?![a-z0-9])")
_SIZE = re.compile(r"\d+(?:\.\d+)?gb")
_DEVICE_ID = r"(?i)(?<![0-9a-f])10de[:\s-]?([0-9a-f]{4})(?![0-9a-f])|0x([0-9a-f]{4})(?:10de)?(?![0-9a-f])"
# Patterns of rarer forms: re compiles them when one is first met, for every start pays for what is compiled here.
_VGPU = r"(?P<family>.+?)-(?P<share>\d+(?:-\d+)?)-?(?P<series>[A-Z])?(?:EQ|ME)?"
_MIG = r"(?i)\s+MIG\s+(?P<slices>\d+)g\.(?P<memory>\d+)gb(?:\+\S+)?$"
_SERIES = r"(?i)\b(?:(rtx|gtx|gts|gt)\s*)?(\d{2,3}|\d{4})\s*(?:series|系列|系|xx)"
_GEFORCE = r"GeForce (?:([A-Z]+) )?(\d+)"
_FAMILY = 60
_MOST = 400
"""Names compared letter by letter for a suggestion."""


class Resolution(Struct, frozen=True, kw_only=True):
    """What a name leads to."""

    asked: str
    boards: tuple[str, ...] = ()
    """Names of the catalogue, or of systems: one, or all that the name fits."""
    note: str = ""
    """What must be said along with it: a vGPU profile, a part of a GPU, what never shipped."""
    shipped: bool = True
    """False: nothing of this name was ever sold; `boards` then is what was probably meant."""
    group: bool = False
    """Whether a whole chip, series or architecture was asked for."""


def resolve(asked: str) -> Resolution:
    """What `asked` leads to: a board, several, a system, or the answer that it never shipped.

    Raises:
        UsageError: nothing like it is known; the nearest names are suggested.
    """
    found = (
        _device_id(asked) or _exact(asked) or _own(asked) or _listed(asked) or _bracketed(asked) or _by_words(asked)
        or _mig(asked) or _vgpu(asked) or _group(asked) or _loosened(asked)
    )  # fmt: skip
    if found is None:
        raise unknown_name("GPU", asked, _nearest(asked), listing="dltool gpu-info --list")
    return found


def one(asked: str) -> str:
    """The name of the one board or system that people call `asked`.

    Raises:
        UsageError: unknown, never shipped, or several boards (they are named).
    """
    found = resolve(asked)
    if not found.shipped:
        meant = f"Ask for {_either(found.boards)}." if found.boards else "See: dltool gpu-info --list"
        raise UsageError(f"no GPU called `{asked}` ever shipped: {found.note}", remedy=meant)
    if len(found.boards) != 1:
        raise UsageError(f"`{asked}` is {len(found.boards)} boards", remedy=f"Name one: {_either(found.boards)}.")
    return found.boards[0]


def find(asked: str) -> Board:
    """The one board that people call `asked`, without peaks.

    Raises:
        UsageError: unknown, never shipped, several boards, or a system of several.
    """
    name = one(asked)
    if name not in board_names():
        raise UsageError(f"`{name}` is a system of several GPUs, not a board", remedy=f"See: dltool gpu-info '{name}'")
    return board(name)


def identify(
    *, name: str | None, device_id: str | None, memory_bytes: int | None, power_limit_w: float | None = None
) -> Board | None:
    """The board behind what a driver reports: its name first, then its PCI device id; memory and power decide between variants.

    Some laptop GPUs report the name of the desktop card: no board of that name has the id, but one has that no driver names.

    Args:
        name: as NVML gives it, "NVIDIA H100 80GB HBM3".
        device_id: "10de:2330".
        memory_bytes: total device memory as NVML gives it (somewhat below the marketed size).
        power_limit_w: the default limit, which is the board's power.
    """
    wanted = _key(name or "")
    reported = _reported().get(wanted, ())
    reported = [row for row in reported if row["name"] == name] or reported  # capitals tell some laptop GPUs apart
    named = [row["board"] for row in reported] + list(_own_names().get(wanted, ()))
    by_id = _with_device_id(device_id)
    unnamed = [found for found in by_id if found not in _boards_reported()]
    both = [found for found in dict.fromkeys(named) if found in by_id]
    candidates = [board(found) for found in both or (named and unnamed) or dict.fromkeys(named) or by_id]
    if len(candidates) > 1 and memory_bytes is not None:
        candidates = _nearest_by(candidates, [(own.memory_gb or 0) * 1e9 for own in candidates], memory_bytes)
    if len(candidates) > 1 and power_limit_w is not None and all(own.tdp_w for own in candidates):
        candidates = _nearest_by(candidates, [own.tdp_w or 0 for own in candidates], power_limit_w)
    return candidates[0] if len(candidates) == 1 else None


def versions_of(name: str) -> tuple[str, ...]:
    """Other boards of this name but for memory, form factor or chip: a short name fits them as well."""
    bare = _bare(name)
    near = (other for other in _near(bare) if other != name and other in board_names())
    return tuple(other for other in near if _bare(other) == bare)


def _bare(name: str) -> frozenset[str]:
    """The words of a board's name without memory, form factor and chip."""
    try:
        chip = board(name).chip or ""
    except UsageError:  # a malformed row is told of elsewhere, and costs its own board only
        chip = ""
    return _words(name) - _FORMS - _sizes(name) - _words(chip)


# --- ways in which a name is understood, the surest first -------------------------------------------------------------------


def _device_id(asked: str) -> Resolution | None:
    """`10de:2330`, `0x2330`, or such an id at the end of a line of lspci."""
    match = re.search(_DEVICE_ID, asked) if ":" in asked or "x" in asked or "de" in asked.casefold() else None
    if match is None:
        return None
    found = _with_device_id(f"10de:{(match[1] or match[2]).lower()}")
    return Resolution(asked=asked, boards=tuple(found)) if found else None


def _exact(asked: str) -> Resolution | None:
    """Letter by letter, but for capitals: quick, and enough for most."""
    own = _folded().get(asked.casefold())
    return Resolution(asked=asked, boards=(own,)) if own is not None else None


def _own(asked: str) -> Resolution | None:
    """A board's own name but for capitals, signs and "GeForce". With "NVIDIA" before it it is a driver's, see `_listed`."""
    if asked.casefold().lstrip().startswith("nvidia"):
        return None
    boards = _of_key(asked)
    return Resolution(asked=asked, boards=boards) if boards else None


def _of_key(asked: str) -> tuple[str, ...]:
    """Boards and systems whose names have the same words in the same order."""
    wanted = _key(asked)
    return tuple(name for name in _near(frozenset(wanted.split())) if _key(name) == wanted)


def _listed(asked: str) -> Resolution | None:
    """Rows of names.csv of the same words. A driver's name may be that of several boards, one called so itself among them."""
    rows = [row for row in _same_words(asked) if row["kind"] != "vgpu"]
    never = [row for row in rows if row["kind"] == "never"]
    if never:
        meant = resolve(never[0]["board"]).boards if never[0]["board"] else ()
        return Resolution(asked=asked, boards=meant, note=never[0]["note"], shipped=False)
    reported = [row for row in rows if row["kind"] == "nvml"]
    reported = [row for row in reported if row["name"] == asked] or reported  # capitals tell some laptop GPUs apart
    own = _of_key(asked) if reported else ()
    spoken = [row["board"] for row in (*reported, *rows) if row in reported or row["kind"] == "alias"]
    boards = tuple(name for name in dict.fromkeys([*own, *spoken]) if name.casefold() in _folded())
    return Resolution(asked=asked, boards=boards) if boards else None


def _bracketed(asked: str) -> Resolution | None:
    """A line of lspci: `NVIDIA Corporation TU104M [GeForce RTX 2080 Mobile] (rev a1)`; alternatives stand behind slashes.

    The chip before the bracket decides between boards of one name.
    """
    inside = re.findall(r"\[([^\[\]]+)\]", asked)
    if not inside:
        return None
    parts = [part.strip() for part in inside[-1].split("/") if re.search(r"\d|titan", part, re.IGNORECASE)]
    found = [_exact(part) or _listed(part) or _by_words(part) or _by_words(_without_revision(part)) for part in parts]
    names = tuple(dict.fromkeys(name for each in found if each is not None for name in each.boards))
    chip = re.search(r"\b(G[A-Z]\d{3}|[ATG][DUA]\d{3})", asked.partition("[")[0])
    same = tuple(name for name in names if chip and name in board_names() and (board(name).chip or "").startswith(chip[1]))
    other_chip = tuple(own for name in names if chip and (own := f"{name} {chip[1]}") in board_names())
    return Resolution(asked=asked, boards=same or other_chip or names) if names else None


def _without_revision(part: str) -> str:
    """As the driver names it: revisions are one product, and from RTX 30 on every Max-Q is a laptop GPU."""
    text = re.sub(r"\b(rev\.?\s*\w+|refresh|usm|v2)\b", "", part, flags=re.IGNORECASE)
    return re.sub(r"max-?\s?q", "Mobile", text, flags=re.IGNORECASE)


def _by_words(asked: str) -> Resolution | None:
    """The boards that have all words of the name and leave out the least."""
    wanted = _words(asked)
    if not wanted - _BRANDS - _FORMS:
        return None
    ranks = {name: rank for name in _near(wanted) if (rank := _left_out(wanted, name)) is not None}
    if not ranks:
        return None
    best = min(ranks.values())
    return Resolution(asked=asked, boards=tuple(name for name, rank in ranks.items() if rank == best))


def _left_out(wanted: frozenset[str], name: str) -> int | None:
    """How much of a board's name is not in `wanted`: 0 nothing, 1 its brand, 2 memory or form; None: it is another board."""
    own = _words(name)
    unsaid = own - wanted
    rank = 0 if not unsaid else 1 if unsaid <= _BRANDS else 2
    if any(word not in _BRANDS and word not in _FORMS and not _SIZE.fullmatch(word) for word in unsaid):
        return None
    beyond = wanted - own
    return rank if not beyond or beyond <= _implied(name) else None


def _implied(name: str) -> frozenset[str]:
    """Words that are true of a board without being part of its name."""
    if name not in board_names():
        return frozenset()
    own = board(name)
    memory = {f"{own.memory_gb:g}gb"} if own.memory_gb else set()
    parts = (own.memory_type, own.form_factor, own.architecture, own.chip, own.segment)
    words = frozenset(memory).union(*(_words(part or "") for part in parts))
    return words | {"sxm"} if any(word.startswith("sxm") for word in words | _words(name)) else words


def _mig(asked: str) -> Resolution | None:
    """`NVIDIA A100-SXM4-40GB MIG 1g.5gb`: a part of a board."""
    match = re.search(_MIG, asked)
    if match is None:
        return None
    whole = resolve(asked[: match.start()])
    note = f"{match['slices']} of 7 compute slices with {match['memory']} GB (MIG); what follows is the whole GPU"
    return Resolution(asked=asked, boards=whole.boards, note=note)


def _vgpu(asked: str) -> Resolution | None:
    """`GRID A100-10C`: a share of a board, by the family of its profile."""
    match = re.fullmatch(_VGPU, asked.strip())
    boards = _of_vgpu(match["family"]) if match else ()
    if match is None or not boards:
        whole = _of_vgpu(asked)
        return (
            Resolution(asked=asked, boards=whole, note="a family of vGPU profiles: shares of the GPU that follows")
            if whole
            else None
        )
    kind = {"A": "applications", "B": "desktops", "C": "compute", "Q": "workstations"}.get(match["series"] or "", "")
    note = f"a vGPU profile ({match['share']} GB{f', for {kind}' if kind else ''}): a share of the GPU that follows"
    return Resolution(asked=asked, boards=boards, note=note)


def _of_vgpu(family: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["board"] for row in _same_words(family) if row["kind"] == "vgpu"))


def _group(asked: str) -> Resolution | None:
    """A chip (`GA102`), an architecture (`Hopper`), a compute capability (`sm_90`) or a series (`GTX 10 series`)."""
    boards = _of_series(asked) or _of_chip(asked) or _of_architecture(asked) or _of_family(asked)
    return Resolution(asked=asked, boards=boards, group=True) if boards else None


def _of_chip(asked: str) -> tuple[str, ...]:
    chip = asked.strip().upper()
    if not any(chip in architecture.chips for architecture in architectures()):
        return ()
    return tuple(row["name"] for row in tables.folder("gpus") if row["chip"] == chip)


def _of_architecture(asked: str) -> tuple[str, ...]:
    chips = {chip for architecture in architectures_named(asked) for chip in architecture.chips}
    return tuple(row["name"] for row in tables.folder("gpus") if row["chip"] in chips) if chips else ()


def _of_family(asked: str) -> tuple[str, ...]:
    """Boards and systems that share a family's word: `Jetson`, `DGX`, `Orin`."""
    words = _words(asked)
    if not words or any(len(word) < 3 or not word.isalpha() or word in _BRANDS | _FORMS | _VARIANTS for word in words):
        return ()
    found = tuple(name for name in _near(words) if words <= _words(name))
    return found if len(found) <= _FAMILY else ()


def architectures_named(asked: str) -> tuple[Architecture, ...]:
    """The architectures that a name means: `Hopper`, `Ada`, `sm_90`; none where it is the name of something else."""
    words = frozenset(word for word in _words(asked) if not re.fullmatch(r"20[012]\d", word))
    capability = re.fullmatch(
        r"\s*(?:(?:sm|compute)_?(?=\d+[af]?\s*$)|(?:compute capability|cc)?\s*(?=\d+\.\d\s*$))(\d+)\.?(\d)[af]?\s*",
        asked.casefold(),
    )
    if capability:
        return tuple(own for own in architectures() if own.compute_capability == f"{capability[1]}.{capability[2]}")
    if not words or any(word.isdigit() for word in words):
        return ()
    return tuple(own for own in architectures() if words <= _words(own.name))


def _of_series(asked: str) -> tuple[str, ...]:
    """GeForce boards whose number begins as that of the series: `RTX 40 series` are 4000 to 4099."""
    match = re.search(_SERIES, asked)
    if match is None:
        return ()
    prefix = (match[1] or "").casefold()
    first = int(match[2]) * (100 if len(match[2]) == 2 else 1)
    return tuple(
        name
        for name in board_names()
        if (model := re.match(_GEFORCE, name))
        and first <= int(model[2]) < first + 100
        and prefix in ("", (model[1] or "").casefold())
    )


def _loosened(asked: str) -> Resolution | None:
    """No board fits all that was said: those that fit without its memory size, or without "laptop", to choose from."""
    words = _words(asked)
    sizes = _sizes(asked)
    near: dict[str, None] = {}
    for dropped in (sizes, {"laptop"}):
        found = _by_words(" ".join(sorted(words - dropped))) if dropped & words else None
        near |= dict.fromkeys(found.boards if found is not None else ())
    if not near:
        return None
    return Resolution(asked=asked, boards=tuple(near), note=f"no board is all of `{asked}`; the nearest follow", group=True)


# --- words and indexes ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2**17)
def _words(name: str) -> frozenset[str]:
    """The words of a name that tell boards apart: "NVIDIA GeForce RTX-2080 with Max-Q Design" -> geforce rtx 2080 maxq."""
    text = re.sub(r"max-?\s?q\b", "maxq", name.casefold())
    text = re.sub(r"lite hash rate|\(rev \w+\)", "", text)
    text = text.replace("tisuper", "ti super")
    text = re.sub(r"(?<=\d) (?=d\b)", "", text)  # RTX 4090 D is written 4090D too
    text = _MEMORY.sub(r" \1gb ", text)
    return frozenset(_SAME.get(word, word) for word in _WORD.findall(text)) - _NOISE


def _key(name: str) -> str:
    """A name without what tells nothing apart: capitals, signs, "NVIDIA", "GeForce"."""
    return " ".join(
        word for word in re.findall(r"[a-z]+|\d+|[^\x00-\x7f]+", name.casefold()) if word not in ("nvidia", "geforce")
    )


def _sizes(name: str) -> set[str]:
    return {word for word in _words(name) if _SIZE.fullmatch(word)}


def _near(wanted: frozenset[str]) -> list[str]:
    """Boards and systems that hold the number of a name."""
    return [_folded()[name] for name in _with_number(wanted, _folded())]


def _with_number(wanted: frozenset[str], among: Mapping[str, Any]) -> list[str]:
    """The names, of those in small letters, that hold the longest number of `wanted` (or its longest word): worth a look."""
    spoken = [word for word in wanted if not _SIZE.fullmatch(word)]
    numbers = [match[0] for word in spoken if (match := re.search(r"\d+", word))]
    rarest = max(numbers or spoken, key=len, default="")
    if not rarest:
        return []
    same = r"\d" if numbers else "[a-z]"
    alone = re.compile(rf"(?<!{same}){rarest}(?!{same})").search
    return [name for name in among if rarest in name and alone(name)]


@cache
def _folded() -> Mapping[str, str]:
    """Boards, then the systems built from them, by their names in small letters."""
    systems = tables.table("systems").first_cells()
    return {name.casefold(): name for name in (*board_names(), *systems)}


@cache
def _spoken() -> Mapping[str, Sequence[int]]:
    """The lines of names.csv by the name as written, in small letters."""
    lines: dict[str, list[int]] = {}
    for number, name in enumerate(tables.table("names").first_cells()):
        lines.setdefault(name.casefold(), []).append(number)
    return lines


def _rows_named(folded: str) -> list[tables.Row]:
    """The rows of names.csv for exactly this name in small letters."""
    return [row for number in _spoken().get(folded, ()) if (row := tables.table("names").row(number)) is not None]


def _same_words(asked: str) -> list[tables.Row]:
    """The rows of names.csv that differ from `asked` by capitals, signs and "NVIDIA" only."""
    wanted = _key(asked)
    near = _with_number(frozenset(wanted.split()), _spoken())
    return [row for name in near if _key(name) == wanted for row in _rows_named(name)]


@cache
def _reported() -> Mapping[str, Sequence[tables.Row]]:
    """The rows of what drivers report, by key."""
    rows: dict[str, list[tables.Row]] = {}
    for row in tables.rows("names"):
        if row["kind"] == "nvml":
            rows.setdefault(_key(row["name"]), []).append(row)
    return rows


@cache
def _boards_reported() -> frozenset[str]:
    return frozenset(row["board"] for rows in _reported().values() for row in rows)


@cache
def _own_names() -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = {}
    for name in board_names():
        names.setdefault(_key(name), []).append(name)
    return names


def _with_device_id(device_id: str | None) -> list[str]:
    vendor, _, device = (device_id or "").casefold().partition(":")
    if vendor != "10de" or not device:
        return []
    return list(_by_device_id().get(device, ()))


@cache
def _by_device_id() -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = {}
    for row in tables.folder("gpus"):
        for device in dict.fromkeys(row["pci_device_ids"].split()):
            names.setdefault(device, []).append(row["name"])
    return names


def _nearest_by(boards: list[Board], values: Sequence[float], wanted: float) -> list[Board]:
    away = [abs(value - wanted) for value in values]
    return [own for own, distance in zip(boards, away, strict=True) if distance == min(away)]


def _nearest(asked: str) -> list[str]:
    """Names worth suggesting: those that share the beginning of a number or word, so that a large catalogue stays quick."""
    for length in (4, 3, 2):
        starts = [word[:length] for word in _words(asked) - _BRANDS if len(word) >= length]
        near = list(islice((name for start in starts for name in _containing(start)), _MOST))
        if near:
            return near
    return list(islice(_folded().values(), _MOST))


def _containing(part: str) -> Iterator[str]:
    """The names that hold a text in small letters."""
    text, at = _joined(), 0
    while (at := text.find(part, at)) >= 0:
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        yield _folded()[text[start:end]]
        at = end


@cache
def _joined() -> str:
    return "".join(f"{name}\n" for name in _folded())


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names[:8]) + (", ..." if len(names) > 8 else "")
