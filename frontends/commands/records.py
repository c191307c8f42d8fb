"""Commands on what identities say: `walytis id sign`, verify, seal, open, document."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from frontends.commands.content import File, Raw, Text, given
from frontends.commands.identities import IdentityName
from frontends.failures import FailedError
from frontends.options import DataDir, Json, directory_of
from frontends.plain import plain_text
from frontends.reach import answers
from frontends.telling import only, telling, write_json

_MAX_SIGNATURE_CHARS: Final = 1 << 16

Context = Annotated[
    str, typer.Option(metavar="WORD", help="What it is for: what is signed or sealed for one is no good for another.")
]


def sign(
    identity: IdentityName,
    text: Text = None,
    file: File = None,
    context: Context = "app",
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Sign content as an identity.

    From an argument, a file or standard input. Writes the signature, in base64.
    """
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        arguments = {"identity": identity, "context": context}
        made = only(answers(directory_of(data_dir), "id sign", arguments, content=content))
        if json:
            write_json(made)
        else:
            typer.echo(made["signature"])


def verify(
    identity: IdentityName,
    signature: Annotated[
        Path,
        typer.Option("--signature", "-s", metavar="FILE", help="What `walytis id sign` wrote.", show_default=False),
    ],
    text: Text = None,
    file: File = None,
    context: Context = "app",
    epoch: Annotated[
        int | None,
        typer.Option(metavar="N", help="As of this epoch, for what is known to be old.", show_default="as of now"),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Check that an identity signed content.

    From an argument, a file or standard input. Exit code 7 when it did not, or its keys are good no longer.
    """
    with telling(as_json=json, data_dir=data_dir):
        signed = _read(signature)
        with given(text, file) as content:
            arguments = {"identity": identity, "signature": signed, "context": context, "epoch": epoch}
            found = only(answers(directory_of(data_dir), "id verify", arguments, content=content))
        if json:
            write_json(found)
            return
        age = "" if found["current"] else ", which is not the current one"
        typer.echo(f"{plain_text(found['name'])} signed this, with the keys of epoch {found['epoch']}{age}.")


def seal(
    identity: IdentityName,
    text: Text = None,
    file: File = None,
    context: Context = "app",
    raw: Raw = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Seal content so that only an identity can open it.

    From an argument, a file or standard input, at most 16 MiB. Writes base64, or with --raw the bytes.
    """
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        arguments = {"identity": identity, "context": context}
        pieces = answers(directory_of(data_dir), "id seal", arguments, content=content)
        if json:
            write_json({"identity": identity, "context": context, "sealed": _joined(pieces)})
        elif raw:
            _write_out(pieces)
        else:
            typer.echo(_joined(pieces))


def open_sealed(
    identity: IdentityName,
    text: Text = None,
    file: File = None,
    context: Context = "app",
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Open what was sealed to an identity of yours.

    From an argument, a file or standard input, in base64 or as bytes. Writes the content, byte for byte.
    """
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        arguments = {"identity": identity, "context": context}
        pieces = answers(directory_of(data_dir), "id open", arguments, content=content)
        if not json:
            _write_out(pieces)
            return
        from frontends.forms import payload_form  # noqa: PLC0415 - only for scripts

        opened = base64.b64decode(_joined(pieces))
        write_json({"identity": identity, "context": context} | payload_form(opened))


def document(identity: IdentityName, json: Json = False, data_dir: DataDir = None) -> None:
    """Write the DID document of an identity.

    JSON, as W3C DID Core has it.
    """
    with telling(as_json=json, data_dir=data_dir):
        write_json(only(answers(directory_of(data_dir), "id document", {"identity": identity})))


def _joined(pieces: Iterator[dict[str, Any]]) -> str:
    """Pieces as one text: each but the last has a whole number of groups of base64."""
    return "".join(piece["base64"] for piece in pieces)


def _write_out(pieces: Iterator[dict[str, Any]]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(base64.b64decode(piece["base64"]))
    sys.stdout.buffer.flush()


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_SIGNATURE_CHARS)
    except (OSError, UnicodeDecodeError) as error:
        raise FailedError("NotFoundError", f"cannot read {path}: {error}", "Check the path.", 3) from error
