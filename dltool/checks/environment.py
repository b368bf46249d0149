"""The Python environment itself: whether its interpreter starts at all."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_ACTIVATED = "the activated "
_SLOW = "it did not start within"


@check(
    "environment-broken",
    zh="""所激活环境的 Python 能启动吗？

    虚拟环境中放的是指向创建它的那个 Python 的链接。那个 Python 一旦更新、移动或删除，环境里的一切都无法运行。
    也可能是某个每次启动都会执行的文件（.pth 文件、sitecustomize.py）让解释器退出或卡住。

    解决：用 `python3 -m venv --upgrade DIRECTORY` 把环境重新链接到同一次版本的 Python；换成其他版本时请重建环境。
    如果 `python -S -c pass` 能运行，问题就出在 .pth 文件或 sitecustomize.py。

    预防：不要移动或复制虚拟环境；系统 Python 升级后重建环境，并用锁定文件保存其内容。
    """,
)
def environment_broken(machine: Machine) -> Iterator[Finding]:
    """Does the Python of the activated environment start?

    A virtual environment holds links to the Python that made it. Once that Python was updated, moved or removed, nothing in the
    environment runs. Or a file that runs at every start (a .pth file, sitecustomize.py) ends or holds up the interpreter.

    Mend: Link it anew to a Python of the same minor version with `python3 -m venv --upgrade DIRECTORY`; with another one make
    the environment anew. If `python -S -c pass` works, a .pth file or sitecustomize.py is at fault.

    Prevent: Neither move nor copy a virtual environment; make it anew after the system's Python was updated, from a lock file.

    See: https://docs.python.org/3/library/venv.html https://docs.python.org/3/library/site.html
    """
    reason = machine.gaps.get("python", "")
    if machine.python is not None:
        version = machine.python.version
        yield Finding(status=Status.PASS, summary=tr(f"Python {version} starts", f"Python {version} 能够启动"))
        return
    if not reason.startswith(_ACTIVATED):
        why = machine.why_missing("python")
        unknown = tr(f"the Python environment could not be read: {why}", f"无法读取 Python 环境：{why}")
        yield Finding(status=Status.UNKNOWN, summary=unknown)
        return
    executable, _, said = reason.removeprefix(_ACTIVATED).partition(": ")
    slow = said.startswith(_SLOW)
    yield Finding(
        status=Status.WARN if slow else Status.FAIL,
        summary=tr(
            f"the activated Python does not start: {said} ({executable})", f"所激活的 Python 无法启动：{said}（{executable}）"
        ),
        why=tr(
            "Every program of this environment is started by it; what is installed in it was not looked at.",
            "该环境的所有程序都由它启动；其中安装了什么没有查看。",
        ),
        evidence=(Evidence(fact="python", value=said, read_from=executable),),
        remedies=_remedies(executable, said),
    )


def _remedies(executable: str, said: str) -> tuple[Remedy, ...]:
    prefix = shlex.quote(executable.rpartition("/bin/")[0] or executable)
    anew = Remedy(
        text=tr(
            "Link it to a Python of the same minor version that is here; with another one, make the environment anew.",
            "把它链接到本机上同一次版本的 Python；没有的话，请重建环境。",
        ),
        commands=(f"python3 -m venv --upgrade {prefix}",),
    )
    if "no such program" in said:
        return (anew,)
    bare = Remedy(
        text=tr(
            "Try it without what runs at each start (.pth files, sitecustomize.py): if that works, one of those is at fault.",
            "去掉每次启动都会执行的文件（.pth、sitecustomize.py）再试：如果能运行，问题就在其中之一。",
        ),
        commands=(f"timeout 20 {shlex.quote(executable)} -S -c pass", f"ls {prefix}/lib/python*/site-packages/*.pth"),
        risk=Risk.READ_ONLY,
    )
    return (bare, anew)
