#!/usr/bin/env python3
"""Write the generated parts of the documentation: JSON Schemas, and the blocks between markers in README.md.

python docs/generate.py           rewrite them
python docs/generate.py --check   exit 1 where one is stale
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from dltool import catalog, machine, policy, results, tables
from dltool.checks import CHECKS
from dltool.checks import run as run_checks
from dltool.machine import Machine
from dltool.policy import Policy
from dltool.probing import STEPS
from dltool.render import FORMATS
from dltool.results import Report
from dltool.zoo import entries

ROOT = Path(__file__).parent.parent
COMMANDS = (
    *("doctor", "snapshot", "compat", "gpu-info"),
    *("setup", "setup plan", "setup export", "setup create", "setup list", "setup remove", "setup freeze", "setup clone"),
    *("bench", "bench quick", "bench standard", "bench full", "bench gemm", "bench memory", "bench attention", "bench conv"),
    *("bench elementwise", "bench model", "bench generate", "bench learn", "bench data", "bench search", "bench selftest"),
    *("bench ab", "bench reference"),
    "models",
    *("report", "report list", "report show", "report compare"),
)


def schema(kind: type, version: str, *, written_by_hand: bool = False) -> str:
    """The JSON Schema of what dltool writes: every field is always there, and `schema` names the version.

    What people write leaves out what they do not need.
    """
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
    for definition in made["$defs"].values():
        if definition.get("type") == "object" and "properties" in definition and not written_by_hand:
            definition["required"] = sorted(definition["properties"])
    made["$defs"][kind.__name__]["properties"]["schema"] = {"const": version}
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def command_help(command: str) -> str:
    """The help of a command as plain text at 100 columns, whatever terminal this runs in."""
    environment = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-m", "dltool", *command.split(), "--help"],
        capture_output=True, text=True, check=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in run.stdout.strip("\n").splitlines())


def commands() -> str:
    parts = (f"## dltool {command}\n\n```text\n{command_help(command)}\n```\n" for command in COMMANDS)
    return "# Commands\n\nGenerated from `--help` by `python docs/generate.py`.\n\n" + "\n".join(parts)


def checks_page() -> str:
    """docs/checks.md: what every check asks, the active ones apart."""
    by_file = sorted(CHECKS, key=lambda pair: (pair[1].rule.__module__, pair[1].rule.__code__.co_firstlineno))
    parts = (
        "# Checks",
        "Generated from the checks by `python docs/generate.py`. `dltool doctor --explain ID` says what one of them means, how "
        "to mend what it finds and how to prevent it.",
        _table(("check", "asks"), ((f"`{name}`", check.question) for name, check in by_file)),
        "## Active checks",
        "`dltool doctor --probe` also tries things out, each in a child process of the environment's own Python, which may "
        "crash, hang or run out of memory without harm: that is a finding then, with the signal's meaning, the last words, "
        "and the finding that explains it.",
        _table(("active check", "asks"), ((f"`{step.id}`", step.question) for step in STEPS)),
    )
    return "\n\n".join(parts) + "\n"


def checks_count() -> str:
    return f"{len(list(CHECKS))} checks, and {len(STEPS)} more that try things out: [docs/checks.md](docs/checks.md)."


def catalog_counts() -> str:
    capabilities = {architecture.compute_capability for architecture in catalog.architectures()}
    return (
        f"{len(catalog.boards())} boards and {len(tables.rows('systems'))} systems, {len(capabilities)} compute capabilities "
        f"from {catalog.architectures()[0].name} to Blackwell, {len(tables.rows('names'))} names, "
        f"{len(tables.rows('published'))} published figures to check the derivation against; "
        "[docs/catalog.md](docs/catalog.md) says what is known of how many."
    )


def catalog_coverage() -> str:
    """docs/catalog.md: how many boards of which architecture and segment, and how well they are known."""
    rows = tables.folder("gpus")
    order = list(dict.fromkeys(architecture.name for architecture in catalog.architectures()))
    segments = (
        "geforce",
        "laptop",
        "titan",
        "workstation",
        "mobile-workstation",
        "datacenter",
        "superchip",
        "jetson",
        "mining",
    )
    of = {name: board.architecture for name, board in catalog.boards().items()}
    head = ("architecture", *segments, "all", "A", "B", "C")
    lines = []
    for name in (*order, None):
        mine = [row for row in rows if name is None or of[row["name"]] == name]
        by_segment = (sum(row["segment"] == segment for row in mine) for segment in segments)
        by_confidence = (sum(row["confidence"] == grade for row in mine) for grade in "ABC")
        lines.append((name or "all", *by_segment, len(mine), *by_confidence))
    known = (
        (column, sum(bool(row[column]) for row in rows))
        for column in (
            "sms",
            "boost_mhz",
            "memory_gb",
            "memory_gb_per_s",
            "l2_mib",
            "tdp_w",
            "form_factor",
            "launch",
            "pci_device_ids",
        )
    )
    published = tables.rows("published")
    explained = sum(bool(row["difference"]) for row in published)
    never = sum(row["kind"] == "never" for row in tables.rows("names"))
    counts = (
        f"{len(tables.rows('systems'))} systems, {len(tables.rows('names'))} names ({never} of products that never shipped), "
        f"{len(published)} published figures, {explained} of them with a stated reason for a difference above 2 %."
    )
    grades = (
        "A: a maker's document was seen; B: two sources agree, or a recalled datasheet agrees with cores and clock; "
        "C: one source, or figures missing: shown as unverified."
    )
    parts = (
        "# What the catalogue covers",
        "Generated from `catalog/` by `python docs/generate.py`.",
        grades,
        _table(head, lines),
    )
    return "\n\n".join((*parts, _table(("column", f"filled, of {len(rows)}"), known), counts)) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def reported_cases() -> str:
    """docs/cases.md: environments that people reported, replayed: how many doctor explains, and how often it cries wolf."""
    sys.path.insert(0, str(ROOT / "tests"))
    import cases as replayed  # beside the tests, which ask the same of it

    cases = json.loads(replayed.OURS.read_text(encoding="utf-8"))
    rows, right, alarms, healthy, informed = [], 0, 0, 0, 0
    for case in cases:
        machine, _ = replayed.replay(case)
        findings = run_checks(machine)
        found = {finding.id: finding.status.value for finding in findings if finding.status.is_problem}
        wanted = case["problems"] or ({case["informs"]: "info"} if "informs" in case else {})
        told = {finding.id: "info" for finding in findings if finding.id == case.get("informs") and finding.remedies}
        found |= told
        good = not found if not wanted else next(iter(wanted)) in found
        broken = bool(wanted) or case["kind"] == "broken"
        healthy += not broken
        alarms += bool(found) and not broken
        right += good and bool(wanted)
        informed += bool(told) and good
        kind = "broken" if broken else "healthy"
        verdict = ", ".join(f"`{name}` {status}" for name, status in sorted(found.items())) or "no problem"
        rows.append((case["title"], case["source"], kind, verdict, "yes" if good and (wanted or not broken) else "no"))
    broken_ones = len(cases) - healthy
    machines = len(list((ROOT / "tests/machines").glob("*.json")))
    parts = (
        "# Environments that people reported",
        "Generated from `tests/cases.json` by `python docs/generate.py`. Each is rebuilt from a public report: a recorded "
        "machine with the facts that were other. What a report leaves open is assumed, and the case says so.",
        f"Of {broken_ones} broken environments {right} get the right finding with a remedy "
        f"({right / broken_ones:.0%}), {right - informed} of them as a warning or failure; {informed} are defaults that suit "
        "most programs, and told as information. "
        f"Of {healthy} healthy ones that look like them {alarms} raise an alarm; so do none of the {machines} recorded "
        "healthy machines. The checks were written with these cases at hand: expect less on environments that are not here.",
        _table(("environment", "reported in", "is", "doctor says", "right"), rows),
    )
    return "\n\n".join(parts) + "\n"


def dtypes_table() -> str:
    rows = [
        (f"`{row['name']}`", _multiplied_by(row), "GPU" if row["needs_cuda"] else "GPU, CPU", row["suite"], row["note"])
        for row in tables.rows("dtypes")
    ]
    return _table(("dtype", "multiplied by", "on", "from suite", "note"), rows)


def _multiplied_by(row: tables.Row) -> str:
    """The operation of a number format, as its reader may look it up."""
    own = row["operation"].removeprefix("kernel_")
    if own != row["operation"]:
        return f"[{own}.cu](../dltool/bench/workloads/kernels/{own}.cu)"
    names = {
        "int_mm": "`torch._int_mm`", "sparse": "`torch._cslt_sparse_mm`", "weight_int8": "`torch._weight_int8pack_mm`",
        "weight_int4": "`torch._weight_int4pack_mm`",
        "scaled_mm": "`torch.nn.functional.scaled_mm`" if "x" in row["scaling"] else "`torch._scaled_mm`",
    }  # fmt: skip
    types = row["torch"] if row["torch"] == row["torch_b"] else f"{row['torch']} x {row['torch_b']}"
    return f"{names.get(row['operation'], '`torch.mm`')}, {types}"


def models_table() -> str:
    """All rows of the zoo, variants too."""
    rows = (
        (
            f"`{entry.label}`",
            f"{entry.params:,}",
            "" if entry.forward_gflops is None else f"{entry.forward_gflops:g}",
            f"`{entry.input}`".replace("|", "\\|"),
            entry.task.replace("-", " "),
            entry.year,
            entry.paper,
            f"`{entry.reference}`" if entry.reference else entry.source,
        )
        for entry in entries()
    )
    return _table(("model", "parameters", "GFLOP", "input", "task", "year", "paper", "equals, or after"), rows)


def models_count() -> str:
    """How large the zoo is."""
    models = [entry for entry in entries() if not entry.options]
    tasks = {entry.task for entry in models}
    variants = len(entries()) - len(models)
    return f"{len(models)} models for {len(tasks)} tasks, {variants} variants of them: [docs/models.md](docs/models.md)."


def models_example() -> str:
    """What the command prints of a model, at 80 columns."""
    arguments = ("models", "resnext50_32x4d", "--batch", "32", "--dtype", "mixed")
    return f"```text\n$ dltool {' '.join(arguments)}\n{_printed(*arguments)}\n```"


def _printed(*arguments: str) -> str:
    environment = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-m", "dltool", *arguments], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    return run.stdout.rstrip("\n")


def formats() -> str:
    return ", ".join(f"`{name}`" for name in sorted(FORMATS.names()))


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"checks": checks_count, "catalog": catalog_counts, "formats": formats, "models": models_count},
    "docs/models.md": {"models": models_table, "example": models_example},
    "docs/bench.md": {"dtypes": dtypes_table},
}
"""What is generated in the midst of what people write."""


def with_blocks(file: str) -> str:
    """A file with every block between `<!-- NAME -->` and `<!-- /NAME -->` made anew."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name, make in BLOCKS[file].items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->")
        if not closing:
            raise SystemExit(f"{file} has no block {name}")
        text = before + opening + make() + "\n" + closing + after
    return text


def wanted() -> dict[Path, str]:
    return {
        ROOT / "docs/report.schema.json": schema(Report, results.SCHEMA),
        ROOT / "docs/machine.schema.json": schema(Machine, machine.SCHEMA),
        ROOT / "docs/policy.schema.json": schema(Policy, policy.SCHEMA, written_by_hand=True),
        ROOT / "docs/commands.md": commands(),
        ROOT / "docs/checks.md": checks_page(),
        ROOT / "docs/catalog.md": catalog_coverage(),
        ROOT / "docs/cases.md": reported_cases(),
        **{ROOT / file: with_blocks(file) for file in BLOCKS},
    }


def main() -> int:
    stale = [path for path, text in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"stale: {path.relative_to(ROOT)}")
        if "--check" not in sys.argv:
            path.write_text(wanted()[path], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
