"""What a policy asks of measured rates."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.lang import tr
from dltool.policy.model import Policy, rate
from dltool.policy.verdicts import verdict
from dltool.results import Finding, Measurement, Remedy, Report
from dltool.units import rate as rate_text


def best_rates(bench: Report) -> dict[tuple[str, str, str, str], float]:
    """By workload, dtype, unit and device the best rate of the cases that ran and were right."""
    best: dict[tuple[str, str, str, str], float] = {}
    for case in bench.measurements:
        if case.rate is not None and not _wrong(case):
            key = (case.workload, case.dtype, case.rate_unit, case.device)
            best[key] = max(case.rate, best.get(key, 0.0))
    return best


def _wrong(case: Measurement) -> bool:
    return case.not_run is not None or (case.verified is not None and not case.verified.ok)


def rates(policy: Policy, bench: Report | None) -> Iterator[Finding]:
    """Every device must reach the rate: the slowest one counts."""
    best = best_rates(bench) if bench else {}
    for workload, wanted_rates in policy.bench.items():
        for dtype, text in wanted_rates.items():
            wanted, unit = rate(text) or (0.0, "")
            own = {device: value for (*case, device), value in best.items() if case == [workload, dtype, unit]}
            device = min(own, key=lambda name: own[name], default="")
            seen = own.get(device)
            command = f"dltool bench {workload} --dtype {dtype} -o bench.json"
            yield verdict(
                "policy-bench",
                None if seen is None else seen >= wanted,
                _reached(device, workload, dtype, rate_text(seen, unit), text.strip()),
                asked=(f"bench.{workload}.{dtype}", text),
                seen=(seen, f"bench report of {bench.created}" if bench else "no bench report"),
                unknown=_missing(workload, dtype, unit) if bench else _no_report(command),
                remedies=_faster(command),
            )


def _reached(device: str, workload: str, dtype: str, seen: str, wanted: str) -> str:
    return tr(
        f"{device}: {workload} in {dtype} reaches {seen}, the policy asks for {wanted}",
        f"{device}：{workload}（{dtype}）达到 {seen}，策略要求 {wanted}",
    )


def _missing(workload: str, dtype: str, unit: str) -> str:
    return tr(
        f"the bench report has no {workload} in {dtype} in {unit}", f"基准测试报告中没有以 {unit} 计的 {workload}（{dtype}）"
    )


def _no_report(command: str) -> str:
    return tr(f"no bench report was given ({command})", f"没有提供基准测试报告（{command}）")


def _faster(command: str) -> tuple[Remedy, ...]:
    slow = tr("See what slows it down: heat, power limit, other programs.", "查明是什么使它变慢：温度、功耗上限、其他程序。")
    again = tr("Measure again while nothing else runs.", "在没有其他程序运行时重新测量。")
    return Remedy(text=slow, commands=("dltool doctor -v",)), Remedy(text=again, commands=(command,))
