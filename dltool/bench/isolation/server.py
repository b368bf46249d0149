"""The process that forks: it imports what children need once, then makes a child for each request.

Requests and answers are pickles on a socket pair, each behind its length (`send`, `receive`). A request to fork carries the end
of a channel and a file for the child's stderr. A child is reaped only when asked, so that its number names nobody else before.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from typing import Any

from dltool.errors import DltoolError

_LENGTH = struct.Struct("!Q")


def send(channel: socket.socket, message: object) -> None:
    """Write one message."""
    data = pickle.dumps(message)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def receive(channel: socket.socket) -> Any:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
        TimeoutError: nothing came within the time-out of the socket.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    return pickle.loads(_exactly(channel, length))


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        try:
            part = channel.recv(min(count - len(parts), 1 << 20))
        except ConnectionError:
            part = b""
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def main(descriptor: int, preload: tuple[str, ...]) -> None:
    """Serve until the other side is gone.

    Args:
        descriptor: the socket.
        preload: modules to import first; one that cannot be imported is told by the child that needs it.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # those are for the caller, who tells the children
        signal.signal(each, signal.SIG_IGN)
    for name in preload:
        with suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that a child's collector does not touch, and thereby copy, every page
    with socket.socket(fileno=descriptor) as channel:
        send(channel, os.getpid())
        with suppress(EOFError):
            while True:
                _serve(channel)


def _serve(channel: socket.socket) -> None:
    """Answer one request: a byte that says which, and for a fork the two descriptors with it."""
    kind, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    if not kind:
        raise EOFError
    if kind == b"r":
        send(channel, os.waitpid(receive(channel), 0)[1])
        return
    server = os.getpid()
    child = os.fork()
    if child == 0:
        channel.close()
        _be_child(server, *descriptors)
    for each in descriptors:
        os.close(each)
    send(channel, child)


def _be_child(server: int, descriptor: int, errors: int) -> None:
    """Run calls until the caller closes the channel; never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(errors, sys.stderr.fileno() if sys.stderr else 2)
        _die_with(server)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with socket.socket(fileno=descriptor) as channel, suppress(EOFError, BrokenPipeError):
            while True:
                function, arguments = receive(channel)
                send(channel, _answer(function, arguments))
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _answer(function: Any, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """What a call came to: ("value", it), ("refused", an error for the user), ("interrupted", what there was by then)."""
    try:
        return "value", function(*arguments)
    except DltoolError as error:
        return "refused", (type(error), str(error), error.remedy)
    except KeyboardInterrupt as stop:
        return "interrupted", getattr(stop, "partial", None)
    except MemoryError as error:
        return "died", f"MemoryError: {error}".rstrip(": ")


def _die_with(server: int) -> None:
    """Linux: whatever ends the server ends its children; one that ended before this could be asked for does too."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, linux/prctl.h
    if os.getppid() != server:
        os._exit(1)
