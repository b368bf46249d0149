"""What of a machine may be shown to others: an allow-list, not a search for secrets.

Only numbers, truth values and texts whose type names a `Share` pass; a text that declares nothing becomes "[redacted]".
Hashes are keyed with the machine's own id, so that they are stable here and cannot be guessed elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct
from msgspec.structs import replace

from dltool.machine import Machine, Share

REDACTED = "[redacted]"
_UUID = re.compile(r"\b(?:GPU|MIG)-[0-9a-fA-F]+(?:-[0-9a-fA-F]+)*")
_HASHED = re.compile(r"(?:GPU-|MIG-)?#[0-9a-f]{16}")
_HOMES = re.compile(r"(/home/|/Users/|[A-Za-z]:\\Users\\)[^/\\:;,'\"\s~\[]+")
_IMPERSONAL = frozenset((
    "cuda", "debian", "docker", "dltool", "fedora", "gpu", "jetson", "kubernetes", "linux", "localhost", "machine", "nvidia",
    "podman", "pip", "python", "root", "runner", "torch", "ubuntu", "user",
))  # fmt: skip
"""As a host or user name these tell nothing, and as words of the facts they must stay."""
T = TypeVar("T", bound=Struct)


class Redactor:
    """Rewrites facts so that they can be shared.

    Args:
        key: secret of the machine; the same key gives the same hashes.
        home: the user's home directory, shown as `~`; its last part, the user name, is replaced in other paths too.
        hostname: replaced wherever it occurs as a word, with its domain or without.
        uuids: of the GPUs here; CUDA accepts unique beginnings of them, which must hash like the whole.
    """

    def __init__(self, key: bytes, *, home: str = "", hostname: str = "", uuids: Sequence[str] = ()) -> None:
        self._key = key
        self._uuids = uuids
        self._home = home.rstrip("/\\")
        self._user = _names(r"(?<=[/\\]){}(?=$|[/\\:;,'\"\s])", re.split(r"[/\\]", self._home)[-1])
        self._hostname = _names(r"(?<![\w-]){}(?![\w-])", hostname, hostname.partition(".")[0])

    def digest(self, value: str) -> str:
        """`#` and a 64-bit keyed hash, behind the "GPU-" or "MIG-" of a UUID; what is one already stays as it is."""
        if _HASHED.fullmatch(value):
            return value
        prefix = value[:4] if value.startswith(("GPU-", "MIG-")) else ""
        return f"{prefix}#{hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:16]}"

    def text(self, value: str) -> str:
        """`value` without home directory, other users' names, host name and device UUIDs."""
        if self._home and self._home != "/":
            value = re.sub(rf"{re.escape(self._home)}(?=$|[/\\:;,'\"\s])", "~", value)
        value = _HOMES.sub(r"\1[user]", value)
        if self._user:
            value = self._user.sub("[user]", value)
        if self._hostname:
            value = self._hostname.sub("[host]", value)
        return _UUID.sub(lambda match: self.digest(self._whole_uuid(match[0])), value)

    def _whole_uuid(self, beginning: str) -> str:
        whole = [uuid for uuid in self._uuids if uuid.lower().startswith(beginning.lower())]
        return whole[0] if len(whole) == 1 else beginning

    def facts(self, value: T) -> T:
        """A copy of a struct of facts that holds only what may be shared."""
        changes = {
            name: _shared(hint, getattr(value, name), self)
            for name, hint in zip(value.__struct_fields__, _hints(type(value)), strict=True)
        }
        return replace(value, **changes)


def _names(pattern: str, *names: str) -> re.Pattern[str] | None:
    """What finds any of the names that could tell somebody apart, the longest first."""
    telling = [re.escape(name) for name in names if len(name) > 2 and name.lower() not in _IMPERSONAL]
    return re.compile(pattern.format(f"(?:{'|'.join(telling)})")) if telling else None


def redact(machine: Machine, redactor: Redactor) -> Machine:
    """The machine as it may leave: redacting twice changes nothing more."""
    return replace(redactor.facts(machine), schema=machine.schema)


@cache
def _hints(kind: type[Struct]) -> tuple[Any, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(hints[name] for name in kind.__struct_fields__)


def _shared(hint: Any, value: Any, redactor: Redactor) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Struct):
        return redactor.facts(value)
    inner = _inner_types(hint)
    if isinstance(value, str):
        return _shared_text(inner, value, redactor)
    if isinstance(value, tuple):
        return tuple(_shared(inner[0], item, redactor) for item in value)
    if isinstance(value, Mapping):
        return {redactor.text(key): _shared(inner[-1], item, redactor) for key, item in value.items()}
    return REDACTED


def _shared_text(hints: tuple[Any, ...], value: str, redactor: Redactor) -> str:
    rules: Mapping[Share, Callable[[str], str]] = {Share.TEXT: redactor.text, Share.HASHED: redactor.digest}
    for hint in hints:
        for note in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            if note in rules:
                return rules[note](value)
    return REDACTED


def _inner_types(hint: Any) -> tuple[Any, ...]:
    """The members of a union, tuple or mapping; the hint itself when it is none of them."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(inner for member in get_args(hint) for inner in _inner_types(member))
    if get_origin(hint) is Annotated:
        return (hint,)
    if get_origin(hint) is tuple:
        return (get_args(hint)[0],)
    return get_args(hint) or (hint,)
