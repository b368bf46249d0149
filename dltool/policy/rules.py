"""The rules of a policy: each compares one thing that is asked for with what is seen."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.machine import Machine
from dltool.policy import rules_bench, rules_gpus, rules_host
from dltool.policy.model import Policy
from dltool.results import Finding, Report

_RULES = (
    rules_gpus.count, rules_gpus.model, rules_gpus.memory, rules_gpus.capability, rules_host.driver, rules_host.cuda,
    rules_gpus.dtypes, rules_host.shm, rules_host.room, rules_host.open_files, rules_host.memory,
)  # fmt: skip


def judge(policy: Policy, machine: Machine, bench: Report | None) -> Iterator[Finding]:
    """One finding for each thing that the policy asks for."""
    for rule in _RULES:
        yield from rule(policy, machine)
    yield from rules_bench.rates(policy, bench)
