"""How exactly is computed: whether float32 may use the tensor cores, and whether the GPUs know bfloat16."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.catalog import architectures
from dltool.checks import check
from dltool.checks.packages import installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Finding, Remedy, Status

_BF16_FROM = "8.0"


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


@check(
    "bf16-emulated",
    zh="""GPU 能否直接计算 bfloat16？

    Ampere（计算能力 8.0）之前的 GPU 没有 bfloat16 运算单元。torch.cuda.is_bf16_supported() 仍可能返回 True，
    因为它把模拟也算在内：程序能跑，但比 float16 慢好几倍。

    解决：在这些 GPU 上改用 float16，例如 `torch.autocast("cuda", dtype=torch.float16)` 并配合 GradScaler；
    vLLM 用 `--dtype half`。

    预防：选择精度前查看计算能力：`torch.cuda.get_device_capability() >= (8, 0)`。""",
)
def bf16_emulated(machine: Machine) -> Iterator[Finding]:
    """Do the GPUs compute in bfloat16 themselves?

    GPUs before Ampere (compute capability 8.0) have no units for it. torch.cuda.is_bf16_supported() can be True all the same,
    for it counts emulation: programs run, several times slower than in float16.

    Mend: use float16 on these, as in `torch.autocast("cuda", dtype=torch.float16)` with a GradScaler; in vLLM `--dtype half`.

    Prevent: look at the compute capability before a precision is chosen: `torch.cuda.get_device_capability() >= (8, 0)`.

    See: https://docs.nvidia.com/cuda/cuda-c-programming-guide/ https://pytorch.org/docs/stable/amp.html
    """
    torch = installed_torch(machine)
    able = [(gpu, one) for gpu in visible_gpus(machine) if (one := compat.known_version(gpu.compute_capability))]
    old = [gpu for gpu, capability in able if capability < compat.version(_BF16_FROM)]
    if torch is None or torch.cuda is None or not able:
        yield Finding(
            status=Status.SKIP, summary=tr("no PyTorch with CUDA beside a known GPU", "没有 CUDA 版 PyTorch 与已知 GPU 并存")
        )
    elif not old:
        yield Finding(status=Status.PASS, summary=tr("bfloat16 is computed by the GPUs themselves", "GPU 可直接计算 bfloat16"))
    else:
        named = tr(", ", "、").join(
            dict.fromkeys(
                tr(f"{gpu.name} ({gpu.compute_capability})", f"{gpu.name}（{gpu.compute_capability}）") for gpu in old
            )
        )
        yield Finding(
            status=Status.INFO,
            summary=tr(
                f"bfloat16 is only emulated on {named}: float16 is faster", f"{named} 只能模拟 bfloat16：用 float16 更快"
            ),
            why=tr("Units for it came with compute capability 8.0.", "计算能力 8.0 才开始有相应的运算单元。"),
            remedies=(
                Remedy(
                    text=tr(
                        "Let programs compute in float16: torch.float16, fp16=True, in vLLM --dtype half.",
                        "让程序用 float16 计算：torch.float16、fp16=True，vLLM 中用 --dtype half。",
                    )
                ),
            ),
            devices=tuple(gpu.index for gpu in old),
        )
