"""What is well after a step of the probe, in words, and what there was to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dltool import units
from dltool.lang import tr
from dltool.probing.running import Told
from dltool.probing.steps import Step
from dltool.results import Evidence

READ_FROM = "dltool doctor --probe"
Case = Mapping[str, Any]


def evidence(case: Case) -> Evidence:
    """What one case showed."""
    text = str(case.get("why", "")).strip() or case["state"]
    if case.get("tolerance") is not None and case.get("error") is not None:
        text = f"error {case['error']:.1e}, allowed {case['tolerance']:.1e}"
    elif case.get("bytes_per_s"):
        text = f"bit-exact, {units.rate(case['bytes_per_s'], 'B/s')} there and back"
    elif case.get("direct") is not None:
        text = "bit-exact, direct" if case["direct"] else "bit-exact, through the host"
    return Evidence(fact=str(case["case"]), value=text, read_from=READ_FROM)


def nothing_tried(step: Step, skipped: Sequence[Case]) -> str:
    """Why no case of a step was tried."""
    if step.id == "probe-p2p":
        return tr("fewer than two GPUs: there are no pairs", "GPU 少于两块：没有可测的组合")
    reasons = "; ".join(dict.fromkeys(str(case.get("why", "")) for case in skipped))
    told = reasons or tr("nothing to try", "没有可尝试的内容")
    return tr(f"{step.doing}: not tried: {told}", f"{step.doing}：未尝试：{told}")


def _by_device(passed: Sequence[Case]) -> str:
    """ "cpu: fp64, fp32; cuda:0: fp64"."""
    devices: dict[str, list[str]] = {}
    for case in passed:
        device, _, what = str(case["case"]).partition(" ")
        devices.setdefault(device, []).append(what)
    return "; ".join(f"{device}: {', '.join(what)}" for device, what in devices.items())


def _names(passed: Sequence[Case]) -> str:
    return ", ".join(str(case["case"]) for case in passed)


def _cuinit(told: Told, _: object) -> str:
    count, cuda = told.facts.get("count"), told.facts.get("cuda")
    return tr(
        f"the driver starts: cuInit answers 0, {count} GPU{'s' * (count != 1)}, CUDA {cuda}",
        f"驱动能启动：cuInit 返回 0，{count} 块 GPU，CUDA {cuda}",
    )


def _import(told: Told, _: object) -> str:
    took = units.significant(float(told.facts.get("seconds") or 0.0), 2)
    version = told.facts.get("version")
    return tr(f"import torch: {version} in {took} s", f"导入 torch：{version}，用时 {took} 秒")


def _memory(_: Told, passed: Sequence[Case]) -> str:
    names = _names([case for case in passed if case["case"] != "CUDA"])
    return tr(f"memory holds what is written to it: {names}", f"写入内存的数据保持不变：{names}")


def _matmul(_: Told, passed: Sequence[Case]) -> str:
    return tr(f"matrix products are right: {_by_device(passed)}", f"矩阵乘法正确：{_by_device(passed)}")


def _transfer(_: Told, passed: Sequence[Case]) -> str:
    return tr(f"bytes come back unchanged: {_names(passed)}", f"传回的数据没有改变：{_names(passed)}")


def _p2p(told: Told, passed: Sequence[Case]) -> str:
    direct, count = sum(bool(case.get("direct")) for case in passed), len(passed)
    left_out = told.facts.get("left_out")
    more = tr(f"; {left_out} more pairs were left out", f"；另有 {left_out} 对未测") if left_out else ""
    whole = tr(
        f"bytes arrive unchanged between GPUs: {count} pairs, {direct} of them directly",
        f"GPU 之间的数据原样到达：{count} 对，其中 {direct} 对直接传输",
    )
    return whole + more


def _nccl(told: Told, _: object) -> str:
    ranks, backend = told.facts.get("ranks"), told.facts.get("backend")
    by = f"{backend} {told.facts['version']}" if told.facts.get("version") else str(backend)
    return tr(f"all-reduce over {ranks} process{'es' * (ranks != 1)} by {by}", f"{ranks} 个进程通过 {by} 完成 all-reduce")


def _conv(told: Told, passed: Sequence[Case]) -> str:
    cudnn, onednn = told.facts.get("cudnn"), told.facts.get("onednn")
    libraries = ", ".join(filter(None, (f"cuDNN {cudnn}" if cudnn else "", "oneDNN" if onednn else "")))
    by = libraries or tr("no library", "没有库")
    return tr(f"convolutions are right ({by}): {_by_device(passed)}", f"卷积正确（{by}）：{_by_device(passed)}")


def _compile(_: Told, passed: Sequence[Case]) -> str:
    return tr(f"torch.compile works on {_names(passed)}", f"torch.compile 可用：{_names(passed)}")


SUMMARIES: Mapping[str, Callable[[Told, Sequence[Case]], str]] = {
    "probe-cuinit": _cuinit,
    "probe-import": _import,
    "probe-memory": _memory,
    "probe-matmul": _matmul,
    "probe-transfer": _transfer,
    "probe-p2p": _p2p,
    "probe-nccl": _nccl,
    "probe-conv": _conv,
    "probe-compile": _compile,
}
"""What is well, by the id of the step."""
