"""Who may import whom, and what a start of the command loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dltool"
LAYERS = {
    "errors": 0, "differences": 1, "units": 1, "lang": 1, "callable_module": 1, "tables": 1, "toml": 1, "explanation": 1,
    "texts": 2, "registry": 2, "shape_results": 2, "model_results": 2, "learning_results": 2, "nvml": 2, "child": 2,
    "cpu_clock": 2, "numerics": 2,
    "machine": 3, "catalog": 3, "step_results": 3,
    "names": 4, "peaks": 4, "redact": 4, "roofline": 4, "selection": 4, "reference": 4,
    "live": 5, "systems": 5, "results": 5, "compat": 6, "known_errors": 6, "measured_roofline": 6, "zoo": 6,
    "models": 7, "sheets": 7,
    "probe": 7, "checks": 7, "policy": 7, "setup": 7, "bench": 7, "probing": 7, "store": 7, "compare": 7,
    "render": 8, "api": 8, "cli": 9,
}  # fmt: skip
MIDDLE = {"probe", "checks", "policy", "setup", "bench", "probing", "store", "compare"}
OWNERS = {
    "pynvml": {"nvml"},
    "typer": {"cli"},
    "rich": {"render"},
    "torch": {"bench", "models", "zoo"},
    "psutil": {"probe"},
    "PIL": {"bench"},
    "platformdirs": {"store"},
    "pandas": set(),
    "matplotlib": {"render"},
    "plotext": {"render"},
    "onnx": {"bench"},
}
"""Third-party package -> the rooms that may import it."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every import of a module as (full name, at the top of the module)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {id(node) for branch in tree.body if isinstance(branch, ast.If) for node in ast.walk(branch)}
    found = []
    for node in ast.walk(tree):
        top = node in tree.body
        if id(node) in guarded:
            continue  # for the type checker only
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}" if node.module == "dltool" else node.module, top) for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_leftwards(path):
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for name, top in imports(path):
        parts = name.split(".")
        if parts[0] == "dltool" and len(parts) > 1 and parts[1] not in (here, "__version__"):
            if here == "callable_module" and not top:
                continue  # a called module hands the call to the API, when it is called
            assert LAYERS[parts[1]] < LAYERS[here] or (parts[1] == here), f"{here} imports {name}"
            assert not ({parts[1], here} <= MIDDLE), f"{here} and {parts[1]} must not know one another"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    for name, top in imports(path):
        package = name.split(".")[0]
        if package in OWNERS:
            assert room(path) in OWNERS[package], f"{room(path)} imports {package}"
        if package == "torch" and (room(path) == "models" or path.parent.name == "tasks"):
            continue  # definitions, loaded when a model is built; test_light_commands_load_nothing_heavy sees to that
        assert not (package in ("torch", "pynvml", "psutil", "pandas", "platformdirs", "PIL") and top), (
            f"{name} at the top of {path.name}"
        )


def loaded_by(arguments: list[str], tmp_path: Path) -> set[str]:
    """The heavy packages that a run of the command has loaded at its end."""
    code = (
        "import atexit, sys\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pynvml', 'sqlite3'}\n"
        "atexit.register(lambda: print('LOADED', *sorted(heavy & set(sys.modules))))\n"
        f"sys.argv = ['dltool', *{arguments!r}]\n"
        "from dltool.cli.main import main\n"
        "main()\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert run.stderr == ""
    return set(run.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["gpu-info", "H100 SXM"], ["doctor"], ["doctor", "--list"], ["models"]],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(arguments, tmp_path):
    assert loaded_by(arguments, tmp_path) == set()


def test_importing_dltool_loads_nothing():
    code = (
        "import sys; before = set(sys.modules); import dltool; print(sorted(n for n in set(sys.modules) - before if '.' in n))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dltool" not in run.stdout


def test_the_python_face():
    import dltool

    assert dltool.gpu("H100 SXM").peaks["bf16_tensor"].dense == pytest.approx(989.4, abs=0.1)
    machine = dltool.machine()
    assert {finding.id for finding in dltool.doctor(machine, only=["gpu-absent"])} == {"gpu-absent"}
    assert dltool.models.entry("resnet50").params == 25_557_032
    assert callable(dltool.models.build)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dltool.nonsense


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").rglob("*.py")), ids=lambda path: path.stem)
def test_a_definition_can_be_read_in_one_sitting(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 250
