"""What the last words of a failed command mean: one line for the user, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NO_PLACE = r"No space left on device|Errno 28\b|Disk quota exceeded|ENOSPC"
_NO_NET = (
    r"Temporary failure in name resolution|Name or service not known|nodename nor servname|NameResolutionError|"
    r"Failed to establish a new connection|NewConnectionError|Network is unreachable|Connection refused|ConnectTimeout|"
    r"Read timed out|ReadTimeoutError|Connection reset by peer|RemoteDisconnected|dns error|error sending request|"
    r"CondaHTTPError|tcp connect error|client error \(Connect\)|No route to host|Max retries exceeded"
)
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (_NO_PLACE, "the disk is full", "Free some room, or name a directory on another disk; a CUDA build needs some 10 GB."),
    (
        r"ensurepip is not available|No module named '?ensurepip|No module named '?venv",
        "this Python comes without venv and ensurepip",
        "Debian and Ubuntu: apt-get install python3-venv; or choose another Python with --python.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|certificate verify failed|invalid peer certificate",
        "the index's certificate is not trusted",
        "Behind a proxy that opens TLS, name its certificate: PIP_CERT or SSL_CERT_FILE.",
    ),
    (
        r"ProxyError|407 Proxy Authentication|Tunnel connection failed",
        "the proxy refuses",
        "Look at HTTPS_PROXY and HTTP_PROXY.",
    ),
    (
        r"\b40[13] (?:Client Error|Unauthorized|Forbidden)|HTTP status client error \(40[13]",
        "the index refuses access",
        "Give a user and password for it, or name another with --mirror.",
    ),
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES|Hash mismatch",
        "a download is damaged or not what was expected",
        "Run it again; if it stays so, a mirror or proxy changes the files.",
    ),
    (
        r"Because (?P<what>\S+) (?:has no wheels with a matching|was not found)|no version of (?P<also>\S+)",
        "the index has no {what} for this Python and system",
        "Ask for another version or Python, or name an index that has it with --index.",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies|No solution found when resolving",
        "the packages asked for exclude one another",
        "See the lines above; leave one out, or leave its version open.",
    ),
    (
        r"(?:fatal error: \S+: No such file|command '\S*(?:gcc|cc|nvcc)\S*' failed|Failed building wheel for \S+)",
        "a package had to be compiled and could not be",
        "Ask for a version that has a wheel for this Python.",
    ),
    (
        _NO_NET,
        "the index cannot be reached",
        "Check network and proxy, or name an index that can be reached with --index "
        "(an URL, a folder of wheels, or `pip`: wherever pip looks by itself).",
    ),
    (
        r"(?:No matching distribution found for|Could not find a version that satisfies the requirement) (?P<what>\S+)",
        "the index has no {what} for this Python and system",
        "Ask for another version or Python, or name an index that has it with --index.",
    ),
    (
        r"(?:Permission denied|Read-only file system|Operation not permitted)[^\n]*",
        "something may not be written",
        "Name a directory that you may write; the log says what.",
    ),
    (r"\bMemoryError\b|Cannot allocate memory", "memory ran out", "Close other programs and run it again."),
)
"""Patterns in the order in which they count: offline, pip goes on to say that it found no version."""


def meaning(text: str) -> tuple[str, str] | None:
    """What went wrong and what to do; None where the words are not known."""
    for pattern, what, remedy in _MEANINGS:
        match = re.search(pattern, text)
        if match:
            named = next(filter(None, match.groupdict().values()), "")
            return what.format(what=named), remedy
    return None


def last_words(lines: Sequence[str]) -> str:
    """The line that most likely says why: the last one that calls itself an error, else the last."""
    spoken = [line.strip() for line in lines if line.strip()]
    errors = [line for line in spoken if re.match(r"(?:error|ERROR|Error|\w+Error|fatal)\b", line)]
    return (errors or spoken or ["it said nothing"])[-1]
