"""Looks for secrets in the clear, in every file below a directory.

Invariant: what is looked for is each secret and each half of it, as raw bytes, hex and base64 (both alphabets, at any place of a
longer text), in contents and names of files. To use it on every test of a file:

    @pytest.fixture(autouse=True)
    def nothing_in_clear(tmp_path):
        with only_sealed(tmp_path):
            yield
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from identities.keystore_file import PassphraseKey

MIN_BYTES = 12  # less may stand there by chance


def forms(secret: bytes) -> set[bytes]:
    """How a secret may stand in a file."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        own = text[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]  # the characters that are of it alone
        found |= {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def in_clear(directory: Path, secrets: Iterable[bytes]) -> list[str]:
    """Which files show which secrets, as ``"name: number of the secret"``."""
    places = dict[str, bytes]()
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # it was moved into its place meanwhile
            if path.is_file():
                places[path.relative_to(directory).as_posix()] = os.fsencode(path.name) + b"\n" + path.read_bytes()
    found = []
    for number, secret in enumerate(secrets):
        half = len(secret) // 2
        parts = [part for part in (secret, secret[:half], secret[half:]) if len(part) >= MIN_BYTES]
        sought = {form for part in parts for form in forms(part)}
        found += [f"{name}: {number}" for name, content in places.items() if any(form in content for form in sought)]
    return found


@contextmanager
def only_sealed(directory: Path) -> Iterator[set[bytes]]:
    """Asserts after the block that nothing which a keystore sealed in it, nor a passphrase or key, is in the clear below.

    Gives the set of all these, to which others can be added.
    """
    secrets: set[bytes] = set()
    made, seal = PassphraseKey.__init__, PassphraseKey.seal

    def spy_made(self: PassphraseKey, passphrase: bytes, *arguments: object) -> None:
        secrets.add(passphrase)
        made(self, passphrase, *arguments)  # type: ignore[arg-type] # as they come
        secrets.add(self._key)

    def spy_seal(self: PassphraseKey, kept: Mapping[str, bytes], nonce: bytes) -> bytes:
        secrets.update(secret for secret in kept.values() if any(secret))  # zeros stand everywhere
        return seal(self, kept, nonce)

    with patch.object(PassphraseKey, "__init__", spy_made), patch.object(PassphraseKey, "seal", spy_seal):
        yield secrets
    assert in_clear(directory, secrets) == []
