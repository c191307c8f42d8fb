"""`Node`: one directory, one node key, any number of chains, and the network they live on.

A running node is a context manager: `close` ends everything it started. Opening never waits for the network: chains can be
read and written at once, and the transport starts behind. This file puts the parts together; it decides nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import random
from typing import Any, Final, Literal, Self, TypeVar
from weakref import WeakSet

import trio

from walytis_core.admission import (
    JOIN_PROTOCOL,
    ask_to_join,
)
from walytis_core.authors import OwnAuthor, first_values
from walytis_core.block import Block, decode
from walytis_core.chain import Chain
from walytis_core.chain_keys import ChainSecrets
from walytis_core.chain_service import ChainService, LoopOutlet
from walytis_core.cid import BlockId
from walytis_core.content_fetch import ContentFetch
from walytis_core.engine import Engine, require_process
from walytis_core.errors import (
    ClosedError,
    InvalidInputError,
    JoinError,
    LocalError,
    NotFoundError,
    RemoteError,
    StorageError,
    UnavailableError,
    WalytisError,
)
from walytis_core.events import Arrived, Change
from walytis_core.handshake import admits_all
from walytis_core.invitation import Invitation
from walytis_core.join import Join
from walytis_core.joining import Grant
from walytis_core.keys import FileKeys, Keys, MemoryKeys, read_seed
from walytis_core.layer import Layer
from walytis_core.limits import Limits
from walytis_core.loop import Loop
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.network.port import Network
from walytis_core.parking import Budget
from walytis_core.pending import Pending
from walytis_core.policy import ANYONE, EVERYONE, NONCE_BYTES, SECRET, Genesis, Policy, create_genesis, read_genesis
from walytis_core.reception import Reception
from walytis_core.seals import SECRET_BYTES, ChainKeys, ChainSecret
from walytis_core.service import Service
from walytis_core.signer import Ed25519Signer, Signer
from walytis_core.status import NodeStats, PeerInfo
from walytis_core.store.port import ChainStore
from walytis_core.store.sqlite import SqliteStore

T = TypeVar("T")

Members = Callable[[str, bytes], bool]
"""Whether the holder of a node key (32 bytes) is a member of the identity with a DID, now."""

_log = logging.getLogger(__name__)
_CRASHED: Final = "the node ended because of an error in its background loop"

_NODE_KEY: Final = "node"
_LISTEN_KEY: Final = "listen"
_NETWORK_WAIT_S: Final = 15.0


class Node:
    """A node: the chains of one directory, and their network. Make one with `open` or `in_memory`.

    >>> with Node.in_memory() as node:
    ...     node.create_chain("notes").name
    'notes'
    """

    def __init__(
        self,
        store: SqliteStore,
        keys: Keys,
        network: Network,
        *,
        layers: Sequence[Layer] = (),
        neighbours: int,
        members: Members | None = None,
        signers: Mapping[BlockId, Signer] | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._layers = tuple(layers)
        self._members = members
        self._budget = Budget()
        self._secrets = ChainSecrets(keys, store)
        self._chains: dict[BlockId, Chain] = {}
        self._damaged: dict[BlockId, StorageError] = {}
        self._naming = threading.RLock()
        self._process = os.getpid()
        self._crash: BaseException | None = None
        self._is_closed = False
        self._pendings: WeakSet[Pending[Any]] = WeakSet()
        self._seed = read_seed(keys, _NODE_KEY) or self._new_seed()
        self.signer = Ed25519Signer(self._seed)
        """Signs with the node key."""
        self._network = network
        self._service = Service(network, self.signer, neighbours)
        self._reception = Reception(self._service, self.signer, self._chains, self._secret_of)
        network.serve(JOIN_PROTOCOL, self._reception.answer)
        self._loop = Loop(self._main, self._crashed)
        self._open_chains(signers or {})
        self._loop.start()

    # --- opening and closing -------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        network: Network | None = None,
        layers: Sequence[Layer] = (),
        neighbours: int = Limits.neighbours,
        members: Members | None = None,
        signers: Mapping[BlockId, Signer] | None = None,
    ) -> Self:
        """Opens a directory, making it where it is missing, and goes online.

        Args:
            directory: Holds the database and the keys of one node. One process at a time.
            network: The transport; None for the embedded libp2p, listening on loopback, on the same port each time.
            layers: Layers that judge blocks by type prefix.
            neighbours: Sync streams that each chain keeps open; 0 for none but those that a sync needs.
            members: Says whether a node key belongs to an identity, for chains that members of an identity read;
                without it nobody is let in there.
            signers: For chains that were made or joined with a `signer` of the app's own: that signer again, by chain
                id. Without it such a chain can be read, and appending raises `LockedError`.

        Raises:
            InUseError: Another process has the directory open.
            StorageError: The directory cannot be read or written, or its store is of a newer version.
        """
        path = Path(directory)
        store = SqliteStore.open(path)
        try:
            keys = FileKeys(path / "keys")
            transport = network or _embedded(store)
            return cls(store, keys, transport, layers=layers, neighbours=neighbours, members=members, signers=signers)
        except BaseException:
            store.close()
            raise

    @classmethod
    def in_memory(
        cls,
        hub: MemoryHub | None = None,
        *,
        layers: Sequence[Layer] = (),
        neighbours: int = Limits.neighbours,
        network: Network | None = None,
    ) -> Self:
        """A node that leaves nothing behind: for tests, notebooks and examples.

        Args:
            hub: The medium it shares with others in this process; None to be alone on one.
            network: Another transport instead.
        """
        transport = network or MemoryNetwork(hub or MemoryHub())
        return cls(SqliteStore.open_memory(), MemoryKeys(), transport, layers=layers, neighbours=neighbours)

    def close(self) -> None:
        """Goes offline and closes the store; everything that was started ends. Closing twice is fine.

        In a forked child it does nothing: the node is its parent's.
        """
        if self._is_closed or os.getpid() != self._process:
            return
        self._is_closed = True
        for chain in list(self._chains.values()):
            chain.close()
        self._loop.stop()
        self._fail_pendings(ClosedError("the node was closed"))
        self._service.shared.workers.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Node({self.signer.key.hex()[4:12]}..., {len(self._chains)} chains)"

    async def _main(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._remember_address)
        try:
            await self._service.run(self._seed)
        except UnavailableError as error:  # local use goes on without a network; `stats` and `addresses()` say so
            self._service.fail(error)
            await trio.sleep_forever()

    async def _remember_address(self) -> None:
        await self._service.is_up.wait()
        if self._network.addresses():
            with suppress(StorageError):  # the next start then takes another port; reading goes on
                self._store.put(_LISTEN_KEY, self._network.addresses()[0].encode())

    def _crashed(self, error: BaseException) -> None:
        self._crash = error
        _log.critical("the node ended because of an error in its background loop", exc_info=error)
        for chain in list(self._chains.values()):
            chain.close()
        self._fail_pendings(_ended(error))

    def _fail_pendings(self, error: ClosedError) -> None:
        for pending in tuple(self._pendings):
            pending.fail(error)

    def require_open(self) -> None:
        """Raises `ClosedError`, with the cause, once the node has ended, and in a forked child."""
        require_process(self._process)
        if self._crash is not None:
            raise _ended(self._crash)
        if self._is_closed:
            raise ClosedError("the node has been closed")

    def _new_seed(self) -> bytes:
        seed = os.urandom(32)
        self._keys.put(_NODE_KEY, seed)
        return seed

    # --- chains --------------------------------------------------------------------------------------------------

    def create_chain(
        self,
        name: str,
        *,
        writers: Literal["anyone"] | Collection[bytes] = ANYONE,
        readers: str = SECRET,
        data: bytes = b"",
        signer: Signer | None = None,
    ) -> Chain:
        """Makes a new chain.

        Args:
            name: Its name on this node; also what invitations suggest.
            writers: ``"anyone"`` who can read, or a list of multikeys; this node's own key for the chain is added.
            readers: ``"secret"``: those who were invited; ``"everyone"``; or the DID of an identity.
            data: Bytes of the app's own in the genesis.
            signer: Writes the chain with this key; None for a fresh one.

        Raises:
            InvalidInputError: The name is taken or empty, or the policy is out of its limits.
        """
        self.require_open()
        seed = None if signer else os.urandom(32)
        author = signer or Ed25519Signer(seed or b"")
        policy = Policy(_listed(writers, author.key), readers, _app_data(data))
        genesis = create_genesis(author, policy, os.urandom(NONCE_BYTES), time.time_ns() // 1_000_000)
        secret = None if readers == EVERYONE else ChainSecret(0, os.urandom(SECRET_BYTES))
        with self._naming:
            self._require_new_name(name)
            values = first_values(given=None if signer is None else signer.key)
            return self._add_chain(genesis, name, secret, seed, signer, values)

    def chains(self) -> Sequence[Chain]:
        """The chains of this node, by name. Those that cannot be opened are in `damaged()`."""
        self.require_open()
        return sorted(self._chains.copy().values(), key=lambda chain: chain.name)

    def damaged(self) -> Mapping[BlockId, StorageError]:
        """The chains of this node that could not be opened, and why: their first block or a key file is damaged.

        Repair the files and open the node again; or delete such a chain with `delete_chain`, and join it again.
        """
        self.require_open()
        return self._damaged.copy()

    def chain(self, name_or_id: str | BlockId) -> Chain:
        """A chain by its local name or its id.

        Raises:
            NotFoundError: There is no such chain here.
            StorageError: It is here, and damaged; see `damaged`.
        """
        self.require_open()
        id = self._id_of(name_or_id)
        found = self._chains.get(id)
        if found is not None:
            return found
        if id in self._damaged:
            error = self._damaged[id]
            raise StorageError(str(error), hint=error.hint) from error
        raise _not_found(name_or_id)  # it is being added, or was deleted meanwhile

    def _id_of(self, name_or_id: str | BlockId) -> BlockId:
        for id, name in self._store.chains().items():
            if name_or_id in (name, id, str(id)):
                return id
        raise _not_found(name_or_id)

    def delete_chain(self, chain: Chain | str | BlockId) -> None:
        """Removes a chain's data, keys and tasks from this node. Other nodes keep theirs; it can be joined again.

        Raises:
            NotFoundError: It is not here, or was deleted already.
            StorageError: The disk refused. Where the chain is still listed nothing was changed; else what is left of
                it is removed at the next opening.
        """
        self.require_open()
        with self._naming:  # so that it cannot be added again before its keys are gone
            id = chain.id if isinstance(chain, Chain) else self._id_of(chain)
            found = self._chains.get(id)
            is_held = found is not None or id in self._damaged
            if not is_held or (isinstance(chain, Chain) and chain is not found):
                raise NotFoundError("this chain has been deleted already")
            failed = self._take_out(id, found)
        if found is not None:
            found.close(is_deleted=True)
        self._store.purge()
        if failed is not None:
            raise failed

    def _take_out(self, id: BlockId, chain: Chain | None) -> StorageError | None:
        """Takes a chain out of the store, then of the node; gives why its keys could not be removed."""
        self._secrets.note(id)
        if chain is None:
            self._store.hide_chain(id)
        else:
            with chain.engine.exclusive():  # nothing is written to it in between
                self._store.hide_chain(id)
                chain.engine.close()
        self._chains.pop(id, None)
        self._damaged.pop(id, None)
        self._reception.forget(id)
        self._loop.post(partial(self._service.remove, id))
        try:
            self._secrets.delete(id)
        except StorageError as error:
            return error
        return None

    def name_of(self, id: BlockId) -> str:
        """The local name of a chain."""
        self.require_open()
        return self._store.chains().get(id, "deleted")

    def rename(self, chain: Chain | str | BlockId, name: str) -> None:
        """Changes a chain's local name."""
        self.require_open()
        found = chain if isinstance(chain, Chain) else self.chain(chain)
        with self._naming:
            self._require_new_name(name)
            self._store.rename(found.id, name)

    def _require_new_name(self, name: str) -> None:
        if not name or not name.isprintable():
            raise InvalidInputError("a chain's name is printable text, not empty")
        if name in self._store.chains().values():
            raise InvalidInputError(f"there is a chain called {name} already", hint="Choose another name.")

    def _add_chain(
        self,
        genesis: Block,
        name: str,
        secret: ChainSecret | None,
        seed: bytes | None,
        signer: Signer | None,
        values: Mapping[str, bytes],
    ) -> Chain:
        """Writes the keys, then the chain with its first values; what fails leaves nothing behind."""
        id = genesis.id
        self._require_not_held(id)  # two joins at once: the keys of the first stay
        self._secrets.note(id)
        try:
            self._secrets.put(id, seed, secret)
            chain = self._start_chain(self._store.create_chain(genesis, name, values), signer)
        except BaseException:
            with suppress(WalytisError):  # what the disk refuses to take back now goes at the next opening
                if id in self._store.chains():
                    self._store.hide_chain(id)
                self._secrets.delete(id)
                self._store.purge()
            raise
        with suppress(StorageError):  # the note is dropped at the next opening
            self._secrets.settled(id)
        return chain

    def _require_not_held(self, id: BlockId) -> None:
        if id in self._damaged:
            raise LocalError("this chain is held here, and damaged", hint="Delete it: `node.delete_chain(id)`.")
        if id in self._chains:
            raise LocalError("this chain is held here already", hint="Use `node.chain(id)`.")

    def _open_chains(self, signers: Mapping[BlockId, Signer]) -> None:
        """Opens the chains of the store. One that cannot be opened is set aside, with the reason: the others work."""
        held = self._store.chains()
        self._secrets.tidy(held)
        for id in held:
            try:
                self._start_chain(self._store.chain(id), signers.get(id))
            except StorageError as error:
                self._damaged[id] = error
        if self._store.device_changed and not self._damaged:  # else the next opening asks again, for all
            self._store.acknowledge_device()

    def _start_chain(self, tables: ChainStore, signer: Signer | None) -> Chain:
        chain_id = tables.id
        genesis = _genesis_of(tables)
        outlet = LoopOutlet(self._loop, self._service.chains, self._service.fault, chain_id)
        engine = Engine(genesis, tables, outlet, random, self._budget)
        is_copy, known = self._store.device_changed, partial(self._known_peers, chain_id)
        author = OwnAuthor(genesis, tables, self._keys, signer, is_copy=is_copy, known_peers=known)
        chain = Chain(self, engine, author, self._layers, self._tables_of)
        if self._layers:
            engine.listen(partial(self._tell_other_chains, chain_id))
        keys = self._keys_of(chain_id, genesis.policy)
        admits = self._admits_of(genesis.policy)
        self._reception.open(genesis, tables)
        self._chains[chain_id] = chain
        self._loop.post(lambda: self._service.add(ChainService(self._service.shared, engine, keys, admits)))
        return chain

    def _known_peers(self, id: BlockId) -> int:
        service = self._service.chains.get(id)
        return 0 if service is None else service.known_peers

    def _tables_of(self, id: BlockId) -> ChainStore | None:
        chain = self._chains.get(id)
        return None if chain is None else chain.tables

    def _tell_other_chains(self, id: BlockId, change: Change) -> None:
        """What waits for this chain on others is checked again, outside this chain's lock."""
        if isinstance(change, Arrived):
            for chain in tuple(self._chains.values()):
                if chain.id != id:
                    self._spawn(partial(self._tell, chain, id))

    async def _tell(self, chain: Chain, other: BlockId) -> None:
        """Another chain took blocks; what a refusing disk or a deleted chain leaves undone here is not worth the node."""
        with suppress(StorageError, ClosedError, NotFoundError):
            await self.run_in_thread(partial(chain.judging.resolved, other))

    def _admits_of(self, policy: Policy) -> Callable[[bytes], bool]:
        """Whether a node key may read. Who is a member of an identity is for the layer above to say."""
        if policy.readers in (EVERYONE, SECRET):
            return admits_all
        members = self._members
        return (lambda _key: False) if members is None else partial(members, policy.readers)

    def _keys_of(self, id: BlockId, policy: Policy) -> ChainKeys:
        """The keys of a chain. One whose secret is lost here meets nobody: its id alone must never open it."""
        if policy.readers == EVERYONE:
            return ChainKeys(id)
        return ChainKeys(id, self._secret_of(id) or ChainSecret(0, os.urandom(SECRET_BYTES)))

    def _secret_of(self, id: BlockId) -> ChainSecret | None:
        return self._secrets.secret(id)

    # --- the network ---------------------------------------------------------------------------------------------

    def addresses(self) -> list[str]:
        """Addresses under which this node can be reached, the best first.

        Raises:
            UnavailableError: The network does not come up.
        """
        self.require_open()

        async def wait() -> list[str]:
            with trio.move_on_after(_NETWORK_WAIT_S):
                await self._service.wait_up()
            return list(self._network.addresses()) if self._service.is_up.is_set() else []

        addresses = self._loop.call(wait)
        if not self._service.is_up.is_set():
            raise UnavailableError("the network is not up yet", hint="See `walytis doctor`.")
        return addresses

    @property
    def peer_id(self) -> str:
        """The transport's name for this node; empty until the network is up."""
        return self._network.peer_id

    def connect(self, addresses: Sequence[str] | str) -> Pending[str]:
        """Connects to a peer at one of these addresses; gives its peer id. Shared chains then sync by themselves."""
        self.require_open()
        pending = Pending[str]()
        self._pendings.add(pending)
        wanted = [addresses] if isinstance(addresses, str) else list(addresses)

        async def dial() -> None:
            try:
                await self._service.wait_up()
                pending.resolve((await self._network.connect(wanted)).peer)
            except WalytisError as error:
                pending.fail(error)

        self._spawn(dial)
        return pending

    @property
    def stats(self) -> NodeStats:
        """What this node holds and does."""
        services = list(self._service.chains.values())
        refused = dict(self._service.manners.faults)
        up = "up" if self._service.is_up.is_set() else "starting"
        return NodeStats(
            chains=len(self._chains),
            blocks=sum(len(chain) for chain in self._chains.values()),
            peers=len(self._network.connected()) if up == "up" else 0,
            sessions=sum(len(service.sessions) for service in services),
            refused={reason.value: count for reason, count in refused.items()},
            network="closed" if self._is_closed else str(self._ailment or up),
        )

    @property
    def _ailment(self) -> object:
        if self._crash is not None:
            return _ended(self._crash)
        return self._store.refusal or self._service.failure

    def peers_of(self, id: BlockId) -> Sequence[PeerInfo]:
        """The online peers of a chain, the most recent contact first."""
        service = self._service.chains.get(id)
        if service is None:
            return ()
        infos = [
            PeerInfo(peer=one.peer, node_key=one.node_key, last_contact=one.last_contact)
            for one in tuple(service.sessions.values())
            if one.peer in service.engine.replica.sync.links  # else it is just being opened
        ]
        return sorted(infos, key=lambda info: -info.last_contact)

    def last_contact_of(self, id: BlockId) -> float | None:
        """When a peer of a chain was last heard; seconds since the epoch."""
        service = self._service.chains.get(id)
        if service is None:
            return None
        now = [info.last_contact for info in self.peers_of(id)]
        return max([*now, *service.last_contact.values()], default=None)

    async def run_in_thread(self, job: Callable[[], T]) -> T:
        """Runs a job in one of the node's worker threads; in the loop."""
        return await self._service.shared.workers.run(job)

    def _spawn(self, function: Callable[[], Awaitable[object]]) -> None:
        self._loop.spawn(function)

    # --- joining -------------------------------------------------------------------------------------------------

    def join(
        self, invitation: Invitation | str, *, name: str | None = None, signer: Signer | None = None
    ) -> Pending[Chain]:
        """Joins a chain; the result comes when what the inviter holds is held here.

        While the inviter is offline the join waits: `progress()` says so. Cancelling undoes what was begun; so does
        cancelling a task that awaits it, as ``asyncio.wait_for`` does.

        Args:
            invitation: The invitation, or its URI.
            name: The chain's name here; None for the suggested one (with ``-2`` added where it is taken).
            signer: Writes the chain with this key; None for a fresh one.

        Raises:
            InvalidInputError: It is no invitation, or was mistyped.
            LocalError: The chain is held here already.
            JoinError: The invitation has expired; by `result()` also: it is used, revoked, or not the issuer's.
        """
        self.require_open()
        ticket = invitation if isinstance(invitation, Invitation) else Invitation.parse(invitation)
        self._require_not_held(ticket.chain_id)
        if ticket.issuer == self.signer.key[2:]:
            raise LocalError("this is an invitation of this very node", hint="Use it on another node.")
        if ticket.expires is not None and ticket.expires <= time.time():
            raise JoinError("the invitation has expired")
        if name is not None:
            self._require_new_name(name)
        join = Join(self, ticket, name, signer)
        self._pendings.add(join.pending)
        self._spawn(join.run)
        return join.pending

    async def ask_issuer(self, ticket: Invitation, author: Signer) -> tuple[Grant, str]:
        """Asks the issuer to be let in; gives the grant and the issuer's peer id."""
        await self._service.wait_up()
        peer = (await self._network.connect(ticket.addresses)).peer
        return await ask_to_join(self._network, peer, ticket, self.signer, author), peer

    def adopt(self, grant: Grant, issuer: str, name: str, seed: bytes | None, signer: Signer | None) -> Chain:
        """Adds the chain of a grant: all of it, or nothing."""
        admit, given = grant.admit and grant.admit.id, None if signer is None else signer.key
        with self._naming:
            values = first_values(given=given, admit=admit, issuer=issuer)
            return self._add_chain(grant.genesis, self._free_name(name), grant.secret, seed, signer, values)

    def _free_name(self, name: str) -> str:
        taken = set(self._store.chains().values())
        wanted = name or "chain"
        free, count = wanted, 1
        while free in taken:
            count += 1
            free = f"{wanted}-{count}"
        return free

    def introduce(self, chain: Chain, peer: str, addresses: Sequence[str]) -> None:
        """A peer of this chain is known: syncs with it; in the loop."""
        service = self._service.chains.get(chain.id)
        if service is not None:
            own = [address for address in addresses if address.endswith(f"/p2p/{peer}")]
            service.learn(peer, own or [f"{address}/p2p/{peer}" for address in addresses])
            service.contact(peer)

    def invited(self, chain: Chain, invitation: Invitation) -> None:
        """An invitation was issued."""
        self._reception.expect(invitation.id, chain.id)

    # --- content -------------------------------------------------------------------------------------------------

    def fetch(self, chain: Chain, block: Block) -> Pending[Block]:
        """Fetches a block's long content from peers. See `Chain.fetch`."""
        fetching = ContentFetch(self._service.shared.workers, self._loop, chain, block)
        self._pendings.add(fetching.pending)
        self._spawn(fetching.run)
        return fetching.pending


def _ended(crash: BaseException) -> ClosedError:
    """What every call says once the loop has crashed."""
    root = crash
    while isinstance(root, BaseExceptionGroup) and len(root.exceptions) == 1:
        root = root.exceptions[0]
    error = ClosedError(
        f"{_CRASHED}: {type(root).__name__}", hint="This is a bug: report it with the error that is its cause."
    )
    error.__cause__ = root
    return error


def _listed(writers: Literal["anyone"] | Collection[bytes], own: bytes) -> frozenset[bytes] | None:
    if isinstance(writers, str):
        if writers != ANYONE:
            raise InvalidInputError("writers is 'anyone', or a list of multikeys")
        return None
    if not all(isinstance(key, bytes) for key in writers):
        raise InvalidInputError("a writer is an Ed25519 multikey of 34 bytes")
    return frozenset(writers) | {own}


def _app_data(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise InvalidInputError("the app's data in the genesis is bytes")
    return data


def _not_found(name_or_id: str | BlockId) -> NotFoundError:
    return NotFoundError(f"there is no chain called {name_or_id!s} here")


def _genesis_of(tables: ChainStore) -> Genesis:
    """The first block, checked against its id. Raises `StorageError` when it is damaged."""
    encoded = tables.encoded([tables.id]).get(tables.id)
    try:
        block = None if encoded is None else decode(encoded)
        if block is not None and block.id == tables.id:
            return read_genesis(block)
    except RemoteError as error:
        raise _damaged_genesis() from error
    raise _damaged_genesis()


def _damaged_genesis() -> StorageError:
    return StorageError(
        "the chain's first block is damaged", hint="Restore a backup; or delete the chain here, and join it again."
    )


def _embedded(store: SqliteStore) -> Network:
    """The embedded transport, on the port that this directory had before, so that peers find it again."""
    from walytis_core.network.libp2p import Libp2pNetwork  # noqa: PLC0415 - for those who use it

    before = (store.get(_LISTEN_KEY) or b"").decode().split("/")
    port = before[4] if len(before) > 4 and before[3] == "tcp" and _is_free(int(before[4])) else "0"
    return Libp2pNetwork(listen=[f"/ip4/127.0.0.1/tcp/{port}"])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
