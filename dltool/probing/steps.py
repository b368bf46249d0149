"""The active checks, in their order: what each asks, and which findings of doctor would explain its fault."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from dltool.lang import tr

_LIBRARIES = ("libraries-shadowed", "nvidia-wheels-mixed", "conda-pip-mixed")
_START = (
    "driver-missing", "nouveau-loaded", "driver-version-mismatch", "driver-not-answering", "device-nodes-missing",
    "gpus-hidden", "libcuda-absent", "libcuda-stub", "libcuda-mismatched", "libcuda-forward-compat", "fabric-not-ready",
    "gpu-lost", "gpu-fell-off-bus", "gpu-init-failed", "gsp-failed", "gpu-reset-required", "kernel-module-flavour",
    "mig-without-instances",
)  # fmt: skip
_ILL = ("gpu-reset-required", "ecc-uncorrected", "rows-remap-failed", "rows-remap-pending", "gpu-xid", "gpu-fell-off-bus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One active check: what is run in a child process, in words and by name."""

    id: str
    does: tuple[str, str]
    """What fails when it fails, in English and Chinese: "matrix products", "矩阵乘法"."""
    en: str
    """The explanation, laid out as the docstring of a check: question, meaning, Mend, Prevent, See."""
    zh: str
    """The same in Chinese, without the links."""
    file: str
    name: str
    """The function in the child's file."""
    explained_by: tuple[str, ...] = ()
    """Checks whose failure explains a failure of this step, the likeliest first."""
    after: tuple[str, ...] = ("probe-import",)
    """Steps without which this one cannot be taken."""

    @property
    def doing(self) -> str:
        """What fails when it fails."""
        return tr(self.does[0], self.does[1])

    @property
    def question(self) -> str:
        """What it asks, in one line."""
        return self._paragraphs()[0]

    @property
    def means(self) -> str:
        """What it means when the answer is no, in one line."""
        return self._paragraphs()[1].replace("\n", tr(" ", ""))

    @property
    def explanation(self) -> str:
        """The question, what it means when the answer is no, how to mend and to prevent it, and where to read on."""
        text, _, links = inspect.cleandoc(self.en).partition("\n\nSee: ")
        return tr(f"{text}\n\nSee: {links}", f"{inspect.cleandoc(self.zh)}\n\n参见：{links}")

    def _paragraphs(self) -> list[str]:
        return self.explanation.split("\n\n")


STEPS = (
    Step(
        id="probe-cuinit",
        does=("the start of the driver (cuInit)", "启动驱动（cuInit）"),
        en="""Does NVIDIA's driver start (cuInit), and which GPUs does CUDA see?

        No CUDA program runs, whatever library it uses. The error's number says what is in the way.

        Mend: what the finding names by the error's number; `dltool doctor` finds most causes (a driver that is missing,
        libraries of another version, GPUs that are hidden or not in the container).

        Prevent: restart the machine after every update of the driver; put no libcuda into images, the container runtime
        brings that of the host.

        See: https://docs.nvidia.com/deploy/cuda-compatibility/
        """,
        zh="""NVIDIA 驱动能否启动（cuInit），CUDA 看得到哪些 GPU？

        任何 CUDA 程序都无法运行，无论用哪个库。错误号会说明是什么在阻碍。

        解决：按结果中错误号所指的原因处理；`dltool doctor` 能找出大多数原因（没有驱动、库的版本不符、
        GPU 被隐藏或没有进入容器）。

        预防：每次更新驱动后重启机器；镜像里不要放 libcuda，容器运行时会带入宿主机的那一份。
        """,
        file="child_start.py",
        name="cuinit",
        explained_by=_START,
        after=(),
    ),
    Step(
        id="probe-import",
        does=("import torch", "导入 torch"),
        en="""Can PyTorch be imported?

        A library is missing or of the wrong version, or a crash inside of one takes Python with it.

        Mend: install PyTorch anew into a fresh environment (`dltool setup plan` names the build that suits), and try without
        LD_LIBRARY_PATH and LD_PRELOAD: `env -u LD_LIBRARY_PATH -u LD_PRELOAD python -c "import torch"`.

        Prevent: one environment for each project; do not mix conda and pip for PyTorch and its libraries; set no
        LD_LIBRARY_PATH in the start files of the shell.

        See: https://pytorch.org/get-started/locally/
        """,
        zh="""能否导入 PyTorch？

        缺少某个库或其版本不对，或者某个库内部崩溃，连带 Python 一起退出。

        解决：在全新的环境里重新安装 PyTorch（`dltool setup plan` 会给出合适的构建），并去掉 LD_LIBRARY_PATH 和 LD_PRELOAD
        再试：`env -u LD_LIBRARY_PATH -u LD_PRELOAD python -c "import torch"`。

        预防：每个项目一个环境；PyTorch 及其库不要混用 conda 和 pip 安装；不要在 shell 的启动文件里设置 LD_LIBRARY_PATH。
        """,
        file="child_start.py",
        name="import",
        explained_by=("torch-incomplete", "glibc-too-old", "libstdcxx-too-old", *_LIBRARIES),
        after=(),
    ),
    Step(
        id="probe-memory",
        does=("the use of memory", "使用内存"),
        en="""Does PyTorch reach each device, and does its memory hold what is written to it?

        PyTorch runs on the processor alone, or memory cannot be had, or is faulty.

        Mend: where CUDA is not there, install a CUDA build of PyTorch that suits the driver (`dltool setup plan`); where
        memory is taken, end the programs that `nvidia-smi` shows; where it is faulty, take the GPU out of service and have it
        exchanged.

        Prevent: name the build and its index when PyTorch is installed; watch ECC errors and Xid messages of the machine.

        See: https://pytorch.org/get-started/locally/ https://docs.nvidia.com/deploy/xid-errors/
        """,
        zh="""PyTorch 能否使用每个设备，写入其内存的数据能否保持不变？

        PyTorch 只在处理器上运行，或者申请不到内存，或者内存有故障。

        解决：没有 CUDA 时，安装与驱动相配的 CUDA 版 PyTorch（`dltool setup plan`）；显存被占用时，结束 `nvidia-smi` 所列的
        程序；显存有故障时，停用该 GPU 并更换。

        预防：安装 PyTorch 时写明构建及其索引；留意机器的 ECC 错误和 Xid 消息。
        """,
        file="child_start.py",
        name="memory",
        explained_by=("torch-cpu-only", *_START, "driver-too-old", *_ILL),
    ),
    Step(
        id="probe-matmul",
        does=("matrix products", "矩阵乘法"),
        en="""Is a matrix product right on each device, in each number format?

        Results are wrong or kernels do not run: training would diverge or stop.

        Mend: where no kernel runs, take a build of PyTorch that holds code for the GPU (`dltool compat --gpu NAME`); where
        results are wrong, use the GPU no more until `dcgmi diag -r 3` has passed.

        Prevent: install builds that name the GPU's compute capability; run `dltool doctor --probe` after every change of
        driver, PyTorch or hardware.

        See: https://docs.nvidia.com/datacenter/dcgm/latest/user-guide/dcgm-diagnostics.html
        """,
        zh="""每个设备上、每种数值格式的矩阵乘法结果是否正确？

        结果错误或核函数无法运行：训练会发散或中断。

        解决：内核无法运行时，换用含有该 GPU 代码的 PyTorch 构建（`dltool compat --gpu NAME`）；结果错误时，
        在 `dcgmi diag -r 3` 通过之前不要再使用该 GPU。

        预防：安装明确支持该 GPU 计算能力的构建；每次更换驱动、PyTorch 或硬件后运行 `dltool doctor --probe`。
        """,
        file="child_math.py",
        name="matmul",
        explained_by=("torch-lacks-gpu-code", "driver-too-old", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-transfer",
        does=("transfers", "数据传输"),
        en="""Do bytes come back unchanged from each device?

        The link or memory changes data, or memory for transfers cannot be had.

        Mend: reseat the GPU and its riser or cable, and look at the errors of the link (`nvidia-smi -q | grep -i replay`);
        where memory cannot be had, raise the limit of the container or of locked memory (`ulimit -l`).

        Prevent: watch the replay counter of the link and the kernel's AER messages.

        See: https://docs.kernel.org/PCI/pcieaer-howto.html
        """,
        zh="""从每个设备传回的数据是否保持不变？

        链路或内存改变了数据，或者申请不到传输所需的内存。

        解决：重新插好 GPU 及其转接卡或线缆，并查看链路错误（`nvidia-smi -q | grep -i replay`）；申请不到内存时，
        提高容器的限制或锁定内存的限制（`ulimit -l`）。

        预防：留意链路的重传计数和内核的 AER 消息。
        """,
        file="child_start.py",
        name="transfer",
        explained_by=("shm-small", "pcie-errors", *_ILL),
    ),
    Step(
        id="probe-p2p",
        does=("transfers between GPUs", "GPU 之间的传输"),
        en="""Do bytes arrive unchanged between every two GPUs?

        Training on several GPUs would hang or compute with wrong numbers; often an IOMMU or ACS is in the way.

        Mend: switch the IOMMU off or to passthrough (kernel parameter `iommu=pt`) and ACS off in the firmware; until then
        `NCCL_P2P_DISABLE=1` sends data through the host, which is slower and right.

        Prevent: run `dltool doctor --probe` before a new machine with several GPUs is used.

        See: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
        """,
        zh="""任意两块 GPU 之间的数据是否能原样到达？

        多 GPU 训练会挂起或用错误的数据计算；常见原因是 IOMMU 或 ACS。

        解决：在固件中关闭 ACS，并关闭 IOMMU 或改为直通（内核参数 `iommu=pt`）；在此之前，
        `NCCL_P2P_DISABLE=1` 让数据经过主机内存传输，较慢但正确。

        预防：新的多 GPU 机器投入使用之前运行 `dltool doctor --probe`。
        """,
        file="child_peers.py",
        name="p2p",
        explained_by=("iommu-p2p", "acs-p2p", "nvlinks-down", "fabric-not-ready", "pcie-errors", *_ILL),
    ),
    Step(
        id="probe-nccl",
        does=("an all-reduce", "all-reduce 通信"),
        en="""Do several processes of this machine sum up numbers (NCCL, without GPUs gloo)?

        Training in more than one process does not start, or hangs.

        Mend: run it again with `NCCL_DEBUG=INFO`, the last lines say what is missing; in a container give more shared memory
        (`docker run --ipc=host` or `--shm-size=16g`); name the network by `NCCL_SOCKET_IFNAME` where a wrong one is taken.

        Prevent: start containers for training with enough /dev/shm, and keep the NCCL that PyTorch brings.

        See: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
        """,
        zh="""本机的多个进程能否求和（用 NCCL，没有 GPU 时用 gloo）？

        多进程训练无法启动，或者挂起。

        解决：用 `NCCL_DEBUG=INFO` 再运行一次，最后几行会说明缺什么；在容器中给更多共享内存（`docker run --ipc=host` 或
        `--shm-size=16g`）；选错网卡时用 `NCCL_SOCKET_IFNAME` 指定。

        预防：启动训练容器时给足 /dev/shm，并保留 PyTorch 自带的 NCCL。
        """,
        file="child_peers.py",
        name="nccl",
        explained_by=("shm-small", "fabric-not-ready", "nvlinks-down", "iommu-p2p", "acs-p2p", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-conv",
        does=("convolutions", "卷积"),
        en="""Is a convolution right on each device (cuDNN, on the processor oneDNN)?

        cuDNN does not start or is of the wrong version, or its results are wrong.

        Mend: keep the cuDNN that PyTorch brings: take others off LD_LIBRARY_PATH and install PyTorch anew with its
        nvidia-cudnn wheel; `torch.backends.cudnn.enabled = False` works without, slower.

        Prevent: install no cuDNN beside PyTorch, and do not upgrade the nvidia-* wheels alone.

        See: https://docs.nvidia.com/deeplearning/cudnn/backend/latest/reference/support-matrix.html
        """,
        zh="""每个设备上的卷积结果是否正确（cuDNN，处理器上为 oneDNN）？

        cuDNN 无法启动或版本不对，或者结果错误。

        解决：使用 PyTorch 自带的 cuDNN：从 LD_LIBRARY_PATH 中去掉其他 cuDNN，并连同 nvidia-cudnn 的 wheel 一起重新安装
        PyTorch；`torch.backends.cudnn.enabled = False` 可以不用 cuDNN，但较慢。

        预防：不要在 PyTorch 之外另装 cuDNN，也不要单独升级 nvidia-* 的 wheel。
        """,
        file="child_math.py",
        name="conv",
        explained_by=("torch-lacks-gpu-code", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-compile",
        does=("torch.compile", "torch.compile"),
        en="""Does torch.compile work?

        A compiler, Python's headers or Triton are missing or do not fit. Only programs that compile are concerned.

        Mend: install a C compiler and Python's headers (`sudo apt install gcc python3-dev`), and the Triton that PyTorch pins
        (`pip install --force-reinstall torch==VERSION` brings it back).

        Prevent: take images and environments with a compiler (devel, build-essential), and do not upgrade Triton alone.

        See: https://pytorch.org/docs/stable/torch.compiler_troubleshooting.html
        """,
        zh="""torch.compile 能否工作？

        缺少编译器、Python 头文件或 Triton，或者它们不相配。只影响使用编译的程序。

        解决：安装 C 编译器和 Python 头文件（`sudo apt install gcc python3-dev`），
        以及 PyTorch 固定的 Triton（`pip install --force-reinstall torch==VERSION` 会把它带回来）。

        预防：选用带编译器的镜像和环境（devel、build-essential），不要单独升级 Triton。
        """,
        file="child_math.py",
        name="compile",
        explained_by=("torch-companions-mismatched",),
    ),
)
"""As they are taken."""
PROBES = {step.id: step for step in STEPS}
