"""How exactly is computed: whether float32 may use the tensor cores."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.catalog import architectures
from dltool.checks import check
from dltool.checks.packages import installed_torch
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Finding, Remedy, Status


@check(
    "float32-without-tensor-cores",
    zh="""float32 的矩阵乘法是否使用了张量核心？

    从 Ampere 起可以，格式是尾数为 10 位的 TF32，速度快数倍。PyTorch 自 1.12 起默认关闭；在精度允许时，
    程序用 torch.set_float32_matmul_precision("high") 打开它。

    解决：精度允许时，在程序开头调用 `torch.set_float32_matmul_precision("high")`；如果环境里有 NVIDIA_TF32_OVERRIDE=0，
    则先去掉它。

    预防：在训练脚本里明确写出所需精度，不要依赖默认值；bfloat16 或 float16 的代码不受影响。
    """,
)
def float32_without_tensor_cores(machine: Machine) -> Iterator[Finding]:
    """Do matrix products of float32 use the tensor cores?

    From Ampere on they can, as TF32 with a mantissa of 10 bits, several times faster. PyTorch leaves that off since 1.12; a
    program asks for it by torch.set_float32_matmul_precision("high") where the accuracy allows.

    Mend: call `torch.set_float32_matmul_precision("high")` at the start of the program where the accuracy allows; take
    NVIDIA_TF32_OVERRIDE=0 out of the environment if it is there.

    Prevent: write the precision that is wanted into the training script and leave it to no default; code in bfloat16 or float16
    is not concerned.

    See: https://pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html
    """
    torch = installed_torch(machine)
    if torch is None or torch.cuda is None or not any(_has_tf32(gpu.compute_capability) for gpu in machine.gpus):
        told = tr("no PyTorch with CUDA on a GPU that has TF32", "没有在支持 TF32 的 GPU 上运行的 CUDA 版 PyTorch")
        yield Finding(status=Status.SKIP, summary=told)
        return
    override = machine.environment.get("NVIDIA_TF32_OVERRIDE")
    if override == "1" or (override != "0" and machine.environment.get("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE") == "1"):
        yield Finding(status=Status.PASS, summary=tr("the environment allows TF32", "环境变量允许使用 TF32"))
        return
    yield Finding(
        status=Status.INFO,
        summary=_off_by_override() if override == "0" else _off_by_default(),
        why=tr(
            'torch.set_float32_matmul_precision("high"), where the accuracy allows; bfloat16 code is not concerned.',
            '精度允许时调用 torch.set_float32_matmul_precision("high")；bfloat16 的代码不受影响。',
        ),
        remedies=(
            Remedy(
                text=tr(
                    'Call torch.set_float32_matmul_precision("high") at the start of the program.',
                    '在程序开头调用 torch.set_float32_matmul_precision("high")。',
                )
            ),
        ),
    )


def _has_tf32(compute_capability: str | None) -> bool:
    own = (row for row in architectures() if row.compute_capability == compute_capability)
    return any(row.ops.get("tf32_tensor") for row in own)


def _off_by_override() -> str:
    return tr(
        "NVIDIA_TF32_OVERRIDE=0 keeps all float32 matrix products off the tensor cores",
        "NVIDIA_TF32_OVERRIDE=0 使所有 float32 矩阵乘法都不能使用张量核心",
    )


def _off_by_default() -> str:
    return tr(
        "float32 matrix products leave the tensor cores unused unless the program asks for TF32",
        "除非程序要求使用 TF32，否则 float32 矩阵乘法不会用到张量核心",
    )
