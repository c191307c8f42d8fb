"""The secrets of a device: kept before they are needed, found again, shown to nobody."""

from __future__ import annotations

import pytest

from identities import keyring as keyring_file
from identities.epoch_keys import epoch_keys
from identities.keyring import DeviceSecrets, Keyring
from identities.suites import COMPOSITE, ED25519, seal_to
from tests.suites.identity_makers import some_device
from walytis_core import StorageError, cbor

CHAIN = b"\x01\x71\x12\x20" + bytes(32)
FULL = Keyring.name_for(CHAIN)


class Vault:
    """Secrets in memory, and how often they were written."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_full = False

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: str, secret: bytes) -> None:
        if self.is_full:
            raise StorageError("the disk is full")
        self.kept[name] = secret

    def delete(self, name: str) -> None:
        self.kept.pop(name, None)


def made(vault: Vault, suite: int = ED25519) -> Keyring:
    """One with something of everything in it."""
    keyring = Keyring(vault, FULL, some_device(1, suite), some_device(2, suite), via=CHAIN)
    keyring.first_seen = {b"e" * 36: 1234.5}
    keyring.codes = {b"": bytes(range(32))}
    keyring.add_seal(bytes(range(32)))
    keyring.add_epochs((b"a" * 16, epoch_keys(bytes(32))), (b"b" * 16, epoch_keys(b"1" * 32)))
    return keyring


def again(vault: Vault) -> Keyring:
    """As it is after a restart."""
    found = Keyring.load(vault, CHAIN)
    assert found is not None
    return found


@pytest.mark.parametrize("suite", [ED25519, COMPOSITE])
def test_it_is_found_again(suite: int) -> None:
    """I16: all of it is what it was after a restart."""
    vault = Vault()
    before, after = made(vault, suite), again(vault)
    assert after.device == before.device
    assert after.next_device == before.next_device
    assert (after.via, after.first_seen, after.codes) == (before.via, before.first_seen, before.codes)
    assert after.epochs == before.epochs
    assert Keyring.load(Vault(), CHAIN) is None
    for key_id in (before.add_seal(b"x" * 32).id, some_device(1).public.seal.id, some_device(2).public.seal.id):
        key = again(vault).seal_key(key_id)
        assert key is not None
        assert key.open(b"info", seal_to(key.public, b"info", b"secret")) == b"secret"
    assert again(vault).seal_key(bytes(16)) is None


def test_what_was_taken_is_durable() -> None:
    """I10 and I27: as soon as the call is over; and not when the disk refused."""
    vault = Vault()
    keyring = made(vault)
    key = keyring.add_seal(b"y" * 32)
    assert again(vault).seal_key(key.id) is not None
    keyring.add_epochs((b"c" * 16, epoch_keys(b"2" * 32)))
    assert again(vault).epoch(b"c" * 16) == epoch_keys(b"2" * 32)
    vault.is_full = True
    with pytest.raises(StorageError):
        keyring.add_epochs((b"d" * 16, epoch_keys(b"3" * 32)))
    assert not again(vault).has_epoch(b"d" * 16)


def test_it_does_not_outgrow_what_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """I27: one key too many is refused, and what is kept can be read; what a renewal takes back is gone."""
    vault = Vault()
    keyring = made(vault)
    key = keyring.add_seal(b"z" * 32)
    keyring.take_back(b"b" * 16, key.id)
    assert not again(vault).has_epoch(b"b" * 16)
    assert again(vault).seal_key(key.id) is None
    monkeypatch.setattr(keyring_file, "_MAX_BYTES", len(vault.kept[FULL]))
    with pytest.raises(StorageError):
        keyring.add_seal(b"q" * 32)
    assert again(vault).has_epoch(b"a" * 16)


def test_after_a_key_renewal() -> None:
    """I11: the device is another, and what was wrapped to the old one still opens."""
    vault = Vault()
    keyring = made(vault)
    old, new = some_device(1), some_device(3)
    keyring.retire(old, new)
    for one in (keyring, again(vault)):
        assert one.device == new
        assert one.next_device is None
        assert one.seal_key(old.public.seal.id) is not None
        assert one.seal_key(new.public.seal.id) is not None


def test_coming_keys_are_taken_up_once_they_have_a_seat() -> None:
    """I11, I32: not before, so that a living seat's keys are never given up for some that nobody wrote of."""
    vault = Vault()
    keyring = made(vault)
    old, coming = some_device(1), some_device(2)
    assert not keyring.take_up([old.public.holder])
    assert (again(vault).device, again(vault).next_device, again(vault).via) == (old, coming, CHAIN)
    assert keyring.take_up([old.public.holder, coming.public.holder])
    for one in (keyring, again(vault)):
        assert (one.device, one.next_device, one.via) == (coming, None, None)
        assert one.seal_key(old.public.seal.id) is not None
    assert not keyring.take_up([coming.public.holder])


def test_what_is_dropped_is_gone() -> None:
    """I10: a key that nothing is wrapped to any more opens nothing, here and after a restart; those in use stay."""
    vault = Vault()
    keyring = Keyring(vault, FULL, some_device(1))
    keys = [keyring.add_seal(bytes([number]) * 32) for number in range(1, 4)]
    assert keyring.drop_seals(frozenset({keys[1].id})) == 2
    for one in (keyring, again(vault)):
        assert [one.seal_key(key.id) is not None for key in keys] == [False, True, False]
        assert one.seal_key(some_device(1).public.seal.id) is not None
    assert keyring.drop_seals(frozenset({keys[1].id})) == 0
    assert bytes([1]) * 32 not in vault.kept[FULL]


def test_another_name() -> None:
    """I16: an identity that is being made is kept before its chain has an id."""
    vault = Vault()
    keyring = made(vault)
    keyring.rename("identity-new")
    assert set(vault.kept) == {"identity-new"}
    found = Keyring.load_as(vault, "identity-new")
    assert found is not None
    assert found.epochs == keyring.epochs
    found.forget()
    assert not vault.kept


def test_what_is_damaged() -> None:
    """I27: what cannot be read is said to be so; it is neither taken for something else, nor lost by reading."""
    vault = Vault()
    made(vault)
    whole = vault.kept[FULL]
    newer = cbor.encode([2, None, None, None, [], [], [], []])
    for data in (b"", whole[:-1], whole + b"\x00", b"\x80", newer, cbor.encode({}), cbor.encode([1])):
        vault.kept[FULL] = data
        with pytest.raises(StorageError):
            Keyring.load(vault, CHAIN)
        assert vault.kept[FULL] == data


@pytest.mark.parametrize(
    "wrong",
    [
        [1, [b"x"], None, None, [], [], [], []],
        [1, None, None, None, [1], [], [], []],
        [1, None, None, None, [[b"e", "x"]], [], [], []],
        [1, None, None, None, [], [b"x"], [], []],
        [1, None, None, None, [], [], [[b"x"]], []],
        [1, None, None, None, [], [], [b""], []],
        [1, None, None, None, [], [], [], [b"x"]],
    ],
    ids=str,
)
def test_what_is_of_another_form(wrong: object) -> None:
    """I27: however it is made."""
    vault = Vault()
    vault.kept[FULL] = cbor.encode(wrong)  # type: ignore[arg-type] # as it comes
    with pytest.raises(StorageError):
        Keyring.load(vault, CHAIN)


def test_it_shows_nothing() -> None:
    """I27: no secret stands in a `repr`, also of what holds them."""
    keyring = made(Vault())
    shown = repr(keyring) + repr(keyring.device) + repr([keyring.device]) + repr(keyring.epochs)
    device = some_device(1)
    for secret in (device.block_seed, device.sign_seed, epoch_keys(bytes(32)).storage):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_devices_are_their_own() -> None:
    """I11: seeds are random, and no two keys of one are the same."""
    one, two = (DeviceSecrets.fresh(bytes(32)) for _ in range(2))
    seeds = {seed for device in (one, two) for seed in (device.block_seed, device.sign_seed, device.seal_seed)}
    assert len(seeds) == 6
    assert one.public.sign.suite == COMPOSITE
    assert one.public.node_key == bytes(32)
