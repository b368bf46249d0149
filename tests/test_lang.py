"""Which language is spoken, and that no text in the code lacks one."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bilingual import CHINESE, lacks_quoted

from dltool import lang
from dltool.errors import UsageError

PACKAGE = Path(__file__).parent.parent / "dltool"
ROOMS = ("checks", "compat", "policy", "probing", "known_errors")
"""Whose texts reach people through doctor."""
FILES = sorted(path for room in ROOMS for path in (PACKAGE / room).glob("*.py") if not path.name.startswith("child"))
SPOKEN_FIELDS = frozenset({"summary", "why", "text", "fix", "unknown", "question", "means", "doing"})
"""Keywords whose value people read."""
WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]+[A-Za-z]{2,}")


# --- which language ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "environ", "spoken"),
    [
        (None, {}, "en"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "zh_SG"}, "zh"),
        (None, {"LANG": "zh_TW.UTF-8"}, "en"),
        (None, {"LANG": "zh-Hant-HK"}, "en"),
        (None, {"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        (None, {"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.GB18030"}, "zh"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "C"}, "en"),
        (None, {"LANG": "zh_CN.UTF-8", "DLTOOL_LANG": "en"}, "en"),
        (None, {"LANG": "C", "DLTOOL_LANG": "zh"}, "zh"),
        ("zh-Hans", {"DLTOOL_LANG": "en"}, "zh"),
        ("EN", {"DLTOOL_LANG": "zh", "LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_option_then_variable_then_locale(wanted: str | None, environ: dict[str, str], spoken: str) -> None:
    assert lang.choose(wanted, environ) == spoken


def test_what_programs_read_does_not_follow_the_locale() -> None:
    assert lang.choose(None, {"LANG": "zh_CN.UTF-8"}, by_locale=False) == "en"
    assert lang.choose(None, {"DLTOOL_LANG": "zh"}, by_locale=False) == "zh"


@pytest.mark.parametrize(("wanted", "environ"), [("fr", {}), ("zh-TW", {}), (None, {"DLTOOL_LANG": "klingon"}), ("z h", {})])
def test_a_language_that_is_not_spoken(wanted: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not a language") as caught:
        lang.choose(wanted, environ)
    assert "zh (简体中文)" in caught.value.remedy


def test_a_language_is_spoken_within_and_no_longer() -> None:
    with lang.speaking("zh"):
        assert lang.tr("yes", "是") == "是"
        heard: list[str] = []
        other = threading.Thread(target=lambda: heard.append(lang.spoken()))
        other.start()
        other.join()
        assert heard == ["en"], "another thread is another conversation"
    assert lang.tr("yes", "是") == "yes"


# --- the code ----------------------------------------------------------------------------------------------------------------


def _is_tr(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr"


def _outside_tr(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of an expression that stand in no `tr(...)`, and in no other call with a name of its own."""
    if _is_tr(node):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_tr(child)


def _literal(node: ast.AST) -> str:
    """The letters of a string or of an f-string, with {} for its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_text_is_in_both_languages(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left = [
        f"line {node.lineno}: {_literal(node)!r}"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and not _is_tr(call)
        for keyword in call.keywords
        if keyword.arg in SPOKEN_FIELDS
        for node in _outside_tr(keyword.value)
        if WORDS.search(_literal(node))
    ]
    assert not left, "texts in English only:\n" + "\n".join(left)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_both_texts_hold_the_same_facts(path: Path) -> None:
    """What stands in backquotes is the same on both sides; and the second is Chinese."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call in (node for node in ast.walk(tree) if _is_tr(node)):
        if len(call.args) != 2:  # both stand in a table
            continue
        english, chinese = call.args
        where = f"{path.name}:{call.lineno}"
        if isinstance(english, ast.Constant | ast.JoinedStr) and isinstance(chinese, ast.Constant | ast.JoinedStr):
            has_words = re.search("[A-Za-z]", _literal(english).replace("{}", ""))
            assert CHINESE.search(_literal(chinese)) or not has_words, f"{where}: no Chinese"
            assert not CHINESE.search(_literal(english)), f"{where}: the languages are swapped"
            assert not lacks_quoted(_literal(english), _literal(chinese)), f"{where}: other words in backquotes"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_text_is_made_when_a_module_is_loaded(path: Path) -> None:
    """It would be of the language that happened to be spoken then."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node) for part in ast.walk(tree) if isinstance(part, ast.FunctionDef | ast.Lambda) for node in ast.walk(part)}
    early = [node.lineno for node in ast.walk(tree) if _is_tr(node) and id(node) not in inner]
    assert not early
