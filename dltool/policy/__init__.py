"""What a machine must be: `dltool.toml`, judged by `dltool doctor --policy` and written by `--freeze`."""

from dltool.policy.applying import apply
from dltool.policy.explanations import EXPLANATIONS
from dltool.policy.freezing import freeze, to_toml
from dltool.policy.model import SCHEMA, Policy
from dltool.policy.reading import load

__all__ = ["EXPLANATIONS", "SCHEMA", "Policy", "apply", "freeze", "load", "to_toml"]
