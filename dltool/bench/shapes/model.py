"""The products of a model: of the user's own code, imported and run once in a child process.

`python -m dltool.bench.shapes.model SPEC INPUT..` is that child: it prints the products as JSON. On the meta device nothing is
computed and nothing is stored; where the model's code needs real numbers, it is run on the processor.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from dltool import child
from dltool.bench.shapes.own import Own
from dltool.errors import CannotRun, UsageError

_TIMEOUT_S = 300.0
_MARK = "dltool-shapes:"
_INPUT = re.compile(r"(\d{1,9}(?:x\d{1,9})*)(?::(\w+))?")


def read(name: str, inputs: Sequence[str], *, backward: bool = True) -> tuple[Own, ...]:
    """The products of one step of a model.

    Args:
        name: `package.module:factory` or `file.py:factory`; the factory is called without arguments and gives a torch module,
            or a module and its inputs.
        inputs: shapes of the arguments, "8x3x224x224" or "8x128:int64".
        backward: also the gradients.

    Raises:
        UsageError: the name or an input is malformed, or the factory gives no module.
        CannotRun: the model's code failed; says how.
    """
    check(name, inputs)
    argv = [sys.executable, "-m", "dltool.bench.shapes.model", "train" if backward else "infer", name, *inputs]
    answer = child.run(argv, timeout_s=_TIMEOUT_S, keep_bytes=2**24)
    last = next((line for line in reversed(answer.output.splitlines()) if line.startswith(_MARK)), None)
    if last is None:
        said = (answer.errors.strip().splitlines() or ["it said nothing"])[-1]
        how = child.how_it_ended(answer.returncode, _TIMEOUT_S)
        remedy = "Try the factory in Python first; name the inputs with --input 8x3x224x224."
        raise CannotRun(f"the model {name} {how}: {said[:300]}", remedy=remedy)
    found = msgspec.json.decode(last.removeprefix(_MARK), type=tuple[Own, ...])
    if not found:
        raise CannotRun(f"the model {name} makes no matrix products", remedy="Is it the module that was meant?")
    return found


def check(name: str, inputs: Sequence[str]) -> None:
    """Refuse what cannot be meant, before anything is started.

    Raises:
        UsageError: the name or an input is malformed.
    """
    module, colon, factory = name.partition(":")
    if not module or not colon or not factory.isidentifier():
        raise UsageError(
            f"`{name}` names no model", remedy="Write package.module:factory, where factory() gives a torch.nn.Module."
        )
    for text in inputs:
        if _INPUT.fullmatch(text) is None:
            raise UsageError(f"`--input {text}` is no shape", remedy="For example: --input 8x3x224x224, --input 8x128:int64")


def _factory(name: str) -> Any:
    """What stands behind `package.module:factory` or `file.py:factory`."""
    module, _, attribute = name.partition(":")
    if module.endswith(".py"):
        path = Path(module).resolve()
        sys.path.insert(0, str(path.parent))
        module = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    return getattr(importlib.import_module(module), attribute)


def _made(factory: Any, inputs: Sequence[str], device: str) -> tuple[Any, tuple[Any, ...]]:
    """The module and its inputs on a device."""
    import torch

    with torch.device(device):
        made = factory()
        module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not callable(module):
            raise TypeError(f"the factory gives {type(module).__name__}, not a module")
        if inputs or given is None:
            return module, tuple(_tensor(torch, text) for text in inputs)
    given = given if isinstance(given, (tuple, list)) else (given,)
    return module, tuple(one.to(device) if hasattr(one, "to") else one for one in given)


def _tensor(torch: Any, text: str) -> Any:
    """Random numbers of this shape; zeros where the dtype is of integers, as indices."""
    sides, _, dtype = text.partition(":")
    shape = tuple(map(int, sides.split("x")))
    kind = getattr(torch, dtype or "float32")
    return torch.randn(shape).to(kind) if kind.is_floating_point else torch.zeros(shape, dtype=kind)


def main(mode: str, name: str, *inputs: str) -> None:
    """Print the products of a model; its own prints go elsewhere."""
    from dltool.zoo.recorder import shapes_of

    with contextlib.redirect_stdout(sys.stderr):
        factory = _factory(name)
        try:
            module, given = _made(factory, inputs, "meta")
            found = shapes_of(module, given, backward=mode == "train")
        except Exception as error:  # whatever a user's code needs that meta tensors have not
            print(f"not on the meta device ({type(error).__name__}: {error}), so on the processor", file=sys.stderr)
            module, given = _made(factory, inputs, "cpu")
            found = shapes_of(module, given, backward=mode == "train")
    print(_MARK + msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
