"""The documentation says what the program does."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dltool.results import Report

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_fresh(generate):
    for path, text in generate.wanted().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run python docs/generate.py"


def test_every_command_is_documented(generate):
    help_text = generate.command_help("")
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", help_text, re.MULTILINE)
    assert set(listed) == {command.split()[0] for command in generate.COMMANDS}
    readme = (ROOT / "README.md").read_text()
    for command in listed:
        assert f"dltool {command}" in readme


def test_every_help_has_an_example(generate):
    for command in generate.COMMANDS:
        if command not in ("bench", "report"):
            assert "Example: dltool" in re.sub(r"\s+", " ", generate.command_help(command)), command


def test_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    for line in re.findall(r"^\$? ?(dltool [a-z].*)$", text, re.MULTILINE):
        words = line.split("#")[0].split()
        known = subprocess.run([sys.executable, "-m", "dltool", *words[1:2], "--help"], capture_output=True, check=False)
        assert known.returncode == 0, line


def test_a_report_satisfies_the_published_schema():
    schema = json.loads((ROOT / "docs/report.schema.json").read_text())
    report = schema["$defs"]["Report"]
    assert set(report["properties"]) == set(json.loads(Report().to_json()))
    for name in ("Finding", "Measurement", "Board", "Machine", "Peak"):
        assert name in schema["$defs"]


def test_contract_fields_are_in_the_schema():
    """What other programs rely on must never vanish."""
    definitions = json.loads((ROOT / "docs/report.schema.json").read_text())["$defs"]
    promised = {
        "Report": "schema dltool created command machine findings measurements boards plan compat",
        "Finding": "id status summary why evidence remedies scope devices caused_by doc",
        "Evidence": "fact value read_from",
        "Remedy": "text commands risk",
        "Board": "name architecture chip compute_capability segment sms cuda_cores tensor_cores rt_cores base_mhz boost_mhz "
        "memory_gb memory_type memory_bus_bits memory_gb_per_s tdp_w pcie nvlink_gb_per_s launch source rate_class "
        "tensor_boost_mhz peaks",
        "Peak": "dense sparse unit clock_mhz basis formula published source",
        "Measurement": "workload params device dtype seconds median_s ci95_s warnings work rate rate_unit peak peak_basis "
        "share_of_peak conditions verified",
        "Work": "ops bytes",
        "Conditions": "sm_mhz power_w temperature_c throttle",
        "Verified": "reference error tolerance ok",
    }
    for name, fields in promised.items():
        assert set(fields.split()) <= set(definitions[name]["properties"]), name


def test_changelog_names_this_version():
    from dltool import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_path_or_host_of_a_developer_is_committed():
    """Documents speak of the reader's machine."""
    forbidden = re.compile(r"/root/|/home/(?!alice|USER)[a-z]+/|pypi\.org|deb\.debian|registry\.npmjs", re.IGNORECASE)
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "catalog").rglob("*.csv")]:
        assert not forbidden.search(path.read_text(encoding="utf-8")), path.name
