"""Will these versions work together? Pure rules over the rows of `catalog/compat/`; every answer names its source.

The tables end somewhere. What lies beyond is unknown, never a guess.

question.py        what is asked: any subset of driver, GPUs, CUDA, cuDNN, PyTorch, Python, system, packages
gpucode.py drivers.py builds.py packages.py wheels.py    what the tables say, one subject each
rules_*.py         the rules; doctor's checks use the same functions of the tables
answer.py          the verdict, the newest build that suits, and what to relax where none does
"""

from dltool.callable_module import make_callable
from dltool.compat.answer import TorchChoice, answer, judge, newest_torch, recommend, support
from dltool.compat.builds import TorchCode, cuda_of_build, torch_build, torch_code, torch_release, wheel_index
from dltool.compat.drivers import DriverFloor, driver_floor, dropped_by_cuda
from dltool.compat.gpucode import code_runs_on, ptx_runs_on
from dltool.compat.packages import companion_pin, companion_suits
from dltool.compat.question import Question, of_machine
from dltool.compat.versions import agree, is_older, known_version, version
from dltool.compat.wheels import WheelFacts, wheel_facts

__all__ = [
    "DriverFloor", "Question", "TorchChoice", "TorchCode", "WheelFacts", "agree", "answer", "code_runs_on", "companion_pin",
    "companion_suits", "cuda_of_build", "driver_floor", "dropped_by_cuda", "is_older", "judge", "known_version", "newest_torch",
    "of_machine", "ptx_runs_on", "recommend", "support", "torch_build", "torch_code", "torch_release", "version",
    "wheel_facts", "wheel_index",
]  # fmt: skip

make_callable(__name__)
