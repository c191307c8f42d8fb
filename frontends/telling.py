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
from typing import Any

import typer

from frontends.failures import BUG, INTERRUPTED, FailedError


def write_json(data: Any, *, compact: bool = False) -> None:
    """Writes one JSON document, or with `compact` one JSON line, and flushes it."""
    sys.stdout.write(json.dumps(data, indent=None if compact else 2) + "\n")
    sys.stdout.flush()


def only(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The one answer of a verb that gives one."""
    (answer,) = answers
    return answer


@contextmanager
def telling(*, as_json: bool) -> Iterator[None]:
    """Ends the command with a sentence and an exit code when what is inside fails."""
    try:
        yield
    except FailedError as failure:
        _tell(failure, as_json=as_json)
        raise typer.Exit(failure.exit_code) from failure
    except (KeyboardInterrupt, typer.Abort) as stop:
        raise typer.Exit(INTERRUPTED) from stop
    except BrokenPipeError as closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has no reader
        raise typer.Exit from closed
    except Exception as error:
        failed = FailedError.of(error)
        if failed.exit_code == BUG:
            raise
        _tell(failed, as_json=as_json)
        raise typer.Exit(failed.exit_code) from error


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """A sign of life on standard error while something takes long; none with `quiet`, or where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from frontends.render import terminal  # noqa: PLC0415 - rich, for people only

    with terminal(to_stderr=True).status(what):
        yield


def warn(sentence: str, hint: str = "") -> None:
    """Says something on standard error that is no failure."""
    from frontends.render import terminal  # noqa: PLC0415 - most calls warn of nothing

    console = terminal(to_stderr=True)
    console.print(sentence, style="yellow", markup=False)
    if hint:
        console.print(hint, style="dim", markup=False)


def _tell(failure: FailedError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps(failure.to_json()) + "\n")
        return
    from frontends.render import plain_text, terminal  # noqa: PLC0415 - needed only on failure

    console = terminal(to_stderr=True)
    sentence = plain_text(str(failure))
    console.print(
        sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else "."), style="red", markup=False
    )
    if failure.hint:
        console.print(failure.hint, markup=False)
