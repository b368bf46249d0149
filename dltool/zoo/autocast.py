"""Autocast for meta tensors, as a GPU does it: torch has none for them.

Source: PyTorch documentation, Automatic Mixed Precision package, "CUDA Ops that can autocast".
"""

from __future__ import annotations

from typing import Any

_LOWER = frozenset({
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "__matmul__",
    "__rmatmul__", "mm", "bmm", "addmm", "addbmm", "baddbmm", "mv", "addmv", "einsum", "prelu", "scaled_dot_product_attention",
    "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell",
})  # fmt: skip
_FULL = frozenset({
    "softmax", "log_softmax", "softmin", "layer_norm", "group_norm", "norm", "normalize", "cosine_similarity", "cdist", "pow",
    "__pow__", "__rpow__", "exp", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "reciprocal", "sum", "prod", "cumsum",
    "cumprod", "softplus", "renorm", "dist", "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
    "kl_div", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "triplet_margin_loss", "margin_ranking_loss",
})  # fmt: skip


def meta_autocast(lower: Any) -> Any:
    """A context in which matrix products take `lower`, a torch dtype; norms, powers, sums and losses float32.

    A parameter is cast once, and its copy kept until the context ends, as torch's cache does.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_map_only

    copies: dict[int, tuple[Any, Any]] = {}  # with the original, whose number nobody else may get meanwhile

    def lowered(tensor: Any) -> Any:
        if tensor.dtype is not torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(lower)
        if id(tensor) not in copies:
            copies[id(tensor)] = (tensor, tensor.to(lower))
        return copies[id(tensor)][1]

    def full(tensor: Any) -> Any:
        return tensor.float() if tensor.dtype is lower else tensor

    class Autocast(TorchFunctionMode):
        def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            cast = lowered if name in _LOWER else full if name in _FULL else None
            if cast is not None:
                args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
            return func(*args, **(kwargs or {}))

        def __exit__(self, *gone: Any) -> None:
            copies.clear()
            super().__exit__(*gone)

    return Autocast()
