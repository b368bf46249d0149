"""No text of the tables lacks its Chinese."""

from __future__ import annotations

import re

import pytest
from bilingual import CHINESE, assert_alike, is_left_in_english

from dltool import known_errors, lang, tables, texts

OPTION = re.compile(r"--[a-z-]+")
ALL = texts.BY_KEY | texts.BY_PHRASE


@pytest.mark.parametrize("name", ALL)
def test_every_text_is_translated(name: str) -> None:
    with lang.speaking("zh"):
        chinese = texts.rows(name)
    for row, translated in zip(tables.rows(name), chinese, strict=True):
        for column in ALL[name]:
            assert_alike(row[column], translated[column])
            assert sorted(OPTION.findall(row[column])) == sorted(OPTION.findall(translated[column])), translated[column]


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("pinned by the wheel", "Pinned by the wheel."),
        ("cuDNN 9, optional.", "cuDNN 9, optional."),
        ("jax[cuda12]: cuDNN", "jax[cuda12]: cuDNN."),
        ("", ""),
    ],
)
def test_a_note_as_a_sentence(note: str, said: str) -> None:
    assert texts.sentence(note) == said


def test_just_that_is_translated_which_is_there() -> None:
    for name in texts.BY_KEY:
        key = tables.table(name).columns[0]
        assert {row[key] for row in tables.rows(f"zh/{name}")} == {row[key] for row in tables.rows(name)}
    held = {row[column] for name, columns in texts.BY_PHRASE.items() for row in tables.rows(name) for column in columns}
    causes = {cause for row in tables.rows("compat/xid") for cause in row["causes"].split()}
    recoveries = {mend for _, mend in known_errors.xid.RECOVERIES.values()}
    assert {row["en"] for row in tables.rows("zh/phrases")} == (held | causes | recoveries) - {""}


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
        assert not other or (CHINESE.search(other) and not is_left_in_english(other)), other
