"""Which language is spoken."""

from __future__ import annotations

import threading

import pytest

from dltool import lang
from dltool.errors import UsageError

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
