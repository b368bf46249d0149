"""What holds of a text in English and its like in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dltool.results import Finding

CHINESE = re.compile(r"[\u4e00-\u9fff]")
NUMBER = re.compile(r"\d+(?:\.\d+)*")
SENTENCE = re.compile(r"\b[a-z]{2,}(?: [a-z]{2,}){4,}\b")
"""Five English words in a row are a sentence, and no name."""
LINK = re.compile(r"https?://[^\s`，。；]+")
_VERBATIM = re.compile(r"`[^`]*`|https?://\S+")


def lacks_quoted(english: str, chinese: str) -> set[str]:
    """What stands in backquotes and is not kept: commands and the words of programs are the same in every language."""
    one, other = ({" ".join(words.split()) for words in re.findall(r"`[^`]*`", text)} for text in (english, chinese))
    return one - other


def is_left_in_english(text: str) -> bool:
    """Whether a sentence of it was not translated; commands and links need not be."""
    return SENTENCE.search(_VERBATIM.sub("", text)) is not None


def assert_alike(english: str, chinese: str) -> None:
    """Both say something, each in its language, with the same numbers and commands."""
    assert bool(english) == bool(CHINESE.search(chinese)), f"{english!r} against {chinese!r}"
    assert not CHINESE.search(english), f"Chinese in English: {english!r}"
    assert sorted(NUMBER.findall(english)) == sorted(NUMBER.findall(chinese)), f"{english!r} against {chinese!r}"
    assert not lacks_quoted(english, chinese)
    assert not is_left_in_english(chinese), chinese


def texts(finding: Finding) -> Iterator[str]:
    """Those that a person reads: a headline, then sentences."""
    yield from (finding.summary, finding.why, *(remedy.text for remedy in finding.remedies))


def assert_findings_alike(english: Iterable[Finding], chinese: Iterable[Finding], verbatim: Iterable[str] = ()) -> None:
    """The same findings in both languages: verdicts, evidence and commands to the letter, texts by their facts.

    `verbatim` is what may be cited in either as it is: reasons that facts are missing.
    """
    for one, other in zip(english, chinese, strict=True):
        assert _without_texts(one) == _without_texts(other)
        for text, translated in zip(texts(one), texts(other), strict=True):
            assert translated.endswith("。") == text.endswith("."), translated
            for cited in verbatim:
                text, translated = text.replace(cited, ""), translated.replace(cited, "")
            assert_alike(text, translated)


def _without_texts(finding: Finding) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(finding)
    del told["summary"], told["why"]
    for remedy in told["remedies"]:
        del remedy["text"]
    return told
