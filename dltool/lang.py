"""The language that people are spoken to in: English or Simplified Chinese.

Both texts stand side by side where they are written: `tr("no GPU", "没有 GPU")`. Which of them it is, is settled when
the text is made: hence no such call at the top of a module. Names, evidence and commands with their placeholders are the
same in every language. Punctuation goes the same way, `tr(", ", "、")`; `spoken()` is for keys and child processes.

In Chinese each thing has one word:

    GPUs             块 (the count), 显存, 计算能力, 张量核心, 核函数 (a kernel of a GPU; that of Linux is 内核)
    to start again   复位 (a GPU), 重启 (a machine)
    faults           掉线 (off the bus), 挂起 (hangs), 没有应答 (does not answer)
    the driver       开源内核模块, 专有内核模块, 分支
    software         构建 (of a wheel), 主版本, 次版本, 工具包 (the CUDA toolkit), 软件包
    the host         控制组（cgroup）, 固件设置（BIOS）, 宿主机 (of a container)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from dltool.errors import UsageError

LANGUAGES = {"en": "English", "zh": "简体中文"}
VARIABLE = "DLTOOL_LANG"
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
_TAG = re.compile(r"(?P<language>[a-z]{2,3})(?:[_-](?P<rest>[\w-]+))?(?:[.@].*)?", re.IGNORECASE)
_TRADITIONAL = frozenset({"tw", "hk", "mo", "hant"})
_spoken: ContextVar[str] = ContextVar("dltool_language", default="en")


def tr(en: str, zh: str) -> str:
    """The text in the language that is spoken now."""
    return zh if _spoken.get() == "zh" else en


def spoken() -> str:
    """A key of `LANGUAGES`."""
    return _spoken.get()


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Texts that are made within are of this language, a key of `LANGUAGES`."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def choose(wanted: str | None, environ: Mapping[str, str], *, by_locale: bool = True) -> str:
    """The language to speak: what is asked for, else what `DLTOOL_LANG` says, else the locale's.

    Args:
        wanted: an option's value: "zh", "zh-CN", "zh_Hans", "en", "en_GB.UTF-8".
        environ: the environment's variables.
        by_locale: whether the locale counts; not for what programs read, which must not change with the machine.

    Raises:
        UsageError: what is asked for, by option or variable, is none of `LANGUAGES`.
    """
    for name, tag in (("--lang", wanted), (VARIABLE, environ.get(VARIABLE))):
        if tag:
            language = _language(tag)
            if language is None:
                known = ", ".join(f"{key} ({text})" for key, text in LANGUAGES.items())
                raise UsageError(f"{name} {tag}: not a language that is spoken here", remedy=f"Choose one of {known}.")
            return language
    locale = next((environ[name] for name in _LOCALE if environ.get(name)), "")
    return (_language(locale) if by_locale else None) or "en"


def _language(tag: str) -> str | None:
    """The key that a language tag or a locale's name means; readers of traditional characters get English."""
    match = _TAG.fullmatch(tag.strip())
    if match is None or match["language"].lower() not in LANGUAGES:
        return None
    rest = set(re.split(r"[_-]", (match["rest"] or "").lower()))
    return None if match["language"].lower() == "zh" and rest & _TRADITIONAL else match["language"].lower()
