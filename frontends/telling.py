"""What every command does with its answers and its end: JSON or the terminal, one sentence for an error, an exit code.

Invariants: with ``--json`` standard output holds JSON and nothing else (in ASCII, for any terminal or pipe), and an
error is a JSON line on standard error; Ctrl-C and a closed pipe end a command quietly; a bug keeps its traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer

from frontends.directory import on_directory
from frontends.failures import BUG, CLOSED_PIPE, EXIT_CODES, INTERRUPTED, FailedError
from frontends.plain import plain_text

_MISTYPED: Final = typer.BadParameter.__mro__[1]  # the parser's UsageError, whichever click it comes from


def write_json(data: Any, *, compact: bool = False) -> None:
    """Writes one JSON document, or with `compact` one JSON line, and flushes it."""
    sys.stdout.write(json.dumps(data, indent=None if compact else 2) + "\n")
    sys.stdout.flush()


def only(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The one answer of a verb that gives one."""
    (answer,) = answers
    return answer


@contextmanager
def telling(*, as_json: bool, data_dir: Path | None = None) -> Iterator[None]:
    """Ends the command with a sentence and an exit code when what is inside fails.

    Args:
        as_json: Whether the sentence is a JSON line.
        data_dir: The directory that the command was told to use.
    """
    try:
        yield
    except FailedError as failure:
        _tell(failure, data_dir, as_json=as_json)
        raise typer.Exit(failure.exit_code) from failure
    except (KeyboardInterrupt, typer.Abort) as stop:
        raise typer.Exit(INTERRUPTED) from stop
    except BrokenPipeError as closed:
        _drop_output()
        raise typer.Exit(CLOSED_PIPE) from closed
    except Exception as error:
        if isinstance(error, _MISTYPED):
            _tell_mistyped(error, as_json=as_json)
            raise typer.Exit(EXIT_CODES["UsageError"]) from error
        failed = FailedError.of(error)
        if failed.exit_code == BUG:
            raise
        if isinstance(error, OSError):
            _drop_output()
        _tell(failed, data_dir, as_json=as_json)
        raise typer.Exit(failed.exit_code) from error


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """A sign of life on standard error while something takes long; none with `quiet`, or where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only

    with terminal(None, to_stderr=True).status(what):
        yield


def warn(sentence: str, hint: str = "", data_dir: Path | None = None, *, as_json: bool = False) -> None:
    """Says something on standard error that is no failure; as JSON, in a line with the key `warning`."""
    if as_json:
        sys.stderr.write(json.dumps({"warning": sentence, "hint": on_directory(hint, data_dir)}) + "\n")
        return
    from frontends.console import Hint, terminal  # noqa: PLC0415 - most calls warn of nothing

    console = terminal(data_dir, to_stderr=True)
    console.print(Hint(sentence, "yellow"))
    if hint:
        console.print(Hint(hint, "dim"))


def _drop_output() -> None:
    """What is still buffered cannot be written: the interpreter would complain of it at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _tell_mistyped(error: Any, *, as_json: bool) -> None:
    """Says what the parser of the command line refused, as it has it, or as JSON."""
    if not as_json:
        error.show()
        return
    command = error.ctx.command_path if error.ctx is not None else "walytis"
    _tell(FailedError.usage(error.format_message(), f"See `{command} --help`."), None, as_json=True)


def _tell(failure: FailedError, data_dir: Path | None, *, as_json: bool) -> None:
    if as_json:
        failure.hint = on_directory(failure.hint, data_dir)
        sys.stderr.write(json.dumps(failure.to_json()) + "\n")
        return
    from frontends.console import Hint, terminal  # noqa: PLC0415 - needed only on failure

    console = terminal(data_dir, to_stderr=True)
    sentence = plain_text(str(failure))
    first = sentence.partition(" ")[0].rstrip(",:")
    if first.isalpha() and first.islower() and first != str(data_dir):  # a word, no path, and no name such as mDNS
        sentence = sentence[:1].upper() + sentence[1:]
    console.print(Hint(sentence + ("" if sentence.endswith(".") else "."), "red"))
    if failure.hint:
        console.print(Hint(plain_text(failure.hint)))
