"""No text of the tables lacks its Chinese."""

from __future__ import annotations

import re

import pytest

from dltool import known_errors, lang, tables, texts

CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b[a-z]{2,}(?: [a-z]{2,}){4,}\b")
NUMBER = re.compile(r"\d+(?:\.\d+)*")
ALL = texts.BY_KEY | texts.BY_PHRASE


@pytest.mark.parametrize("name", ALL)
def test_every_text_is_translated(name: str) -> None:
    with lang.speaking("zh"):
        chinese = texts.rows(name)
    left = []
    for row, translated in zip(tables.rows(name), chinese, strict=True):
        for column in ALL[name]:
            english, spoken = row[column], translated[column]
            assert bool(english) == bool(spoken)
            plain = re.sub(r"`[^`]*`|https?://\S+", "", spoken)
            if english and (not CHINESE.search(spoken) or ENGLISH.search(plain)):
                left.append(f"{column}: {english!r} -> {spoken!r}")
    assert not left, "\n".join(left)


@pytest.mark.parametrize("name", ALL)
def test_numbers_and_code_are_the_same_in_both(name: str) -> None:
    with lang.speaking("zh"):
        chinese = texts.rows(name)
    for row, translated in zip(tables.rows(name), chinese, strict=True):
        for column in ALL[name]:
            for pattern in (NUMBER, re.compile(r"`[^`]*`"), re.compile(r"--[a-z-]+")):
                assert sorted(pattern.findall(row[column])) == sorted(pattern.findall(translated[column])), translated[column]


def test_nothing_is_translated_that_is_not_there() -> None:
    for name in texts.BY_KEY:
        key = tables.table(name).columns[0]
        assert {row[key] for row in tables.rows(f"zh/{name}")} == {row[key] for row in tables.rows(name)}
    held = {row[column] for name, columns in texts.BY_PHRASE.items() for row in tables.rows(name) for column in columns}
    assert {row["en"] for row in tables.rows("zh/phrases")} <= held | set(known_errors.xid.PHRASES)


def test_a_known_error_speaks_the_language_of_the_moment() -> None:
    with lang.speaking("zh"):
        (chinese,) = known_errors.recognise("RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB")
    (english,) = known_errors.recognise("RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB")
    assert (chinese.id, chinese.checks) == (english.id, english.checks)
    assert CHINESE.search(chinese.means)
    assert not CHINESE.search(english.means)


@pytest.mark.parametrize("name", ["xid-79", "xid-154", "xid-145", "sxid-20034", "xid-9999", "sxid-99999"])
def test_an_xid_in_chinese(name: str) -> None:
    with lang.speaking("zh"):
        chinese = known_errors.by_name(name)
    english = known_errors.by_name(name)
    for part in ("means", "why", "mend"):
        one, other = getattr(english, part), getattr(chinese, part)
        assert bool(one) == bool(other)
        assert not other or (CHINESE.search(other) and not ENGLISH.search(other)), other
