"""The active checks, in their order: what each asks, and which findings of doctor would explain its fault."""

from __future__ import annotations

from dataclasses import dataclass

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
    question: str
    means: str
    """What it means when the answer is no."""
    doing: str
    """What fails when it fails: "import torch"."""
    file: str
    name: str
    """The function in the child's file."""
    explained_by: tuple[str, ...] = ()
    """Checks whose failure explains a failure of this step, the likeliest first."""
    after: tuple[str, ...] = ("probe-import",)
    """Steps without which this one cannot be taken."""

    @property
    def explanation(self) -> str:
        """The question, and what it means when the answer is no."""
        return f"{self.question}\n\n{self.means}"


STEPS = (
    Step(
        id="probe-cuinit",
        question="Does NVIDIA's driver start (cuInit), and which GPUs does CUDA see?",
        means="No CUDA program runs, whatever library it uses. The error's number says what is in the way.",
        doing="the start of the driver (cuInit)",
        file="child_start.py",
        name="cuinit",
        explained_by=_START,
        after=(),
    ),
    Step(
        id="probe-import",
        question="Can PyTorch be imported?",
        means="A library is missing or of the wrong version, or a crash inside of one takes Python with it.",
        doing="import torch",
        file="child_start.py",
        name="import",
        explained_by=("torch-incomplete", "glibc-too-old", "libstdcxx-too-old", *_LIBRARIES),
        after=(),
    ),
    Step(
        id="probe-memory",
        question="Does PyTorch reach each device, and does its memory hold what is written to it?",
        means="PyTorch runs on the processor alone, or memory cannot be had, or is faulty.",
        doing="the use of memory",
        file="child_start.py",
        name="memory",
        explained_by=("torch-cpu-only", *_START, "driver-too-old", *_ILL),
    ),
    Step(
        id="probe-matmul",
        question="Is a matrix product right on each device, in each number format?",
        means="Results are wrong or kernels do not run: training would diverge or stop.",
        doing="matrix products",
        file="child_math.py",
        name="matmul",
        explained_by=("torch-lacks-gpu-code", "driver-too-old", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-transfer",
        question="Do bytes come back unchanged from each device?",
        means="The link or memory changes data, or memory for transfers cannot be had.",
        doing="transfers",
        file="child_start.py",
        name="transfer",
        explained_by=("shm-small", "pcie-errors", *_ILL),
    ),
    Step(
        id="probe-p2p",
        question="Do bytes arrive unchanged between every two GPUs?",
        means="Training on several GPUs would hang or compute with wrong numbers; often an IOMMU or ACS is in the way.",
        doing="transfers between GPUs",
        file="child_peers.py",
        name="p2p",
        explained_by=("iommu-p2p", "acs-p2p", "nvlinks-down", "fabric-not-ready", "pcie-errors", *_ILL),
    ),
    Step(
        id="probe-nccl",
        question="Do several processes of this machine sum up numbers (NCCL, without GPUs gloo)?",
        means="Training in more than one process does not start, or hangs.",
        doing="an all-reduce",
        file="child_peers.py",
        name="nccl",
        explained_by=("shm-small", "fabric-not-ready", "nvlinks-down", "iommu-p2p", "acs-p2p", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-conv",
        question="Is a convolution right on each device (cuDNN, on the processor oneDNN)?",
        means="cuDNN does not start or is of the wrong version, or its results are wrong.",
        doing="convolutions",
        file="child_math.py",
        name="conv",
        explained_by=("torch-lacks-gpu-code", *_LIBRARIES, *_ILL),
    ),
    Step(
        id="probe-compile",
        question="Does torch.compile work?",
        means="A compiler, Python's headers or Triton are missing or do not fit. Only programs that compile are concerned.",
        doing="torch.compile",
        file="child_math.py",
        name="compile",
        explained_by=("torch-companions-mismatched",),
    ),
)
"""As they are taken."""
PROBES = {step.id: step for step in STEPS}
