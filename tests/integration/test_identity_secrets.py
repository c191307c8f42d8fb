"""What devices of an identity have on their disks: no secret in the clear, whatever they did with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from identities import epoch_keys
from identities.keyring import Keyring
from tests.suites.identity_nodes import town
from tests.suites.nodes import until
from tests.suites.secret_scan import in_clear, only_sealed
from walytis_core.chain_keys import ChainSecrets


def parts_of(keyring: Keyring) -> set[bytes]:
    """Every secret in a keyring, one by one: on the disk it is one secret, and a scan for it finds no part of it."""
    found: set[bytes] = set(keyring._seals.values())
    for device in (keyring.device, keyring.next_device):
        if device is not None:
            found |= {device.block_seed, device.sign_seed, device.seal_seed}
    for keys in keyring.epochs.values():
        found |= set(keys)
    return found


def spy(monkeypatch: pytest.MonkeyPatch, secrets: set[bytes]) -> None:
    """Adds each secret that is kept, or made, to a set."""
    saved, derived, put = Keyring.save, epoch_keys.epoch_keys, ChainSecrets.put_seed

    def save(self: Keyring) -> None:
        secrets.update(parts_of(self))
        saved(self)

    def derive(secret: bytes) -> epoch_keys.EpochKeys:
        secrets.add(secret)
        return derived(secret)

    def put_seed(self: ChainSecrets, invitation: bytes, seed: bytes) -> None:
        secrets.add(seed)
        put(self, invitation, seed)

    monkeypatch.setattr(Keyring, "save", save)
    monkeypatch.setattr(ChainSecrets, "put_seed", put_seed)
    for module in ("actor", "identities", "worker"):
        monkeypatch.setattr(f"identities.{module}.epoch_keys", derive)


@pytest.mark.slow
@pytest.mark.parametrize("is_public", [True, False])
def test_nothing_of_an_identity_is_in_the_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_public: bool
) -> None:
    """I27: made, joined, renewed, a member removed, a group in it, restarted: no seed, epoch key or secret of a chain."""
    with only_sealed(tmp_path) as secrets:
        spy(monkeypatch, secrets)
        with town(tmp_path, sealed=True) as devices:
            phone = devices.house("phone")
            mine, code = phone.identities.create("ann", is_public=is_public)
            secrets.add(code.secret)
            theirs, gone = devices.join(mine, "laptop"), devices.join(mine, "tablet")
            group, _ = phone.identities.create("group", controller=mine, is_public=is_public)
            removed = gone.seat
            assert removed is not None
            mine.remove([removed.id])
            until(lambda: [info.state for info in theirs.seats()].count("removed") == 1)
            theirs.ready().result(30)
            theirs.renew()
            group.ready().result(30)
            sealed = group.seal(b"for all")
            for house in devices.houses.values():
                house.close()
                house.open()
            assert phone.get(group.did).open(sealed) == b"for all"
            assert in_clear(tmp_path, secrets) == []
        assert len(secrets) > 30
