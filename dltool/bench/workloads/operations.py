"""How torch multiplies in each number format: one function for each value of `operation` in catalog/dtypes.csv.

Each takes the problem and gives the operands and a function that multiplies them once and returns the product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dltool import tables
from dltool.bench.workloads.operands import GROUP, Maker, Matrix, ways


@dataclass(frozen=True, slots=True)
class Problem:
    """What is multiplied."""

    torch: Any
    maker: Maker
    row: tables.Row
    """Of catalog/dtypes.csv."""
    m: int
    n: int
    k: int
    layout: str
    """ "nn", "nt", "tn" or "tt"."""

    @property
    def out_dtype(self) -> Any:
        """Type of the result."""
        return getattr(self.torch, self.row["torch_out"])

    def empty(self) -> Any:
        """Room for the result, filled with what no product is: what was never computed shall not look right."""
        wrong = float("nan") if self.out_dtype.is_floating_point else -1
        return self.torch.full((self.m, self.n), wrong, dtype=self.out_dtype, device=self.maker.device)

    def plain(self) -> tuple[Matrix, Matrix]:
        """Both operands without scales; T lies along the other side in memory."""
        a_MK = self.maker.plain(self.m, self.k, self.row["torch"], transposed=self.layout[0] == "t")
        b_NK = self.maker.plain(self.n, self.k, self.row["torch_b"], transposed=self.layout[1] == "n")
        return a_MK, b_NK.transposed()


@dataclass(frozen=True, slots=True)
class Product:
    """Operands, and what multiplies them."""

    a: Matrix
    """(m, k)."""
    b: Matrix
    """(k, n)."""
    multiply: Callable[[], Any]


def _mm(problem: Problem) -> Product:
    a, b = problem.plain()
    c_MN, mm, left, right = problem.empty(), problem.torch.mm, a.stored, b.stored
    return Product(a, b, lambda: mm(left, right, out=c_MN))


def _mm_acc16(problem: Problem) -> Product:
    switches = problem.torch.backends.cuda.matmul
    if not hasattr(switches, "allow_fp16_accumulation"):
        raise NotImplementedError("this PyTorch cannot accumulate in fp16: it came with 2.7")
    return _mm(problem)


def _int_mm(problem: Problem) -> Product:
    a, b = problem.plain()
    c_MN, int_mm, left, right = problem.empty(), problem.torch._int_mm, a.stored, b.stored
    return Product(a, b, lambda: int_mm(left, right, out=c_MN))


def _scaled_mm(problem: Problem) -> Product:
    torch, maker, row = problem.torch, problem.maker, problem.row
    way_a, way_b = ways(row)
    a = maker.scaled(problem.m, problem.k, row["torch"], way_a, transposed=problem.layout[0] == "t")
    b = maker.scaled(problem.n, problem.k, row["torch_b"], way_b, transposed=problem.layout[1] == "n").transposed()
    if way_a in ("tensor", "row"):
        scales = {"scale_a": a.scale, "scale_b": b.scale.t()} if way_a == "row" else _single(a, b)
        left, right, c_MN = a.stored, b.stored, problem.empty()
        return Product(a, b, lambda: torch._scaled_mm(left, right, **scales, out_dtype=c_MN.dtype, out=c_MN))
    return Product(a, b, _block_scaled(problem, a, b, way_a, way_b))


def _single(a: Matrix, b: Matrix) -> dict[str, Any]:
    return {"scale_a": a.scale.reshape(()), "scale_b": b.scale.reshape(())}


def _block_scaled(problem: Problem, a: Matrix, b: Matrix, way_a: str, way_b: str) -> Callable[[], Any]:
    functional = problem.torch.nn.functional
    if not hasattr(functional, "scaled_mm"):
        raise NotImplementedError("this PyTorch has no block-scaled product: torch.nn.functional.scaled_mm came with 2.10")
    recipes = [getattr(functional.ScalingType, "BlockWise" + way) for way in (way_a, way_b)]
    micro = way_a in ("1x32", "1x16")
    swizzle = functional.SwizzleType.SWIZZLE_32_4_4 if micro else functional.SwizzleType.NO_SWIZZLE
    left, right, out = a.stored, b.stored, problem.out_dtype
    return lambda: functional.scaled_mm(
        left, right, a.scale, recipes[0], b.scale, recipes[1], swizzle, swizzle, output_dtype=out
    )


def _sparse(problem: Problem) -> Product:
    torch, maker, row = problem.torch, problem.maker, problem.row
    a = maker.pruned(problem.m, problem.k, row["torch"])
    b = maker.plain(problem.n, problem.k, row["torch_b"], transposed=False).transposed()
    right = b.stored
    library = getattr(torch.backends, "cusparselt", None)
    if library is None or not library.is_available():
        if row["torch"] not in ("float16", "bfloat16"):
            raise NotImplementedError(f"2:4 sparse {row['torch']} needs cuSPARSELt, which this PyTorch was built without")
        packed = torch.sparse.to_sparse_semi_structured(a.stored)
        return Product(a, b, lambda: torch.mm(packed, right))
    compressed = torch._cslt_compress(a.stored)
    out = problem.out_dtype
    return Product(a, b, lambda: torch._cslt_sparse_mm(compressed, right, out_dtype=out))


def _weight_int8(problem: Problem) -> Product:
    torch, maker = problem.torch, problem.maker
    a = maker.plain(problem.m, problem.k, "bfloat16", transposed=False)
    codes = maker.plain(problem.n, problem.k, "int8", transposed=False).stored
    scales = (0.5 + torch.rand(problem.n, device=maker.device, generator=maker.generator)).to(torch.bfloat16)
    b = Matrix(codes, codes, scales, scales[:, None]).transposed()
    left = a.stored
    return Product(a, b, lambda: torch._weight_int8pack_mm(left, codes, scales))


def _weight_int4(problem: Problem) -> Product:
    """Weights (code - 8) x scale + offset, `GROUP` of a row to a scale and an offset."""
    torch, maker, n, k = problem.torch, problem.maker, problem.n, problem.k
    a = maker.plain(problem.m, k, "bfloat16", transposed=False)
    codes = maker.integers(8 if maker.zeros else 0, 9 if maker.zeros else 16, (n, k), torch.int32)
    scales = (0.5 + torch.rand((k // GROUP, n), device=maker.device, generator=maker.generator)).to(torch.bfloat16)
    b = Matrix(codes, codes - 8, scales, scales.t().repeat_interleave(GROUP, 1)).transposed()
    both = torch.stack([scales, torch.zeros_like(scales)], -1).contiguous()
    left = a.stored
    if maker.device == "cpu":
        packed = torch._convert_weight_to_int4pack_for_cpu(codes, 1)
        return Product(a, b, lambda: torch._weight_int4pack_mm_for_cpu(left, packed, GROUP, both))
    tiles = 8
    pairs = (codes[:, 0::2] << 4 | codes[:, 1::2]).to(torch.uint8)
    packed = torch._convert_weight_to_int4pack(pairs, tiles)
    return Product(a, b, lambda: torch._weight_int4pack_mm(left, packed, GROUP, both))


OPERATIONS: dict[str, Callable[[Problem], Product]] = {
    "mm": _mm,
    "mm_tf32": _mm,
    "mm_acc16": _mm_acc16,
    "int_mm": _int_mm,
    "scaled_mm": _scaled_mm,
    "sparse": _sparse,
    "weight_int8": _weight_int8,
    "weight_int4": _weight_int4,
}


def set_switches(torch: Any, operation: str) -> None:
    """Set what decides, in one process, whether fp32 is fp32 and how fp16 is summed; each case sets it anew."""
    torch.set_float32_matmul_precision("high" if operation == "mm_tf32" else "highest")
    switches = torch.backends.cuda.matmul
    if hasattr(switches, "allow_fp16_accumulation"):
        switches.allow_fp16_accumulation = operation == "mm_acc16"
