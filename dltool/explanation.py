"""What a check is about: its text taken apart.

The text is the docstring of a check: the question, a blank line, what it means when the answer is no, then paragraphs that
begin with "Mend:", "Prevent:" and "See:" (links), each where there is something to say.
"""

from __future__ import annotations

import re

from msgspec import Struct

_LABELS = {
    "Mend:": "mend", "Prevent:": "prevent", "See:": "see",
    "解决：": "mend", "预防：": "prevent", "参见：": "see",
}  # fmt: skip
_BREAK_OF_CHINESE = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])|(?<=[，。；：！？、）])\n")


class Explanation(Struct, frozen=True, kw_only=True):
    """A check in words, each part in one line; empty where nothing is known."""

    id: str
    question: str
    why: tuple[str, ...] = ()
    """Paragraphs."""
    mend: str = ""
    prevent: str = ""
    see: tuple[str, ...] = ()
    """Links."""
    caused_by: tuple[str, ...] = ()
    """Checks whose fault often explains this one."""
    note: str = ""


def parse(name: str, text: str, *, caused_by: tuple[str, ...] = (), note: str = "") -> Explanation:
    """The parts of a text; lines of a paragraph are joined, in Chinese without a space."""
    question, *paragraphs = (_one_line(part) for part in re.split(r"\n\s*\n", text.strip()))
    why, parts = [], {"mend": "", "prevent": "", "see": ""}
    for paragraph in paragraphs:
        label = next((label for label in _LABELS if paragraph.startswith(label)), None)
        if label is None:
            why.append(paragraph)
        else:
            parts[_LABELS[label]] = paragraph.removeprefix(label).strip()
    return Explanation(
        id=name,
        question=question,
        why=tuple(why),
        mend=parts["mend"],
        prevent=parts["prevent"],
        see=tuple(parts["see"].split()),
        caused_by=caused_by,
        note=note,
    )


def _one_line(paragraph: str) -> str:
    return " ".join(_BREAK_OF_CHINESE.sub("", paragraph).split())
