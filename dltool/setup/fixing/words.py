"""What is said of a plan: the titles of steps, why something is left to people, and why nothing can be done at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dltool.lang import tr
from dltool.results import FixPlace, Scope
from dltool.setup.fixing.shapes import Pip

_NAMED = 4


def title(removals: Sequence[Pip], installs: Sequence[Pip]) -> str:
    """What a step does, in a few words."""
    gone = _some(text for call in removals for text in call.packages)
    come = _some(text.replace("==", " ") for call in installs for text in call.packages)
    again = any(call.force for call in installs)
    remove = tr(f"remove {gone}", f"卸载 {gone}")
    install = tr(f"install {come} again", f"重新安装 {come}") if again else tr(f"install {come}", f"安装 {come}")
    if gone and come:
        return remove + tr(", then ", "，然后") + install
    return install if come else remove


def _some(texts: Iterable[str]) -> str:
    names = list(dict.fromkeys(texts))
    more = tr(f" and {len(names) - _NAMED} more", f" 等 {len(names)} 个") if len(names) > _NAMED else ""
    return tr(", ", "、").join(names[:_NAMED]) + more


def reason(name: str, scope: Scope) -> str:
    """Why a problem or a remedy is left to people, and where its lines belong; empty where there are none."""
    where = tr(" on the host", "（在宿主机上）") if scope is Scope.HOST else ""
    return {
        "root": tr(f"needs root{where}", f"需要 root 权限{where}"),
        "reboot": tr(f"needs root and a restart{where}", f"需要 root 权限并重启{where}"),
        "provider": tr("for the provider of this machine: send them this", "请把这些内容发给机器的提供方"),
        "shell": tr("works only in the shell that starts your program", "只在启动你程序的那个 shell 里有效"),
        "container": tr("belongs to the command that starts the container, on its host", "属于在宿主机上启动容器的那条命令"),
        "placeholder": tr("fill in the word in capitals first", "请先把大写的占位词换成实际内容"),
        "build": tr(
            "compiles for long and needs a CUDA toolkit and a compiler: start it yourself",
            "编译耗时长，且需要 CUDA 工具包和编译器：请自行执行",
        ),
        "environment": tr("this environment is not changed by dltool, see above", "dltool 不会改动这个环境，原因见上"),
        "no-pip": tr("there is no pip in this environment: bring it by ensurepip", "此环境里没有 pip：请先用 ensurepip 安装"),
        "local-files": tr(
            "would replace what was installed from files of yours, which dltool could not put back",
            "会替换掉从你本地文件安装的软件包，dltool 无法将其还原",
        ),
        "origin": tr("comes from a plugin or a policy, whose commands are never run", "来自插件或策略，其命令从不自动执行"),
        "conflict": tr(
            "wants another version than a step above: judged again after it", "与上面某一步要求的版本不同：该步之后会重新判断"
        ),
        "words": "",
        "other": tr(f"outside the Python environment{where}", f"在 Python 环境之外{where}"),
    }[name]


def blocked(place: FixPlace | None) -> str | None:
    """Why nothing may be installed into an environment, and what to do instead; None where it may."""
    if place is None:
        return None
    advice = tr("Make an environment of your own: dltool setup create DIR", "请创建自己的环境：dltool setup create DIR")
    name = place.python
    if place.externally_managed or (place.kind == "system" and place.prefix == "/usr"):
        return tr(
            f"{name} belongs to the system's package manager (PEP 668): nothing is installed into it. {advice}",
            f"{name} 由系统的包管理器管理（PEP 668）：不会向其中安装任何东西。{advice}",
        )
    if place.kind == "conda":
        return tr(
            f"{name} is of a conda environment, whose solver does not know what pip changes: run the lines yourself, or take "
            "another environment.",
            f"{name} 属于 conda 环境，pip 的改动不为 conda 求解器所知：请自行执行这些命令，或换用别的环境。",
        )
    if place.writable is False:
        where = place.packages or name
        return tr(f"{where} may not be written. {advice}", f"{where} 不可写。{advice}")
    return None
