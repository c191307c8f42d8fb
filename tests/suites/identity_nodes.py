"""Nodes with identities, as tests of them need: in memory or on disk, clocks that jump, and what must hold of every identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, cast

from identities.identities import Identities
from identities.identity import Identity
from identities.keystore import Keystore
from identities.keystore_file import Costs
from identities.known import KnownIdentity
from identities.renewal import RenewalPolicy
from identities.state import LAYER
from tests.suites.nodes import WITHIN_S, until
from walytis_core import BlockId, Node, RemoteError
from walytis_core.keys import FileKeys, Keys
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.network.port import Network
from walytis_core.store.port import ChainStore
from walytis_core.view import View

PASSPHRASE: Final = b"a passphrase of a test"
NEVER: Final = RenewalPolicy(age_s=None)
LIGHT: Final = Costs(8, 1, 1)


class Clock:
    """A local clock: the true time, and an offset that a test changes."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s

    def __call__(self) -> float:
        return time.time() + self.offset_s


class House:
    """One device: a node and its identities.

    Attributes:
        name: Of the device.
        clock: Its local clock.
        is_on: Whether it is switched on.
    """

    def __init__(
        self, name: str, make: Callable[[], Node], renewal: RenewalPolicy, clock: Clock, chance: float = 0.0
    ) -> None:
        self.name = name
        self.clock = clock
        self.renewal = renewal
        self.chance = chance
        self.is_on = False
        self._make = make
        self._opened = ExitStack()
        self.open()

    def open(self) -> None:
        """Switches it on; again, once it was closed."""
        self.node = self._opened.enter_context(self._make())
        made = Identities(self.node, renewal=self.renewal, now_s=self.clock, random=lambda: self.chance)
        self.identities = self._opened.enter_context(made)
        self.is_on = True

    def close(self) -> None:
        """Switches it off; that its work had ended before is a failure of the test."""
        has_ended = self.is_on and not self.identities._home.rounds._thread.is_alive()
        self.is_on = False
        self._opened.close()
        assert not has_ended, f"the work of {self.name} had ended by an error"

    def jump(self, seconds: float) -> None:
        """Has its clock go by that much at once."""
        self.clock.offset_s += seconds
        self.wake()

    def wake(self) -> None:
        """Has all of its identities looked at."""
        for chain in self.node.chains():
            self.identities._home.wake(bytes(chain.id))

    def get(self, did: str) -> Identity:
        """An identity that it acts for."""
        return self.identities.get(did)


class Town:
    """Devices that reach each other.

    Args:
        directory: Where they keep their things; None: in memory.
        sealed: Whether their keys are in keystores.
        network: Makes the network of one; None for one in memory.
    """

    def __init__(
        self, directory: Path | None = None, *, sealed: bool = False, network: Callable[[], Network] | None = None
    ) -> None:
        self.hub = MemoryHub()
        self._directory = directory
        self._sealed = sealed
        self._network = network or (lambda: MemoryNetwork(self.hub))
        self.houses: dict[str, House] = {}

    def house(self, name: str, renewal: RenewalPolicy = NEVER, clock: Clock | None = None) -> House:
        """A device; the same one each time."""
        if name not in self.houses:
            chance = len(self.houses) % 8 / 8  # each waits another while for the others, and none of them long
            self.houses[name] = House(name, lambda: self._node(name), renewal, clock or Clock(), chance)
        return self.houses[name]

    def directory(self, name: str) -> Path:
        """Where a device keeps its things."""
        assert self._directory is not None
        return self._directory / name

    def _node(self, name: str) -> Node:
        if self._directory is None:
            return Node.in_memory(network=self._network())
        return Node.open(self.directory(name), network=self._network(), keys=self._keys)

    def _keys(self, folder: Path) -> Keys:
        return Keystore(folder, PASSPHRASE, costs=LIGHT) if self._sealed else FileKeys(folder)

    def join(self, identity: Identity, name: str, renewal: RenewalPolicy = NEVER) -> Identity:
        """Makes a device one of an identity's, by a code."""
        house = self.house(name, renewal)
        return house.identities.join(str(identity.invite()), device_name=name).result(WITHIN_S)

    def outsider(self, identity: KnownIdentity, name: str, via: House) -> KnownIdentity:
        """Somebody else's view of an identity, by a contact card that one of its devices made."""
        card = identity.contact(via.node.addresses(), via.node.key)
        return self.house(name).identities.resolve(str(card)).result(WITHIN_S)

    def close(self) -> None:
        """Switches all of them off."""
        errors = []
        for house in self.houses.values():
            try:
                house.close()
            except AssertionError as error:
                errors.append(str(error))
        assert not errors, errors


@contextmanager
def town(directory: Path | None = None, **options: Any) -> Iterator[Town]:
    """A town, closed at the end."""
    made = Town(directory, **options)
    try:
        yield made
    finally:
        made.close()


# --- what holds ------------------------------------------------------------------------------------------------------


def epoch_of(known: KnownIdentity) -> bytes | None:
    """The id of the current epoch, if there is one."""
    current = known.folded.epochs.current
    return None if current is None else current.id


def until_agreed(*all: Identity, within_s: float = WITHIN_S) -> None:
    """Waits until devices hold the same blocks, have the same epoch, and each its keys."""

    def agree() -> bool:
        heads = {frozenset(one.chain.heads) for one in all}
        epochs = {epoch_of(one) for one in all}
        return len(heads) == len(epochs) == 1 and None not in epochs and all_have_keys(*all)

    until(agree, within_s, "devices that agree")


def all_have_keys(*all: Identity) -> bool:
    """Whether each of these has the keys of the current epoch."""
    return not [one for one in all if not one.status().has_keys]


def all_have_opened(*all: Identity, since: int) -> bool:
    """Whether each of these has the keys of every epoch from a number on, of those that lost, too."""
    held = [[epoch for epoch in one.folded.epochs.all.values() if epoch.number >= since] for one in all]
    pairs = zip(all, held, strict=True)
    return not [1 for one, epochs in pairs for epoch in epochs if not one._held.actor.keyring.has_epoch(epoch.sign_id)]


def until_seated(identity: Identity, name: str) -> bytes:
    """Waits until a device of this name has said a word; gives its seat."""
    until(lambda: state_of(identity, name) == "live", what=f"{name} is live")
    return seat_of(identity, name)


def seat_of(identity: KnownIdentity, name: str) -> bytes:
    """The newest seat of a device, by the name it gave itself."""
    found = [info.id for info in identity.seats() if info.name == name]
    assert found, f"no seat of {name}"
    assert isinstance(found[-1], bytes)
    return found[-1]


def state_of(identity: KnownIdentity, name: str) -> str:
    """What became of the seat of a device."""
    found = [info.state for info in identity.seats() if info.name == name]
    return found[-1] if found else ""


def assert_same_state(*all: KnownIdentity) -> None:
    """Whoever holds the same blocks comes to the same conclusions."""

    def agree() -> bool:
        first, *others = [(frozenset(one.chain.heads), conclusions(one)) for one in all]
        return not [other for other in others if other != first]

    until(agree, WITHIN_S, "one state from the same blocks")


def conclusions(known: KnownIdentity) -> dict[str, Any]:
    """All that is concluded from the blocks of an identity."""
    folded = known.folded
    return {
        "seats": [(info.id, info.kind, info.holder, info.state) for info in known.seats()],
        "void": dict(folded.authority.void),
        "epochs": {id: epoch.number for id, epoch in folded.epochs.all.items()},
        "current": epoch_of(known),
        "node keys": known._held.node_keys(),
    }


def assert_is_fold(known: KnownIdentity) -> None:
    """What is kept of an identity equals a fold of all its blocks from nothing."""
    chain = known.chain
    store = chain.tables
    with chain.engine.exclusive():
        view = View(LAYER, _bare(store), _others(known))
        view.arrived()
        anew = view.value
        kept = known.folded
    if anew is None:
        assert not kept.pasts.acts
        return
    assert [act.id for act in anew.pasts.acts] == [act.id for act in kept.pasts.acts]
    assert anew.authority.void == kept.authority.void
    for name in ("id", "holder", "rank", "is_live", "has_joined"):
        assert [getattr(seat, name) for seat in anew.authority.seats.values()] == [
            getattr(seat, name) for seat in kept.authority.seats.values()
        ]
    assert anew.epochs.all == kept.epochs.all
    assert (anew.epochs.current and anew.epochs.current.id) == (kept.epochs.current and kept.epochs.current.id)


def _others(known: KnownIdentity) -> Callable[[BlockId], ChainStore | None]:
    def find(id: BlockId) -> ChainStore | None:
        other = known._held.log._chain_of(id)
        return None if other is None else other.tables

    return find


def _bare(store: ChainStore) -> ChainStore:
    made: Any = _Bare(store)
    return cast(ChainStore, made)


class _Bare:
    """A chain's blocks without what views have saved beside them."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._values: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def put(self, key: str, value: bytes | None) -> None:
        self.put_many({key: value})

    def get_many(self, keys: Any) -> dict[str, bytes]:
        return {key: self._values[key] for key in keys if key in self._values}

    def put_many(self, values: dict[str, bytes | None]) -> None:
        for key, value in values.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def items(self, prefix: str) -> dict[str, bytes]:
        return {key: value for key, value in self._values.items() if key.startswith(prefix)}


def until_refused(known: Identity, sealed: bytes) -> None:
    """Asserts that a device cannot open something."""
    try:
        known.open(sealed)
    except RemoteError:
        return
    raise AssertionError("it could open what it should not")
