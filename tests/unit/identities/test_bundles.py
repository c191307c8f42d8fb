"""Bundles: keys that one device hands on to another, and to nobody else."""

from __future__ import annotations

import pytest

from identities.bundles import MAX_BUNDLE_BYTES, Handed, open_bundle, seal_bundle
from identities.epoch_keys import epoch_keys
from identities.suites import SealingKey, seal_to
from tests.suites.identity_makers import some_device
from walytis_core import Reason, RemoteError, cbor
from walytis_core.cid import BlockId

CHAIN, OTHER = (bytes(BlockId.of(name)) for name in (b"chain", b"other"))
KEY = SealingKey.from_seed(bytes(32))
HANDED = [
    Handed(chain, bytes([number]) * 16, epoch_keys(bytes([number]) * 32)) for number, chain in enumerate((CHAIN, OTHER))
]


def reason(key: SealingKey, chain: bytes, sealed: bytes) -> Reason:
    with pytest.raises(RemoteError) as caught:
        open_bundle(key, chain, sealed)
    return caught.value.reason


def forged(plain: bytes, chain: bytes = CHAIN) -> bytes:
    """Sealed as a bundle is, with anything in it."""
    return seal_to(KEY.public, cbor.encode(["walytis/identities/bundle/1", chain]), plain)


def test_it_opens_for_whom_it_is() -> None:
    """I19: with the keys of this identity and of others; empty as well."""
    for handed in (HANDED, []):
        assert open_bundle(KEY, CHAIN, seal_bundle(KEY.public, CHAIN, handed)) == handed


def test_it_opens_for_nobody_else() -> None:
    """I19: no other device, in no other identity, nor with a bit changed."""
    sealed = seal_bundle(KEY.public, CHAIN, HANDED)
    assert reason(SealingKey.from_seed(b"1" * 32), CHAIN, sealed) is Reason.BAD_SEAL
    assert reason(KEY, OTHER, sealed) is Reason.BAD_SEAL
    for at in (0, 100, len(sealed) // 2, len(sealed) - 1):
        assert reason(KEY, CHAIN, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is Reason.BAD_SEAL
    for short in (b"", sealed[:10], sealed[:-1]):
        assert reason(KEY, CHAIN, short) is Reason.BAD_SEAL


def test_what_is_no_bundle() -> None:
    """I19: its maker may put anything in it: it is read strictly, and bounded."""
    keys = epoch_keys(bytes(32))
    wrongs: list[object] = [
        {},
        None,
        [1],
        [[]],
        [[CHAIN, bytes(16), *keys[:-1]]],
        [[CHAIN, bytes(16), *keys, bytes(32)]],
        [[CHAIN, bytes(15), *keys]],
        [[b"x", bytes(16), *keys]],
        [[CHAIN, bytes(16), *keys[:-1], bytes(31)]],
        [[CHAIN, bytes(16), *keys[:-1], "text"]],
    ]
    for wrong in wrongs:
        assert reason(KEY, CHAIN, forged(cbor.encode(wrong))) is Reason.BAD_MESSAGE  # type: ignore[arg-type]
    assert reason(KEY, CHAIN, forged(b"\xff")) is Reason.BAD_MESSAGE
    assert reason(KEY, CHAIN, bytes(MAX_BUNDLE_BYTES + 1)) is Reason.BAD_MESSAGE


def test_it_does_not_show_keys() -> None:
    """I27: neither as bytes, nor as a `repr`."""
    sealed = seal_bundle(some_device(1).public.seal.public, CHAIN, HANDED)
    for one in HANDED:
        assert one.keys.storage not in sealed
        assert one.keys.storage.hex() not in repr(one)
