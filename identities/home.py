"""`Home`: the identities of a node, as the other files of this package work with them.

One thread does what is due for each (see `worker.py`), woken by changes of their chains, by objects that came, and by the
clock. It is the node's authority on members, too: who may read the chains of an identity, and under which secrets. Invariant:
there is one `Holding` for each identity whose chain is held here, a `Part` where this node acts for it; it is let go, and
closed, when the chain is deleted, or when the device gets another part in it. What users hold is `Identities`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, cast

from identities.actor import Actor
from identities.arrivals import Arrivals
from identities.checking import identity_of
from identities.connections import Connections
from identities.dids import chain_of
from identities.holders import read_genesis
from identities.holding import Holding
from identities.introductions import judge, speakers
from identities.keyring import Keyring
from identities.log import Log
from identities.node_log import NodeLog
from identities.part import CODE, Part
from identities.renewal import RenewalPolicy, Renewing
from identities.rounds import Rounds
from identities.worker import Worker
from walytis_core import Chain, InvalidInputError, Node, NotFoundError, RemoteError, Signer, StorageError, WalytisError
from walytis_core.block import decode
from walytis_core.cid import BlockId
from walytis_core.invitation_record import InvitationUse
from walytis_core.seals import ChainSecret

_NAMES: Final = 1000


class Home:
    """The identities of a node.

    Args:
        node: The node; it stays its owner's.
        renewal: How often keys are renewed.
        random: Gives numbers from 0 to 1.
        now_s: The local clock, in seconds since the epoch.
    """

    def __init__(
        self, node: Node, renewal: RenewalPolicy, random: Callable[[], float], now_s: Callable[[], float]
    ) -> None:
        self.node = node
        self.now_s = now_s
        self.lock = threading.RLock()
        """Held while something is said for an identity: one event at a time."""
        self.damaged: dict[str, StorageError] = {}
        self._renewal = renewal
        self._random = random
        self._held: dict[bytes, Holding] = {}
        self.rounds = Rounds(self._work, self._above, self.lock, now_s)
        self.arrivals = Arrivals(self)
        for chain in node.chains():
            try:
                self.open(chain)
            except StorageError as error:  # the others work
                self.damaged[chain.name] = error
        for part in self.parts():
            with suppress(WalytisError):  # its own work says so
                part.groups.write_held()
        node.use_members(self)
        self.connections = Connections(node, lambda: speakers(self.parts()), lambda asked: judge(asked, self.held))
        self.rounds.start()

    def close(self) -> None:
        """Ends the work. Closing twice is fine."""
        self.rounds.close()
        self.connections.close()
        for held in self._held.values():
            held.close()
        self.arrivals.close()

    def wake(self, id: bytes) -> None:
        """Has the work of an identity looked at soon."""
        self.rounds.wake(id)

    def _above(self, due: set[bytes]) -> set[bytes]:
        """The identities that one of these is a member of."""
        found = set()
        for id, held in tuple(self._held.items()):
            with suppress(WalytisError):  # its chain was closed, or cannot be read: its own work says so
                if held.folded.nested_chains & due:
                    found.add(id)
        return found

    def _work(self, id: bytes, now_s: float) -> float:
        """Does what is due for an identity. One that was let go is not found any more, and saves nothing."""
        held = self._held.get(id)
        if held is None:
            return float("inf")
        try:
            return held.work(now_s)
        finally:
            self.arrivals.finish(id)

    # --- which there are -----------------------------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        """The identities that this node acts for, by name."""
        found = [self.held(id) for id in tuple(self._held)]
        return sorted((one for one in found if isinstance(one, Part)), key=lambda one: one.name)

    def part(self, id: bytes) -> Part | None:
        """The identity with this chain, if this node acts for it."""
        found = self.held(id)
        return found if isinstance(found, Part) else None

    def held(self, id: bytes) -> Holding | None:
        """The identity with this chain; one whose chain was deleted, or taken up anew since, is let go."""
        held = self._held.get(id)
        if held is not None and self.chain_of_node(id) is not held.chain:
            self.let_go(id)
            return None
        return held

    def all_held(self) -> list[Holding]:
        """All identities whose chains this node holds, those that came since, too; by name."""
        found = list[Holding]()
        with self.lock:
            for chain in self.node.chains():
                with suppress(StorageError):  # `damaged` tells of it
                    held = self.open(chain)
                    found.extend([] if held is None else [held])
        return sorted(found, key=lambda one: one.name)

    def chain_of_node(self, id: bytes) -> Chain | None:
        """A chain that this node holds, or None."""
        with suppress(NotFoundError, StorageError):
            return self.node.chain(BlockId(id))
        return None

    def written_by(self, actor: Actor) -> list[Log]:
        """The chains that a device writes as one of an identity's: the identity's own, and those of its groups."""
        return [one.log for one in self.parts() if actor in (one.actor, *one.actor.behind)]

    # --- opening -------------------------------------------------------------------------------------------------------

    def open(self, chain: Chain) -> Holding | None:
        """Takes up an identity's chain; None where the chain is no identity's."""
        try:
            genesis = read_genesis(chain.policy.data)
        except RemoteError:
            return None
        id = bytes(chain.id)
        known = self.held(id)
        if known is not None:
            return known
        log = NodeLog(chain, self.chain_of_node, partial(self.wake, id))
        keyring = self._keyring(id, genesis.control.sign.id)
        if keyring is not None:  # a recovery may have been cut off after it gave this device a seat
            keyring.take_up([seat.holder for seat in log.folded().authority.live])
        is_own = keyring is not None and (keyring.device is not None or keyring.via is not None)
        held = self._own(log, cast(Keyring, keyring)) if is_own else Holding(log, self._renewal.overlap_s, self.now_s)
        self._held[id] = held
        held.watch(partial(self.wake, id))
        self.wake(id)
        return held

    def _keyring(self, id: bytes, sign_id: bytes) -> Keyring | None:
        keys = self.node.keys
        keyring = Keyring.load(keys, id)
        if keyring is None:
            keyring = Keyring.load_as(keys, new_name(sign_id))
            if keyring is not None:
                keyring.rename(Keyring.name_for(id))
        return keyring

    def ring_of(self, held: Holding) -> Keyring:
        """The secrets of an identity, or where they are to be: one object, for whoever saves it saves all of it."""
        if isinstance(held, Part):
            return held.actor.keyring
        keys, id = self.node.keys, held.log.id
        return Keyring.load(keys, id) or Keyring(keys, Keyring.name_for(id))

    def _own(self, log: NodeLog, keyring: Keyring) -> Part:
        via = None if keyring.via is None else self._own_actor(keyring.via)
        secrets = keyring.device if via is None else via.secrets
        if secrets is not None:
            log.write_with(secrets.block)
        chain = log.chain
        worker = Worker(
            Actor(log, keyring, via),
            Renewing(self._renewal, self._random, keyring.first_seen),
            invited=partial(_codes_used, chain),
            is_online=lambda: bool(chain.peers()),
        )
        return Part(log, worker, self)

    def _own_actor(self, id: bytes) -> Actor | None:
        held, chain = self._held.get(id), self.chain_of_node(id)
        if held is None and chain is not None:
            held = self.open(chain)
        return held.actor if isinstance(held, Part) else None

    # --- letting go ----------------------------------------------------------------------------------------------------

    def let_go(self, id: bytes) -> None:
        """An identity is taken up anew, or was deleted."""
        held = self._held.pop(id, None)
        if held is not None:
            held.close()

    def open_anew(self, chain: Chain) -> Holding | None:
        """Takes up an identity again, and those behind whose seats this device acts for it: its device is another."""
        id = bytes(chain.id)
        self.let_go(id)
        held = self.open(chain)
        for group in self.parts():
            if group.actor.keyring.via == id:
                self.open_anew(group.chain)
        return held

    def delete(self, chain: Chain) -> None:
        """Ends an identity here: its keys, then its chain, so that what a crash leaves can be deleted again."""
        id, name = bytes(chain.id), chain.name
        part = self.part(id)
        keyring = Keyring(self.node.keys, Keyring.name_for(id)) if part is None else part.actor.keyring
        keyring.forget()
        self.let_go(id)
        self.arrivals.drop(id)
        self.node.delete_chain(chain)
        self.damaged.pop(name, None)

    def drop_stranger(self, id: bytes) -> None:
        """Another's identity is held here no longer."""
        held = self.held(id)
        if held is not None and not isinstance(held, Part):
            self.let_go(id)
            self.node.delete_chain(held.chain)

    # --- taking up chains that others name -------------------------------------------------------------------------------

    def adopt(self, genesis: bytes, name: str, signer: Signer | None = None) -> Chain:
        """Holds a chain whose first block a block of another carries; under this name, or one like it."""
        free, count = name, 1
        while True:
            try:
                return self.node.adopt(genesis, name=free, signer=signer)
            except InvalidInputError:
                if not self._is_taken(free) or count == _NAMES:
                    raise
                count += 1
                free = f"{name}-{count}"

    def _is_taken(self, name: str) -> bool:
        try:
            self.node.chain(name)
        except NotFoundError:
            return False
        except StorageError:  # by one that cannot be read
            pass
        return True

    def take_up(self, genesis: bytes, name: str, *, via: Part | None = None, is_asked: bool = False) -> Holding | None:
        """Holds another identity's chain; with `via`, to act in it behind that identity's seat, once it has one there.

        Whoever told of the chain may be a thief: so one that this node writes in another way stays as it is, and nothing
        is said in a group that says nothing of that identity, unless the user has asked for it.

        Returns:
            The identity; None where the chain is held here, and is no identity's.
        """
        id = bytes(BlockId.of(genesis))
        with self.lock:
            held = self.held(id)
            if held is not None and (via is None or isinstance(held, Part)):
                return held
            if held is None:
                chain = self.chain_of_node(id)
                if chain is None:  # of one that is held here, `open` says it
                    identity_of(genesis)
                held = self.open(self.adopt(genesis, name) if chain is None else chain)  # one without blocks is false
            has_seat = held is not None and via is not None and via.id in held.folded.live_nested.values()
            if held is not None and via is not None and (has_seat or is_asked) and _is_unwritten(held):
                Keyring(self.node.keys, Keyring.name_for(id), via=via.id).save()
                held.chain.write_with(via.device_signer, fresh=True)  # this device never acted here
                self.let_go(id)
                held = self.open(held.chain)
        self.wake(id)
        return held

    # --- members, as the core asks -------------------------------------------------------------------------------------

    def admits(self, did: str, node_key: bytes) -> bool:
        """Whether a node key is that of a member of an identity, now. Asked by the node."""
        held = self.held(bytes(chain_of(did)))
        return held is not None and node_key in held.node_keys()

    def secrets(self, did: str) -> Sequence[ChainSecret]:
        """The secrets that the members of an identity share, the newest first. Asked by the node."""
        part = self.part(bytes(chain_of(did)))
        return () if part is None else part.secrets()

    def members_changed(self, did: str) -> None:
        """Has the node ask again, and sessions be judged anew."""
        self.node.members_changed(did)
        self.connections.review()


def _is_unwritten(held: Holding) -> bool:
    """Whether this node does not act for an identity, and has written nothing on its chain."""
    chain = held.chain
    is_mine = isinstance(held, Part) or decode(chain.genesis).author == chain.author
    return not is_mine and not any(chain.blocks(author=chain.author, limit=1))


def _codes_used(chain: Chain) -> list[InvitationUse]:
    """The uses of invitations that give a seat; others let write, and no more."""
    return [use for use in chain.invitation_uses() if chain.tables.get(CODE + use.invitation.hex()) is not None]


def new_name(sign_id: bytes) -> str:
    """The name of a keyring whose chain is being made."""
    return f"identity-new-{sign_id.hex()}"
