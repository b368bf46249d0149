"""Whether a container was given its host's GPUs, and still has them."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_NONE = ("void", "none", "")


def outside(machine: Machine) -> Finding | None:
    """Why a check of containers does not apply here; None where it does."""
    if machine.os.container:
        return None
    return Finding(status=Status.SKIP, summary=tr("not in a container", "不在容器中"))


def variable(machine: Machine, name: str) -> Evidence:
    """A variable of the environment as evidence."""
    return Evidence(fact=name, value=machine.environment.get(name), read_from="environment")


def _gpu_nodes(machine: Machine) -> list[str]:
    """The device files of GPUs: /dev/nvidia0 and the like."""
    return [node.path for node in machine.driver.device_nodes if node.path.removeprefix("/dev/nvidia").isdigit()]


@check(
    "container-without-gpu",
    zh="""启动容器时是否带上了宿主机的 GPU？

    宿主机有 GPU，驱动的内核模块也已加载，但容器里既没有设备文件，也没有驱动的库：启动时没有加 `--gpus all`，
    或宿主机没有安装 nvidia-container-toolkit。在容器里面安装什么都无济于事。把 NVIDIA_VISIBLE_DEVICES 设为 void 或 none，
    则是有意造成同样的结果。

    解决：重新启动容器并带上 GPU：`docker run --rm --gpus all IMAGE nvidia-smi`。若 Docker 报错
    `could not select device driver ""`，请在宿主机上安装 nvidia-container-toolkit，再运行
    `sudo nvidia-ctk runtime configure --runtime=docker` 和 `sudo systemctl restart docker`。

    预防：把 GPU 写进 compose 文件；在 Kubernetes 中写进 pod 的资源限制（`nvidia.com/gpu: 1`）。让容器先运行 `nvidia-smi`。
    """,
)
def container_without_gpu(machine: Machine) -> Iterator[Finding]:
    """Was this container started with the host's GPUs?

    The host has a GPU and its driver's kernel module is loaded, but the container holds no device file and no library of the
    driver: it was started without `--gpus all`, or the host lacks nvidia-container-toolkit. Nothing that is installed inside
    the container mends that. NVIDIA_VISIBLE_DEVICES=void or none does the same on purpose.

    Mend: Start it anew with the GPUs: `docker run --rm --gpus all IMAGE nvidia-smi`. If Docker answers
    `could not select device driver ""`, install nvidia-container-toolkit on the host and run
    `sudo nvidia-ctk runtime configure --runtime=docker` and `sudo systemctl restart docker`.

    Prevent: Write the GPUs into the compose file, in Kubernetes into the limits of the pod (`nvidia.com/gpu: 1`), and let the
    container run `nvidia-smi` first.

    See: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
    https://docs.docker.com/compose/how-tos/gpu-support/ https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/
    """
    if (elsewhere := outside(machine)) is not None:
        yield elsewhere
        return
    driver = machine.driver
    if machine.gpus or _gpu_nodes(machine):
        summary = tr("the container was given device files of GPUs", "容器分到了 GPU 的设备文件")
        yield Finding(status=Status.PASS, summary=summary)
        return
    on_host = sum(device.kernel_driver == "nvidia" for device in machine.pci or ())
    if driver.kernel_module_version is None and not on_host:
        summary = tr("nothing shows that the host has a GPU with NVIDIA's driver", "没有迹象表明宿主机有使用 NVIDIA 驱动的 GPU")
        yield Finding(status=Status.SKIP, summary=summary)
    elif driver.nvml_library or driver.libcuda or {"driver", "driver.device_nodes"} & machine.gaps.keys():
        summary = tr("whether the container was given GPUs cannot be told", "无法判断容器是否分到了 GPU")
        yield Finding(status=Status.UNKNOWN, summary=summary)
    else:
        yield _not_given(machine, on_host)


def _not_given(machine: Machine, on_host: int) -> Finding:
    hidden = machine.environment.get("NVIDIA_VISIBLE_DEVICES")
    setting = f"NVIDIA_VISIBLE_DEVICES={hidden or tr('empty', '空')}" if hidden in _NONE else ""
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the host has an NVIDIA GPU, but this container was started without it{f' ({setting})' if setting else ''}",
            f"宿主机有 NVIDIA GPU，但启动该容器时没有带上{f'（{setting}）' if setting else ''}",
        ),
        why=tr(
            "There is no /dev/nvidia* and no library of the driver here; the container runtime puts them in, not the image.",
            "这里没有 /dev/nvidia*，也没有驱动的库；它们由容器运行时放入，而不是镜像自带的。",
        ),
        evidence=(
            Evidence(
                fact="kernel module of the host",
                value=machine.driver.kernel_module_version,
                read_from="/proc/driver/nvidia",
            ),
            Evidence(fact="GPUs of the host", value=on_host, read_from=SYSFS),
            variable(machine, "NVIDIA_VISIBLE_DEVICES"),
        ),
        remedies=(
            Remedy(
                text=tr("Start it with the GPUs.", "启动时带上 GPU。"),
                commands=("docker run --rm --gpus all IMAGE nvidia-smi",),
            ),
            Remedy(
                text=tr(
                    'If Docker answers `could not select device driver ""`, register NVIDIA\'s runtime on the host.',
                    '如果 Docker 报错 `could not select device driver ""`，请在宿主机上注册 NVIDIA 运行时。',
                ),
                commands=(
                    "sudo apt-get install nvidia-container-toolkit",
                    "sudo nvidia-ctk runtime configure --runtime=docker",
                    "sudo systemctl restart docker",
                ),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


@check(
    "container-lost-gpu",
    zh="""容器是否还能访问启动时分到的设备文件？

    文件还在，但内核拒绝打开：宿主机上的 `systemctl daemon-reload` 重写了容器的设备规则，漏掉了运行时加入的 GPU。
    此后 NVML 报“Unknown Error”，而宿主机上的 nvidia-smi 正常。

    解决：`docker restart CONTAINER` 可恢复，直到下一次 reload。要彻底解决，请在宿主机上把 nvidia-container-toolkit 更新到
    1.18 或更高版本（默认通过 CDI 注入设备）；或运行 `sudo nvidia-ctk system create-dev-char-symlinks --create-all`，
    它创建 systemd 所查找的链接。

    预防：用 udev 规则在每次开机时创建这些链接，或在 /etc/docker/daemon.json 的 exec-opts 中设置
    `native.cgroupdriver=cgroupfs`，不让 systemd 管理容器的控制组。
    """,
)
def container_lost_gpu(machine: Machine) -> Iterator[Finding]:
    """Does the container still have access to the device files that it was started with?

    The files are there but the kernel refuses to open them: a `systemctl daemon-reload` on the host wrote the container's
    device rules anew, without the GPUs that the runtime had added. NVML then fails with "Unknown Error", while nvidia-smi on
    the host works.

    Mend: `docker restart CONTAINER` helps until the next reload. For good, update nvidia-container-toolkit on the host to
    1.18 or later (it hands over devices by CDI), or run `sudo nvidia-ctk system create-dev-char-symlinks --create-all`, which
    makes the links that systemd looks for.

    Prevent: Make these links at each start of the host by a udev rule, or keep systemd out of the containers' control groups:
    `native.cgroupdriver=cgroupfs` in exec-opts of /etc/docker/daemon.json.

    See: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html
    https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
    """
    if (elsewhere := outside(machine)) is not None:
        yield elsewhere
        return
    nodes = _gpu_nodes(machine)
    error = machine.driver.nvml_error or ""
    refused = "UNKNOWN" in error or "NO_PERMISSION" in error
    if machine.gpus or not nodes or not refused:
        summary = tr("no sign that the container lost its devices", "没有容器丢失设备的迹象")
        yield Finding(status=Status.PASS, summary=summary)
        return
    yield Finding(
        status=Status.FAIL,
        summary=tr(
            "the container has lost its access to the GPUs: the device files are there, but the driver may not be opened",
            "容器失去了对 GPU 的访问权：设备文件还在，但无权打开驱动",
        ),
        why=tr(
            "The host's systemd reloaded and dropped the GPUs from the device rules of the container's control group.",
            "宿主机的 systemd 重新加载时，把 GPU 从容器控制组的设备规则中去掉了。",
        ),
        evidence=(
            Evidence(fact="NVML", value=error, read_from="nvmlInit"),
            Evidence(fact="device files", value=" ".join(nodes), read_from="/dev"),
        ),
        remedies=_keep_devices(),
        scope=Scope.HOST,
    )


def _keep_devices() -> tuple[Remedy, ...]:
    return (
        Remedy(
            text=tr(
                "Restart the container: it works again until the next reload.", "重启容器：在下一次 reload 之前可恢复正常。"
            ),
            commands=("docker restart CONTAINER",),
        ),
        Remedy(
            text=tr(
                "For good, on the host: take nvidia-container-toolkit 1.18 or later, or make the links that systemd looks for.",
                "要彻底解决，请在宿主机上安装 nvidia-container-toolkit 1.18 或更高版本，或创建 systemd 所查找的链接。",
            ),
            commands=(
                "sudo apt-get install --only-upgrade nvidia-container-toolkit",
                "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
            ),
            risk=Risk.ROOT,
        ),
        Remedy(
            text=tr("Or name the devices, which systemd then knows.", "或者逐一写明设备，systemd 就会认得它们。"),
            commands=("docker run --gpus all --device /dev/nvidia0 --device /dev/nvidiactl --device /dev/nvidia-uvm IMAGE",),
        ),
    )
