from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import fake_nvml
import hypothesis
import psutil
import pytest

from dltool.probe import nvml as nvml_probe

hypothesis.settings.register_profile("dltool", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("dltool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not nvml_probe.read().gpus:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU that NVML can see"))


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of models run beside one another: threads of several that wait for one another would spin most of the time."""
    torch = sys.modules.get("torch") if request.path.name.startswith("test_zoo") else None
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    """No child, zombies included, and no pipe that was not closed."""
    before = set(psutil.Process().children())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(warning.message) for warning in caught]
    assert set(psutil.Process().children()) == before


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a libnvidia-ml.so.1 that answers as recorded, and a libcuda.so.1 that can be loaded."""
    if fake_nvml.compiler() is None:
        pytest.skip("no gcc to compile the stand-in for libnvidia-ml.so.1 with")
    directory = tmp_path_factory.mktemp("nvml")
    fake_nvml.build(directory)
    return directory


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fake_nvml.Play:
    def play(recording: Mapping[str, fake_nvml.Answer], *, error: str = "", hang: str = "", crash: str = "") -> None:
        answers = tmp_path / "nvml-answers.txt"
        fake_nvml.write(recording, answers)
        for name, value in fake_nvml.environment(nvml_library, answers, error=error, hang=hang, crash=crash).items():
            monkeypatch.setenv(name, value)

    return play
