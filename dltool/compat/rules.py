"""The rules: each looks at a question and says what follows, with the numbers it compared and where they are from.

A rule is silent where what it needs was not asked. What lies beyond the tables is `unknown`, with what is still certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dltool.compat.question import Question
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

Rule = Callable[[Question], Iterator[Finding]]
RULES: dict[str, Rule] = {}
"""By name, in the order in which they are applied: the cheap and decisive ones first."""


def rule(name: str) -> Callable[[Rule], Rule]:
    """Register a rule; its findings carry its name."""

    def add(function: Rule) -> Rule:
        if name in RULES:
            raise ValueError(f"two rules are called {name!r}")
        RULES[name] = function
        return function

    return add


def good(summary: str, *evidence: Evidence, why: str = "") -> Finding:
    """The rule holds."""
    return Finding(status=Status.PASS, summary=summary, why=why, evidence=evidence)


def noted(summary: str, *evidence: Evidence, why: str = "") -> Finding:
    """Worth knowing; nothing is in the way."""
    return Finding(status=Status.INFO, summary=summary, why=why, evidence=evidence)


def unknown(summary: str, *evidence: Evidence, why: str = "") -> Finding:
    """The tables do not say."""
    return Finding(status=Status.UNKNOWN, summary=summary, why=why, evidence=evidence)


def limited(summary: str, *evidence: Evidence, why: str, fix: str, commands: tuple[str, ...] = ()) -> Finding:
    """It works with a limit that is stated."""
    remedies = (Remedy(text=fix, commands=commands),)
    return Finding(status=Status.WARN, summary=summary, why=why, evidence=evidence, remedies=remedies)


def broken(
    summary: str,
    *evidence: Evidence,
    why: str,
    fix: str,
    commands: tuple[str, ...] = (),
    risk: Risk = Risk.USER,
    scope: Scope = Scope.ENVIRONMENT,
) -> Finding:
    """It cannot work."""
    remedies = (Remedy(text=fix, commands=commands, risk=risk),)
    return Finding(status=Status.FAIL, summary=summary, why=why, evidence=evidence, remedies=remedies, scope=scope)


def seen(fact: str, value: str | int | float | None, table: str, source: str = "") -> Evidence:
    """A number that was compared, and the table (with its own source) that it stands in."""
    return Evidence(
        fact=fact, value=value, read_from=f"catalog/compat/{table}.csv: {source}" if source else f"catalog/compat/{table}.csv"
    )


def asked(fact: str, value: str | None) -> Evidence:
    """A number that was given."""
    return Evidence(fact=fact, value=value, read_from="asked")
