"""The environment of a plan as files that other tools read: every version pinned, every choice explained in a comment. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from dltool import tables
from dltool.compat.builds import cuda_of_build
from dltool.compat.drivers import driver_floor
from dltool.compat.versions import major, version
from dltool.errors import UsageError, unknown_name
from dltool.results import Environment, Plan
from dltool.setup.choice import BUILT_PER_CUDA
from dltool.setup.situation import fill, newest_update
from dltool.setup.steps_packages import BUILD_TOOLS, name_of

Exporter = Callable[[Plan, Environment], str]
EXPORTERS: dict[str, Exporter] = {}
"""By the name of the format."""
_PROJECT = "dl"
_UID = 10001
_USER = f"useradd --create-home --uid {_UID} user"
"""Not root, and by number: 1000 is taken in newer Ubuntu images."""


def exports(name: str) -> Callable[[Exporter], Exporter]:
    """Register the writer of a format."""

    def add(function: Exporter) -> Exporter:
        EXPORTERS[name] = function
        return function

    return add


def exporter(name: str) -> Exporter:
    """The writer of a format.

    Raises:
        UsageError: no such format.
    """
    if name.casefold() not in EXPORTERS:
        raise unknown_name("export format", name, EXPORTERS)
    return EXPORTERS[name.casefold()]


def export(plan: Plan, name: str) -> str:
    """The file of a plan that has an environment.

    Raises:
        UsageError: no such format, or one that cannot hold this environment.
    """
    assert plan.environment is not None
    return exporter(name)(plan, plan.environment)


def _asked(plan: Plan, name: str, default: str) -> str:
    return str(plan.compat.question.get(name, default)) if plan.compat is not None else default


def _head(plan: Plan, found: Environment, name: str) -> list[str]:
    """What it is, what it runs on, and which driver it needs."""
    gpus = ", ".join(plan.compat.question.get("compute_capabilities", ())) if plan.compat is not None else ""
    system = _asked(plan, "os", "linux")
    lines = [
        f"# Made by: dltool setup export {name}",
        f"# torch {found.torch}+{found.build}, Python {found.python}, {system} {_asked(plan, 'arch', 'x86_64')}"
        + (f", compute capability {gpus}" if gpus else ""),
    ]
    cuda = cuda_of_build(found.build)
    floor = driver_floor(cuda or "", windows=system in ("windows", "wsl"))
    if floor is not None:
        where = " of Windows" if system == "wsl" else " of the host" if name == "dockerfile" else ""
        lines.append(f"# CUDA {cuda} comes with the wheels; the driver{where} must be {floor.floor} or later.")
    return lines


def _own(found: Environment) -> list[str]:
    """What is on PyTorch's own index."""
    return [pin for pin in found.requirements if name_of(pin) in BUILT_PER_CUDA]


def _ready(found: Environment) -> list[str]:
    """What is where all packages are, and installs as it is."""
    return [pin for pin in found.requirements if name_of(pin) not in (*BUILT_PER_CUDA, *found.compiled)]


def _compiled(found: Environment) -> list[str]:
    return [pin for pin in found.requirements if name_of(pin) in found.compiled]


def _specifier(pin: str) -> str:
    return pin[len(name_of(pin)) :]


def _quoted(text: str) -> str:
    """A string of TOML and of YAML."""
    return json.dumps(text)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


@exports("pip")
def pip(plan: Plan, found: Environment) -> str:
    """requirements.txt."""
    lines = _head(plan, found, "pip")
    lines.append("# pip install -r requirements.txt; whatever is installed later: pip install -c constraints.txt ...")
    if found.extra_index:
        lines.append(f"--index-url {found.extra_index}")
    option = "--find-links" if found.index_kind == "links" else "--extra-index-url"
    lines += [
        "# The build in the version (+...) is on this index only: no other package can take its place.",
        f"{option} {found.index}",
    ]
    lines += [*_own(found), *_ready(found)]
    if found.compiled:
        lines.append("# Compiled against torch, so after it: pip install --no-build-isolation " + " ".join(_compiled(found)))
    return _text(lines)


@exports("constraints")
def constraints(plan: Plan, found: Environment) -> str:
    """constraints.txt: installs nothing, and keeps what belongs together."""
    lines = _head(plan, found, "constraints")
    lines.append("# pip install -c constraints.txt PACKAGE: whatever PACKAGE wants, these stay.")
    return _text([*lines, *found.constraints])


@exports("conda")
def conda(plan: Plan, found: Environment) -> str:
    """environment.yml: Python (and the compiler, where one is needed) of conda, torch by pip."""
    update = newest_update(found.toolkit) if found.toolkit else None
    forge = f"{found.channels}/conda-forge" if found.channels else "conda-forge"
    lines = _head(plan, found, "conda")
    lines += ["# conda env create -f environment.yml", f"name: {_PROJECT}", "channels:"]
    if update is not None:
        lines += ["  # nvcc and the headers, for compiling extensions", f"  - nvidia/label/cuda-{update['cuda']}"]
    lines += [f"  - {forge}", "  - nodefaults", "dependencies:", f"  - python={found.python}", "  - pip"]
    if update is not None:
        lines += ["  - cuda-toolkit", "  - cxx-compiler", "  - ninja"]
    lines += ["  # by pip: PyTorch's own conda channel ended with 2.5; do not add conda's pytorch beside it", "  - pip:"]
    if found.extra_index:
        lines.append(f"      - --index-url {found.extra_index}")
    option = "--find-links" if found.index_kind == "links" else "--extra-index-url"
    lines.append(f"      - {option} {found.index}")
    lines += [f"      - {_quoted(pin)}" for pin in (*_own(found), *_ready(found))]
    if found.compiled:
        lines.append("# Then, compiled against torch: pip install --no-build-isolation " + " ".join(_compiled(found)))
    return _text(lines)


def _marker(plan: Plan) -> str:
    system = "win32" if _asked(plan, "os", "linux") == "windows" else "linux"
    machine = _asked(plan, "arch", "x86_64")
    return f"sys_platform == '{system}' and platform_machine == '{'AMD64' if system == 'win32' else machine}'"


@exports("uv")
def uv(plan: Plan, found: Environment) -> str:
    """pyproject.toml for uv: torch and its companions from their index, all else from the usual one."""
    index = f"pytorch-{found.build}"
    pins = [*_own(found), *_ready(found), *_compiled(found)]
    lines = _head(plan, found, "uv")
    lines += ["# uv sync", "[project]", f"name = {_quoted(_PROJECT)}", 'version = "0"']
    lines += [f"requires-python = {_quoted(_this_python(found))}", "dependencies = ["]
    lines += [f"    {_quoted(pin)}," for pin in (*pins, *(BUILD_TOOLS if found.compiled else ()))]
    lines += ["]", "", "[tool.uv]", "package = false", "# resolved for this machine alone: these builds are for no other"]
    lines.append(f"environments = [{_quoted(_marker(plan))}]")
    lines.append(f"constraint-dependencies = [{', '.join(map(_quoted, _loose(found)))}]")
    if found.compiled:
        lines += [
            "# compiled against the torch that is installed",
            f"no-build-isolation-package = {json.dumps(list(found.compiled))}",
        ]
    if found.index_kind == "links":
        lines.append(f"find-links = [{_quoted(found.index)}]")
    else:
        lines += ["", "[tool.uv.sources]", *(f"{name_of(pin)} = {{ index = {_quoted(index)} }}" for pin in _own(found))]
        lines += ["", "[[tool.uv.index]]", f"name = {_quoted(index)}", f"url = {_quoted(found.index)}"]
        lines.append("explicit = true  # for the packages named above only")
    if found.extra_index:
        lines += ["", "[[tool.uv.index]]", 'name = "mirror"', f"url = {_quoted(found.extra_index)}", "default = true"]
    return _text(lines)


def _this_python(found: Environment) -> str:
    """This minor version alone: torch's wheels are per minor."""
    first, second = found.python.split(".")[:2]
    return f">={first}.{second},<{first}.{int(second) + 1}"


def _loose(found: Environment) -> list[str]:
    """Companions that are not wanted now: without the build, which is on an index that they are not tied to."""
    wanted = {name_of(pin) for pin in found.requirements}
    return [pin.partition("+")[0] for pin in found.constraints if name_of(pin) not in wanted]


@exports("pixi")
def pixi(plan: Plan, found: Environment) -> str:
    """pixi.toml: Python of conda-forge, torch and all that depends on it as wheels."""
    platform = {
        ("windows", "x86_64"): "win-64", ("linux", "aarch64"): "linux-aarch64", ("wsl", "aarch64"): "linux-aarch64",
    }.get((_asked(plan, "os", "linux"), _asked(plan, "arch", "x86_64")), "linux-64")  # fmt: skip
    forge = f"{found.channels}/conda-forge" if found.channels else "conda-forge"
    update = newest_update(found.toolkit) if found.toolkit else None
    channels = ([f"nvidia/label/cuda-{update['cuda']}"] if update else []) + [forge]
    lines = _head(plan, found, "pixi")
    lines += ["# pixi install", "[workspace]", f"name = {_quoted(_PROJECT)}", f"channels = {json.dumps(channels)}"]
    lines += [f"platforms = [{_quoted(platform)}]", "", "[dependencies]", f"python = {_quoted(found.python + '.*')}"]
    if update is not None:
        lines += ["# nvcc and a compiler, for extensions", 'cuda-toolkit = "*"', 'cxx-compiler = "*"', 'ninja = "*"']
    if found.compiled:
        lines += ['setuptools = "*"', 'wheel = "*"']
    lines += [
        "",
        "# wheels, so that it is exactly this build; what depends on torch must then be a wheel too",
        "[pypi-dependencies]",
    ]
    lines += [_pixi_pin(pin, found) for pin in (*_own(found), *_ready(found), *_compiled(found))]
    options = []
    if found.extra_index:
        options.append(f"index-url = {_quoted(found.extra_index)}")
    if found.index_kind == "links":
        options.append(f"find-links = [{{ url = {_quoted(found.index)} }}]")
    if found.compiled:
        options.append(f"no-build-isolation = {json.dumps(list(found.compiled))}")
    return _text([*lines, *(["", "[pypi-options]", *options] if options else [])])


def _pixi_pin(pin: str, found: Environment) -> str:
    specifier = _specifier(pin) or "*"
    if name_of(pin) in BUILT_PER_CUDA and found.index_kind == "index":
        return f"{name_of(pin)} = {{ version = {_quoted(specifier)}, index = {_quoted(found.index)} }}"
    return f"{name_of(pin)} = {_quoted(specifier)}"


@exports("dockerfile")
def dockerfile(plan: Plan, found: Environment) -> str:
    """Dockerfile: a slim Python where wheels bring everything, NVIDIA's image with nvcc where something is compiled.

    Raises:
        UsageError: an environment of Windows.
    """
    if _asked(plan, "os", "linux") == "windows":
        raise UsageError("an image is Linux, and this environment is one of Windows", remedy="Give --os linux.")
    arch = _asked(plan, "arch", "x86_64")
    gpus = "" if found.build == "cpu" else " --gpus all"
    lines = _head(plan, found, "dockerfile")
    lines += [f"# docker build -t {_PROJECT}{' --platform linux/arm64' if arch == 'aarch64' else ''} ."]
    lines += [f"# docker run --rm -it{gpus} --ipc=host {_PROJECT}", ""]
    lines += _devel_base(found) if found.toolkit else _slim_base(plan, found)
    lines += ["", *_installs(found), "", f"USER {_UID}", "WORKDIR /home/user", 'CMD ["python"]']
    return _text(lines)


def _slim_base(plan: Plan, found: Environment) -> list[str]:
    cpu = found.build == "cpu"
    what = "CPU only." if cpu else "No CUDA image: the wheels bring CUDA, cuDNN and NCCL, the host brings the driver."
    lines = [f"# {what}", f"FROM python:{found.python}-slim", ""]
    if plan.purpose == "training" and not cpu:
        lines += ["# torch.compile and triton call a C compiler when they run.", *_run(*_apt("build-essential"), _USER)]
    else:
        lines += [*_run(_USER)]
    if not cpu:
        lines += ["", "# What the container runtime is to bring from the host's driver."]
        lines.append("ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    return lines


def _run(*steps: str) -> list[str]:
    """One RUN of several commands; Debian and Ubuntu keep the newest version of a package only, so apt pins none."""
    why = ["# hadolint ignore=DL3008"] if any("apt-get install" in step for step in steps) else []
    first, *rest = steps
    lines = [f"RUN {first}", *(f"    && {step}" for step in rest)]
    return [*why, *(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _apt(*names: str) -> list[str]:
    install = f"apt-get install -y --no-install-recommends {' '.join(names)}"
    return ["apt-get update", install, "rm -rf /var/lib/apt/lists/*"]


def _devel_base(found: Environment) -> list[str]:
    image, release, python = _devel_image(found)
    lines = [f"# nvcc {found.toolkit} and its headers, to compile extensions; for running alone no CUDA image is needed."]
    lines += [f"FROM {image}", ""]
    if python == found.python:
        tools = _apt("build-essential", "git", "python3-dev", "python3-venv")
        lines += [f"# Python {python} is that of Ubuntu {release}.", *_run(*tools, "python3 -m venv /opt/venv", _USER)]
    else:
        tools = _apt("build-essential", "ca-certificates", "git", "python3-venv")
        uv = ["python3 -m venv /opt/uv", "/opt/uv/bin/pip install --no-cache-dir uv"]
        make = f"UV_PYTHON_INSTALL_DIR=/opt/python /opt/uv/bin/uv venv --seed --python {found.python} /opt/venv"
        lines += [f"# Ubuntu {release} ships Python {python or 'of its own'}: uv brings {found.python}."]
        lines += ["# hadolint ignore=DL3008,DL3013", *_run(*tools, *uv, make, _USER)[1:]]
    return [*lines, "ENV PATH=/opt/venv/bin:$PATH CUDA_HOME=/usr/local/cuda"]


def _devel_image(found: Environment) -> tuple[str, str, str]:
    """NVIDIA's image with nvcc, its Ubuntu, and the Python of that; an Ubuntu with the wanted Python if there is one.

    Raises:
        UsageError: no image of this CUDA major is in the table.
    """
    wanted = found.toolkit or ""
    rows = [
        row for row in tables.rows("compat/base_images") if row["image"] == "nvidia/cuda" and "devel" in row["flavors"].split()
    ]
    same = [row for row in rows if row["cuda"] == wanted] or [row for row in rows if major(row["cuda"]) == major(wanted)]
    if not same:
        raise UsageError(f"no image with CUDA {wanted} is in the tables", remedy="Name another toolkit with --cuda.")
    row = max(same, key=lambda row: version(row["version"]))
    pythons = {r["release"]: r["python"] for r in tables.rows("compat/glibc") if r["distribution"] == "Ubuntu" and r["python"]}
    releases = [release for release in row["ubuntu"].split() if release in pythons] or row["ubuntu"].split()
    release = next((one for one in releases if pythons.get(one) == found.python), releases[-1])
    tag = fill(row["tag"], version=row["version"], flavor="devel", ubuntu=release)
    return f"{row['image']}:{tag}", release, pythons.get(release, "")


def _installs(found: Environment) -> list[str]:
    """torch first and alone: its layer is large and changes least."""
    general = f" --index-url {found.extra_index}" if found.extra_index else ""
    own = f"{general} --find-links {found.index}" if found.index_kind == "links" else f" --index-url {found.index}"
    lines = ["ENV PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1", *_run(_pip(_own(found), own))]
    if _ready(found):
        lines += ["# A layer of its own: that of torch is large and seldom changes.", "# hadolint ignore=DL3059"]
        lines += _run(_pip(_ready(found), general))
    if found.compiled:
        lines += ["", "# Compiled against the torch above; MAX_JOBS bounds the memory that it takes.", "ENV MAX_JOBS=4"]
        lines.append("# hadolint ignore=DL3013")
        lines += _run(_pip(BUILD_TOOLS, general), _pip(_compiled(found), f"{general} --no-build-isolation"))
    return lines


def _pip(pins: Sequence[str], options: str) -> str:
    return f"pip install --no-cache-dir{options} {' '.join(map(_quoted, pins))}"
