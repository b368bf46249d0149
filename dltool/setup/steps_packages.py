"""What goes into the environment: torch with its companions, the other packages, and the proof that they work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dltool.results import Risk, Step
from dltool.setup.choice import BUILT_PER_CUDA, wheels_for
from dltool.setup.situation import Situation

BUILD_TOOLS = ("ninja", "setuptools", "wheel")
"""What compiling without isolation finds in the environment or not at all."""


def name_of(pin: str) -> str:
    """ "torch==2.14.1+cu126" -> "torch"."""
    return re.split(r"[=<>~!]", pin, maxsplit=1)[0]


def pip(situation: Situation, command: str) -> str:
    """A command of pip, by the manager's own if it has one."""
    if situation.wishes.manager == "uv":
        return f"uv pip {command} --python {situation.wishes.place}"
    return f"{situation.interpreter} -m pip {command}"


def torch(situation: Situation, why: str) -> Step:
    """torch and the companions that carry its build, from the index that has them."""
    own = [pin for pin in situation.requirements if name_of(pin) in BUILT_PER_CUDA]
    place, pixi = situation.wishes.place, situation.wishes.manager == "pixi"
    all_of_it = (f"pixi install --manifest-path {place}", f"pixi shell --manifest-path {place}")
    return Step(
        id="torch",
        title=_listed(situation.requirements if pixi else own),
        why=f"{why[:1].upper()}{why[1:]}.",
        commands=all_of_it if pixi else (_torch_command(situation, own),),
        verify=(f'{situation.interpreter} -c "{_proof(situation)}"',),
        undo=(f"pixi clean --manifest-path {place}" if pixi else _uninstall(situation, own),),
        notes=tuple(_notes(situation)),
    )


def _listed(pins: Sequence[str]) -> str:
    return ", ".join(pin.replace("==", " ") for pin in pins)


def _torch_command(situation: Situation, pins: Sequence[str]) -> str:
    mirror = situation.wishes.mirror
    place = mirror.torch_index(situation.question.build or "")
    command = f"{pip(situation, 'install')} {_quoted(pins)}"
    if mirror.torch_kind == "index":
        return f"{command} --index-url {place}"
    return f"{command} --find-links {place}{_index(situation)}"


def _quoted(pins: Sequence[str]) -> str:
    return " ".join(f'"{pin}"' for pin in pins)


def _index(situation: Situation) -> str:
    mirror = situation.wishes.mirror
    return f" --index-url {mirror.index}" if mirror.index else ""


def _uninstall(situation: Situation, pins: Sequence[str]) -> str:
    return f"{pip(situation, 'uninstall')} {' '.join(map(name_of, pins))}"


def _notes(situation: Situation) -> Iterator[str]:
    mirror = situation.wishes.mirror
    if mirror.names and mirror.torch is None:
        yield f"No PyTorch wheels are known on {' and '.join(mirror.names)}: they come from PyTorch's own index."
    if situation.wishes.manager == "conda":
        yield "By pip: the pytorch channel ended with 2.5. Do not install conda's pytorch beside it."
    if situation.wishes.purpose == "training" and not situation.windows and not situation.question.cpu_only:
        yield "torch.compile and triton call a C compiler (gcc) when they run."


def others(situation: Situation) -> Iterator[Step]:
    """The packages that are where all packages are; last those that pip compiles against the torch that is there."""
    if situation.wishes.manager == "pixi":
        return  # they are in its file
    rest = [pin for pin in situation.requirements if name_of(pin) not in BUILT_PER_CUDA]
    built = [pin for pin in rest if name_of(pin) in situation.compiled]
    ready = [pin for pin in rest if pin not in built]
    if ready:
        yield _packages(situation, ready, f"What goes with torch {situation.question.torch}.", ())
    if built:
        why = f"No ready wheel is known for torch {situation.question.torch}: pip compiles against the torch that is there."
        yield _packages(situation, built, why, (f"{pip(situation, 'install')} {_quoted(BUILD_TOOLS)}{_index(situation)}",))


def _packages(situation: Situation, pins: Sequence[str], why: str, before: tuple[str, ...]) -> Step:
    isolation = " --no-build-isolation" if before else ""
    return Step(
        id="compiled" if before else "packages",
        title=_listed(pins),
        why=why,
        commands=(*before, f"{pip(situation, 'install')} {_quoted(pins)}{isolation}{_index(situation)}"),
        verify=(pip(situation, "check"),),
        undo=(_uninstall(situation, pins),),
        notes=tuple(_ready_wheels(situation, pins)) if before else (),
    )


def _ready_wheels(situation: Situation, pins: Sequence[str]) -> Iterator[str]:
    """What would spare the compiling."""
    for pin in pins:
        minors = wheels_for(situation.question, name_of(pin))
        if minors:
            yield f"Ready wheels of {pin} are for torch {', '.join(minors)}: --torch {minors[-1]} spares the compiling."


def proof(situation: Situation) -> Step:
    """Does it work, and as fast as it should?"""
    return Step(
        id="proof",
        title="Prove it",
        why="The doctor looks at driver, libraries and kernels together; a short benchmark shows that the device works.",
        commands=(f"dltool doctor --python {_path(situation)}", "dltool bench quick"),
        risk=Risk.READ_ONLY,
        notes=("The benchmark needs dltool in the same environment: pip install dltool[bench].",),
    )


def _path(situation: Situation) -> str:
    """The interpreter as a file."""
    place = situation.wishes.place
    if situation.wishes.manager == "conda":
        return f'"$(conda run -n {place} which python)"'
    return f"{place}/.pixi/envs/default/bin/python" if situation.wishes.manager == "pixi" else situation.interpreter


def _proof(situation: Situation) -> str:
    if situation.question.build == "cpu":
        return "import torch; print(torch.__version__, (torch.ones(2) + 1).sum().item())"
    return "import torch; print(torch.__version__, torch.cuda.get_device_name(), torch.ones(2).cuda().sum().item())"
