"""Notes: what the devices of an identity tell each other in one epoch."""

from __future__ import annotations

import pytest
from nacl import bindings

from identities.notes import CONTACT, GROUP, MAX_TEXT_BYTES, NONCE_BYTES, open_note, seal_note
from identities.payloads import MAX_NOTE_BYTES
from walytis_core import InvalidInputError, Reason, RemoteError, cbor
from walytis_core.seals import derive

KEY, CHAIN, EPOCH = bytes(32), b"c" * 36, b"e" * 36
NONCE = bytes(range(NONCE_BYTES))


def reason(key: bytes, chain: bytes, epoch: bytes, sealed: bytes) -> Reason:
    with pytest.raises(RemoteError) as caught:
        open_note(key, chain, epoch, sealed)
    return caught.value.reason


@pytest.mark.parametrize("data", [b"", b"bob", bytes(MAX_TEXT_BYTES)])
@pytest.mark.parametrize("kind", [GROUP, CONTACT, "app/ä"])
def test_it_opens(kind: str, data: bytes) -> None:
    """I22: with the keys of its epoch; the longest fits into an event."""
    sealed = seal_note(KEY, CHAIN, EPOCH, kind, data, NONCE)
    assert open_note(KEY, CHAIN, EPOCH, sealed) == (kind, data)
    assert len(sealed) <= MAX_NOTE_BYTES
    assert data not in sealed or len(data) < 4


def test_it_is_bound() -> None:
    """I22 and I13: to its identity, its epoch and each of its bits."""
    sealed = seal_note(KEY, CHAIN, EPOCH, GROUP, b"x", NONCE)
    assert reason(b"1" * 32, CHAIN, EPOCH, sealed) is Reason.BAD_SEAL
    assert reason(KEY, b"d" * 36, EPOCH, sealed) is Reason.BAD_SEAL
    assert reason(KEY, CHAIN, b"f" * 36, sealed) is Reason.BAD_SEAL
    for at in range(len(sealed)):
        assert reason(KEY, CHAIN, EPOCH, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is Reason.BAD_SEAL
    for at in range(len(sealed)):
        assert reason(KEY, CHAIN, EPOCH, sealed[:at]) is Reason.BAD_SEAL


def test_what_is_no_note() -> None:
    """I22: another device may seal anything: it is read strictly."""
    key, bound = derive(KEY, "identities/note"), cbor.encode(["walytis/identities/note/1", CHAIN, EPOCH])
    for wrong in (b"", cbor.encode({}), cbor.encode([1, b""]), cbor.encode(["x", "y"]), cbor.encode(["x", b"", 1])):
        box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(wrong, bound, NONCE, key)
        assert reason(KEY, CHAIN, EPOCH, NONCE + box) is Reason.BAD_MESSAGE


def test_what_is_too_long() -> None:
    """I33: is refused before it is sealed."""
    for kind, data, nonce in (("x", bytes(MAX_TEXT_BYTES + 1), NONCE), ("x" * 65, b"", NONCE), ("x", b"", bytes(12))):
        with pytest.raises(InvalidInputError):
            seal_note(KEY, CHAIN, EPOCH, kind, data, nonce)
