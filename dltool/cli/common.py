"""What all commands share: their common options, the way out, and the one place that catches errors."""

from __future__ import annotations

import datetime
import errno
import functools
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dltool import __version__, lang
from dltool.errors import DltoolError, ExitCode, UsageError

if TYPE_CHECKING:
    from dltool.results import Report, Status

Format = Annotated[
    str | None,
    typer.Option("--format", "-f", help="Output format: text, json, markdown, junit, sarif, github or gitlab.", metavar="NAME"),
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Out = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.", metavar="FILE")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No talk on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show everything.")]
Python = Annotated[
    str | None,
    typer.Option("--python", help="Interpreter whose packages are meant; the activated one by default.", metavar="PATH"),
]


_ENDINGS = {"json": "json", "md": "markdown", "sarif": "sarif", "xml": "junit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where and how the result goes: the options of every command that takes an `out`."""

    format: Format = None
    json: Json = False
    output: Out = None
    quiet: Quiet = False
    verbose: Verbose = False

    @property
    def format_name(self) -> str:
        """The format asked for: by name, by --json, by the file's ending, else text."""
        ending = self.output.suffix.lower().removeprefix(".") if self.output else ""
        return self.format or ("json" if self.json else _ENDINGS.get(ending, "text"))

    def check(self) -> None:
        """Refuse what cannot be rendered.

        Raises:
            UsageError: an unknown format.
        """
        from dltool.render import FORMATS

        FORMATS.get(self.format_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenOutput(Output):
    """The same, in the reader's language."""

    lang: Annotated[
        str | None,
        typer.Option("--lang", help="Language of what is said: en or zh; else by DLTOOL_LANG or the locale.", metavar="LANG"),
    ] = None

    def language(self) -> str:
        """The language that is asked for. What programs read does not follow the locale, nor does what nothing here can show.

        Raises:
            UsageError: a language that is not spoken here.
        """
        by_people = self.format_name in ("text", "markdown")
        return lang.choose(self.lang, os.environ, by_locale=by_people and (self.output is not None or _shows("中文")))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnOutput(Output):
    """Where the result goes, and its roofline."""

    plot: Annotated[
        str | None, typer.Option("--plot", help="Draw the roofline: FILE.png, FILE.svg, or - here.", metavar="FILE")
    ] = None

    def check(self) -> None:
        """Refuse what cannot be rendered or drawn, before anything is measured.

        Raises:
            UsageError: an unknown format or kind of picture.
            CannotRun: the package that draws is not installed.
        """
        Output.check(self)
        if self.plot is None:
            return
        from dltool.render import plot as plots

        if self.plot == "-" and (self.format_name != "text" or self.output is not None):
            raise UsageError("--plot - draws in the terminal, beside text only", remedy="Name a file: --plot roofline.png")
        plots.check(self.plot)
        plots.check_package(self.plot)


def _shows(text: str) -> bool:
    """Whether stdout has these characters at all."""
    try:
        text.encode((sys.stdout and sys.stdout.encoding) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def report(command: str, **parts: Any) -> Report:
    """A report of this run; `command` is its name, "bench gemm"."""
    from dltool.results import Report

    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Report(dltool=__version__, created=now, command=tuple(command.split()), **parts)


def finish(
    result: Report,
    output: Output,
    *,
    bar: Status | None = None,
    keep: Report | None,
    looks: Mapping[str, Any] | None = None,
) -> None:
    """Render, write, keep a copy (of `keep`, which may say less), and leave with the report's exit code.

    `looks` are further fields of the renderer's `Style`.

    The result is out before the copy is tried: a full disk costs the copy, not the result. Where the result cannot be
    written, the copy is kept all the same, and what was found still decides the exit code.
    """
    from dltool.render import FORMATS
    from dltool.results import Status

    code = result.exit_code(bar or Status.FAIL)
    appearance = style(output, **{"bar": bar or Status.FAIL, **(looks or {})})
    try:
        deliver(FORMATS.get(output.format_name)(result, appearance), output)
    except DltoolError as error:
        say_error(error)
        code = code or error.exit_code
    except BrokenPipeError:
        _forget_stdout()
    if output.format_name == "github":
        _summarise(result, appearance, quiet=output.quiet)
    if keep is not None:
        _keep(keep, quiet=output.quiet)
    raise typer.Exit(code)


def _summarise(result: Report, appearance: Any, *, quiet: bool) -> None:
    """Append the report to the summary that GitHub shows of a step, where there is one."""
    from dltool.render import FORMATS

    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(FORMATS.get("markdown")(result, appearance) + "\n")
    except OSError as error:
        say(f"warning: no summary of the step was written: {error.strerror or error} (GITHUB_STEP_SUMMARY)", quiet=quiet)


def say_error(error: DltoolError) -> None:
    """What happened in one line, and what to do: what a user typed may hold anything."""
    say(f"error: {_one_line(str(error), 700)}\n\nhint: {_one_line(error.remedy, 2000)}")


def _one_line(text: str, longest: int) -> str:
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return line if len(line) <= longest else f"{line[:longest]} ..."


def _forget_stdout() -> None:
    """The reader of the pipe went away: what else is written is for nobody, and no complaint of the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def style(output: Output, **looks: Any) -> Any:
    """How text may look where it goes."""
    from dltool.render import Style

    terminal = output.output is None and sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size((80, 24)).columns if terminal or "COLUMNS" in os.environ else 80
    wants_color = bool(os.environ.get("FORCE_COLOR")) or (terminal and os.environ.get("TERM") != "dumb")
    color = wants_color and not os.environ.get("NO_COLOR") and output.output is None
    return Style(width=max(40, min(width, 140)), color=color, verbose=output.verbose, **looks)


def deliver(text: str, output: Output) -> None:
    """Write to the file asked for, else to stdout; where the file cannot be written, nothing is lost.

    Raises:
        DltoolError: the file could not be written; the text is on stdout instead.
    """
    if output.output is None or str(output.output) == "-":
        _print(text)
        return
    try:
        output.output.write_text(text, encoding="utf-8")
    except OSError as error:
        _print(text)
        raise DltoolError(
            f"cannot write {output.output}: {error.strerror}", remedy="The result went to stdout; name another file with -o."
        ) from None
    say(f"written to {output.output}", quiet=output.quiet)


def as_json(rows: object) -> str:
    """Something small as JSON: a listing, an explanation."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"


def _print(text: str) -> None:
    """To stdout.

    Raises:
        BrokenPipeError: its reader went away.
        DltoolError: it is closed, or what is behind it is full.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if sys.stdout is not None:
            _forget_stdout()
        raise DltoolError(f"cannot write to stdout: {error.strerror}", remedy="Name a file with -o.") from None


def say(text: str, *, quiet: bool = False) -> None:
    """Talk, on stderr."""
    if not quiet:
        print(text, file=sys.stderr)


def _keep(result: Report, *, quiet: bool) -> None:
    from dltool import store

    try:
        store.save(result)
    except OSError as error:
        say(f"warning: no copy of this report was kept: {error.strerror or error} ({store.directory()})", quiet=quiet)


def names(text: Iterable[str] | None) -> list[str]:
    """`["a,b", "c"]` as written after a repeated option -> `["a", "b", "c"]`."""
    return [name.strip() for part in text or () for name in part.split(",") if name.strip()]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command that ends with one line of what happened, one of what to do, and the right exit code.

    Where it takes a dataclass (`Output` and the like), the fields become its options; an unknown format is refused before any
    work.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Callable[..., Any]] = {
        name: cast(Any, taken.annotation) for name, taken in signature.parameters.items() if is_dataclass(taken.annotation)
    }
    own = [parameter for name, parameter in signature.parameters.items() if name not in groups]
    fields = {name: inspect.signature(kind, eval_str=True).parameters for name, kind in groups.items()}
    shared = [parameter for name in sorted(fields, key="out".__eq__) for parameter in fields[name].values()]

    @functools.wraps(command)
    def run(**options: Any) -> None:
        try:
            for name, kind in groups.items():
                options[name] = kind(**{field: options.pop(field) for field in fields[name]})
            if "out" in groups:
                options["out"].check()
            with lang.speaking(options["out"].language() if isinstance(options.get("out"), SpokenOutput) else "en"):
                command(**options)
        except DltoolError as error:
            say_error(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()
            raise typer.Exit(ExitCode.HEALTHY) from None
        except typer.Exit:
            raise
        except Exception as error:
            if os.environ.get("DLTOOL_TRACEBACK"):
                raise
            say(_crash_text(error))
            raise typer.Exit(ExitCode.CRASH) from None

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]
    # Where typer looks for the options.
    vars(run)["__signature__"] = signature.replace(parameters=keyword_only)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword_only}
    run.__doc__ = _unwrapped(inspect.getdoc(command) or "")
    return run


def _unwrapped(text: str) -> str:
    """Paragraphs of one line each, which typer then wraps to the terminal; an example has a line of its own."""
    lines = (" ".join(paragraph.split("\n")) for paragraph in text.split("\n\n"))
    return "\n\n".join(re.sub(r"\s+Example: ", "\nExample: ", line) for line in lines)


def _crash_text(error: Exception) -> str:
    return (
        f"error: dltool broke: {type(error).__name__}: {error}\n\n"
        "hint: This is a bug of dltool. Run the command again with DLTOOL_TRACEBACK=1 and report what it prints."
    )
