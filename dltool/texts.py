"""The texts in the tables of `catalog/`, in the language that is spoken.

catalog/zh/NAME.csv has the texts of catalog/NAME.csv by its first column, where each is its own. catalog/zh/phrases.csv has
all others by their English, for rows share them. A text without a translation stays English; a test sees to it that none
lacks one.
"""

from __future__ import annotations

from functools import cache

from dltool import lang, tables
from dltool.lang import tr
from dltool.tables import Row

BY_KEY = {"errors": ("means", "why", "mend", "prevent")}
"""Tables whose texts have a table of their own, and the columns that are texts."""
BY_PHRASE = {
    "compat/xid": ("meaning", "note"),
    "compat/sxid": ("meaning", "unit", "note"),
    "compat/xid_nvlink": ("note",),
    "compat/xid_actions": ("mend",),
    "compat/companions": ("note",),
    "compat/other_stack": ("note",),
    "cuda_errors": ("means",),
    "driver_install": ("note",),
}
"""Tables whose texts repeat."""


def rows(name: str) -> tuple[Row, ...]:
    """The rows of one table of `BY_KEY` or `BY_PHRASE`, their texts in the language spoken."""
    return tables.rows(name) if lang.spoken() == "en" else _translated(name, lang.spoken())


def phrase(english: str) -> str:
    """A text that tables share, in the language spoken."""
    return english if lang.spoken() == "en" else _phrases(lang.spoken()).get(english, english)


def sentence(note: str) -> str:
    """A note of a table, in whatever language it is, with a sentence's beginning and end; empty where there is none."""
    if not note:
        return ""
    first = note.partition(" ")[0]
    begun = note[0].upper() + note[1:] if first.isascii() and first.isalpha() and first.islower() else note
    return tr(f"{begun.rstrip('.')}.", f"{note.rstrip('。')}。")


@cache
def _translated(name: str, language: str) -> tuple[Row, ...]:
    if name in BY_PHRASE:
        known = _phrases(language)
        return tuple(
            {**row, **{column: known.get(row[column], row[column]) for column in BY_PHRASE[name]}} for row in tables.rows(name)
        )
    key = tables.table(name).columns[0]
    texts = {row[key]: row for row in tables.rows(f"{language}/{name}")}
    return tuple(
        {**row, **{column: text for column in BY_KEY[name] if (text := texts.get(row[key], {}).get(column))}}
        for row in tables.rows(name)
    )


@cache
def _phrases(language: str) -> dict[str, str]:
    return {row["en"]: row[language] for row in tables.rows(f"{language}/phrases")}
