"""The products of a model, of the zoo, another package or the user's own code: built and run once in a child process.

`python -m dltool.bench.shapes.model QUESTION` is that child: question and answer are JSON. On the meta device
nothing is computed and nothing is stored; where the model's code needs real numbers, it is run on the processor.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence

import msgspec

from dltool import child
from dltool.bench.shapes.own import Own
from dltool.errors import CannotRun, DltoolError, ExitCode, UsageError
from dltool.zoo import inputs, providers

BATCH = 8
_TIMEOUT_S = 300.0
_MARK = "dltool-shapes:"
_SIDES = re.compile(r"(\d{1,9}(?:x\d{1,9})*)(?::(\w+))?")


class _Question(msgspec.Struct):
    name: str
    input: str | None
    batch: int
    options: dict[str, str]
    backward: bool


class _Answer(msgspec.Struct):
    """Of the child: the products, or why there are none."""

    products: tuple[Own, ...] = ()
    error: str | None = None
    remedy: str = ""
    exit_code: int = 0


def read(
    name: str,
    given: Sequence[str],
    *,
    batch: int = BATCH,
    options: Mapping[str, str] | None = None,
    backward: bool = True,
) -> tuple[Own, ...]:
    """The products of one step of a model.

    Args:
        name: as `dltool.zoo.providers` knows it: `resnet50`, `timm:NAME`, `package.module:callable` ...
        given: its inputs where they are not known: "float:N,3,224,224"; also "8x3x224x224" and "8x128:int64".
        batch: what N stands for.
        options: of the function that makes it.
        backward: also the gradients.

    Raises:
        UsageError: an unknown name, a malformed input, or a callable that gives no model.
        CannotRun: a missing package, or the model's code failed; says how.
    """
    check(name, given)
    text = " + ".join(_described(one) for one in given)
    question = _Question(name=name, input=text or None, batch=batch, options=dict(options or {}), backward=backward)
    argv = [sys.executable, "-m", "dltool.bench.shapes.model", msgspec.json.encode(question).decode()]
    ended = child.run(argv, timeout_s=_TIMEOUT_S, keep_bytes=2**24)
    last = next((line for line in reversed(ended.output.splitlines()) if line.startswith(_MARK)), None)
    if last is None:
        said = (ended.errors.strip().splitlines() or ["it said nothing"])[-1]
        how = child.how_it_ended(ended.returncode, _TIMEOUT_S)
        raise CannotRun(f"the model {name} {how}: {said[:300]}", remedy="Try it in Python first; --input names its inputs.")
    answer = msgspec.json.decode(last.removeprefix(_MARK), type=_Answer)
    if answer.error is not None:
        kind = UsageError if answer.exit_code == ExitCode.USAGE else CannotRun
        raise kind(answer.error, remedy=answer.remedy)
    if not answer.products:
        raise CannotRun(f"the model {name} makes no matrix products", remedy="Is it the module that was meant?")
    return answer.products


def check(name: str, given: Sequence[str]) -> None:
    """Refuse what cannot be meant, before anything is started.

    Raises:
        UsageError: the name or an input is malformed, or the name is none of the zoo.
    """
    providers.check(name)
    for text in given:
        inputs.parse(_described(text))


def _described(text: str) -> str:
    """`8x128:int64` as `dltool.zoo.inputs` writes it."""
    match = _SIDES.fullmatch(text)
    if match is None:
        return text
    kind = "int<1" if "int" in (match[2] or "") else "float"
    return f"{kind}:{match[1].replace('x', ',')}"


def _answer(asked: _Question) -> _Answer:
    try:
        found = providers.source(asked.name)
        try:
            return _Answer(products=_products(found, asked, "meta"))
        except DltoolError:
            raise
        except Exception as error:  # whatever a model's code needs that meta tensors have not
            print(f"not on the meta device ({type(error).__name__}: {error}), so on the processor", file=sys.stderr)
        return _Answer(products=_products(found, asked, "cpu"))
    except DltoolError as error:
        return _Answer(error=str(error), remedy=error.remedy, exit_code=int(error.exit_code))


def _products(found: providers.Source, asked: _Question, device: str) -> tuple[Own, ...]:
    from dltool.zoo.recorder import shapes_of
    from dltool.zoo.subject import forward_of, of_source, step_of

    subject = of_source(found, asked.options, asked.input)
    if asked.backward:
        products = shapes_of(step_of(subject, asked.batch, device).loss, ())
    else:
        products = shapes_of(*forward_of(subject, asked.batch, device), backward=False)
    return tuple(Own(**msgspec.structs.asdict(product)) for product in products)


def main(question: str) -> None:
    """Print the products of a model; its own prints go elsewhere."""
    with contextlib.redirect_stdout(sys.stderr):
        answer = _answer(msgspec.json.decode(question, type=_Question))
    print(_MARK + msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    main(sys.argv[1])
