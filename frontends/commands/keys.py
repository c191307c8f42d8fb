"""Commands on the secret keys of a directory: `walytis keys status`, seal, passphrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.options import DataDir, Json, directory_of
from frontends.telling import telling, waiting, write_json

NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--new-passphrase-file",
        metavar="FILE",
        help="The new passphrase: a file that holds it and nothing else.",
        show_default="asks on a terminal",
    ),
]


def status(json: Json = False, data_dir: DataDir = None) -> None:
    """Say whether the keys are sealed."""
    with telling(as_json=json, data_dir=data_dir):
        from frontends.sealing import keys_status  # noqa: PLC0415 - loads the library

        found = keys_status(directory_of(data_dir))
        words = {
            "none": "There are no keys yet.",
            "plain": "The keys are plain files: who reads the directory can act as you. `walytis keys seal` seals them.",
            "sealed": "The keys are sealed under a passphrase.",
        }
        _tell(found, words[found["keys"]], data_dir, as_json=json)


def seal(json: Json = False, data_dir: DataDir = None) -> None:
    """Seal the keys of this directory under a passphrase.

    From then on every command that opens the directory needs it. Who forgets it loses the keys: there is no way around it.
    With --passphrase-file, or its variable, that file holds the new passphrase.
    """
    with telling(as_json=json, data_dir=data_dir):
        from frontends.sealing import seal_keys  # noqa: PLC0415 - loads the library

        with waiting("sealing the keys", quiet=True):
            found = seal_keys(directory_of(data_dir))
        sentence = "The keys are sealed. A back-up that was made before still has plain keys: do away with it."
        _tell(found, sentence, data_dir, as_json=json)


def passphrase(new_passphrase_file: NewPassphraseFile = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Give the sealed keys another passphrase.

    Copies that were made before still open with the old one.
    """
    with telling(as_json=json, data_dir=data_dir):
        from frontends.sealing import change_passphrase  # noqa: PLC0415 - loads the library

        found = change_passphrase(directory_of(data_dir), new_passphrase_file)
        _tell(found, "The keys have another passphrase now.", data_dir, as_json=json)


def _tell(found: dict[str, Any], sentence: str, data_dir: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    from frontends.console import Hint, terminal  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(Hint(sentence))
