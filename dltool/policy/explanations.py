"""What each finding of a policy asks, and what is to be known of it, in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dltool.lang import tr

_TEXTS = {
    "policy-gpu-count": (
        "Are as many GPUs here as the policy asks for (gpu.count)?\n\n"
        "Mend: see which GPUs the bus shows (`lspci -d 10de:`) and which answer (`nvidia-smi -L`); `dltool doctor` says why "
        "one does not.",
        "GPU 的数量是否符合策略的要求（gpu.count）？\n\n"
        "解决：查看总线上有哪些 GPU（`lspci -d 10de:`），以及哪些有响应（`nvidia-smi -L`）；"
        "`dltool doctor` 会说明某块为何没有响应。",
    ),
    "policy-gpu-model": (
        "Is every GPU a model that the policy asks for (gpu.model)?",
        "每块 GPU 是否都是策略要求的型号（gpu.model）？",
    ),
    "policy-gpu-memory": (
        "Has every GPU the memory that the policy asks for (gpu.min_memory_gb)?\n\n"
        "What the driver and ECC keep for themselves, 2 % at most, is not held against it.",
        "每块 GPU 的显存是否达到策略的要求（gpu.min_memory_gb）？\n\n驱动和 ECC 自身占用的部分（最多 2 %）不计为不足。",
    ),
    "policy-compute-capability": (
        "Has every GPU the compute capability that the policy asks for (gpu.min_compute_capability)?",
        "每块 GPU 的计算能力是否达到策略的要求（gpu.min_compute_capability）？",
    ),
    "policy-driver": (
        "Is the driver as new as the policy asks for (driver.min)?\n\nMend: `dltool setup plan` gives the steps to the driver.",
        "驱动是否达到策略要求的版本（driver.min）？\n\n解决：`dltool setup plan` 给出安装所需驱动的步骤。",
    ),
    "policy-cuda": (
        "Does the driver implement the CUDA that the policy asks for (cuda.min)?\n\n"
        "Mend: `dltool setup plan` gives the steps to a driver that does.",
        "驱动是否支持策略要求的 CUDA（cuda.min）？\n\n解决：`dltool setup plan` 给出安装相应驱动的步骤。",
    ),
    "policy-dtypes": (
        "Has every GPU arithmetic for the number formats of the policy (dtypes.required)?\n\n"
        "By the tables of architectures; a format that is only imitated does not count.",
        "每块 GPU 是否都能计算策略要求的数值格式（dtypes.required）？\n\n以架构数据表为准；仅靠模拟实现的格式不算。",
    ),
    "policy-shm": (
        "Is /dev/shm as large as the policy asks for (host.min_shm_gb)?\n\n"
        "Mend: start a container with `--shm-size`; elsewhere `sudo mount -o remount,size=64g /dev/shm`.",
        "/dev/shm 是否达到策略要求的大小（host.min_shm_gb）？\n\n"
        "解决：启动容器时加 `--shm-size`；其他情况用 `sudo mount -o remount,size=64g /dev/shm`。",
    ),
    "policy-disk": (
        "Is as much room free as the policy asks for (host.min_disk_gb)?\n\n"
        "On the file system of the working directory; where that is not known, of the home directory.",
        "剩余磁盘空间是否达到策略的要求（host.min_disk_gb）？\n\n以工作目录所在的文件系统为准；不清楚时以主目录的为准。",
    ),
    "policy-open-files": (
        "May a process open as many files as the policy asks for (host.min_open_files)?\n\n"
        "Mend: `ulimit -n 65536` in the shell that starts the job, or `docker run --ulimit nofile=65536:65536`.",
        "一个进程可打开的文件数是否达到策略的要求（host.min_open_files）？\n\n"
        "解决：在启动作业的 shell 中运行 `ulimit -n 65536`，或使用 `docker run --ulimit nofile=65536:65536`。",
    ),
    "policy-memory": (
        "Is there as much main memory as the policy asks for (host.min_memory_gb)?\n\n"
        "The limit of the control group counts where it is lower.",
        "内存是否达到策略的要求（host.min_memory_gb）？\n\n控制组的上限更低时，以该上限为准。",
    ),
    "policy-bench": (
        "Does the bench report show the rates that the policy asks for (bench)?\n\n"
        "On each device the best case counts that ran and was verified. Give the report with --bench FILE.",
        "基准测试报告中的速率是否达到策略的要求（bench）？\n\n"
        "每个设备取运行成功且通过验证的最好结果。用 --bench FILE 提供报告。",
    ),
    "policy-waiver": (
        "Do all waivers of the policy still hold?\n\n"
        "After its last day a waiver hides nothing: mend what it is about, or decide anew and move the day.",
        "策略中的所有豁免是否仍然有效？\n\n过了最后一天，豁免就不再隐藏任何问题：请解决它所涉及的问题，或重新决定并延后日期。",
    ),
}
"""By id: English and Chinese, laid out as the docstring of a check."""


class _Spoken(Mapping[str, str]):
    """Each text in the language that is spoken when it is asked for."""

    def __getitem__(self, name: str) -> str:
        english, chinese = _TEXTS[name]
        return tr(english, chinese)

    def __iter__(self) -> Iterator[str]:
        return iter(_TEXTS)

    def __len__(self) -> int:
        return len(_TEXTS)


EXPLANATIONS: Mapping[str, str] = _Spoken()
