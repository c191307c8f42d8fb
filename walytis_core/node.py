"""`Node`: the handle of a node that users hold: one directory, one node key, its chains, and the network they live on.

A running node is a context manager: `close` ends everything it started. Opening never waits for the network: chains can be
read and written at once, and the transport starts behind. This file puts the parts together; it decides nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

import trio

from walytis_core.admission import JOIN_PROTOCOL
from walytis_core.assembly import Assembly
from walytis_core.block import Block, decode
from walytis_core.chain import Chain
from walytis_core.chain_keys import ChainSecrets
from walytis_core.cid import BlockId
from walytis_core.copying import Copying
from walytis_core.errors import (
    InvalidInputError,
    JoinError,
    LocalError,
    NotAllowedError,
    RemoteError,
    StorageError,
    WalytisError,
)
from walytis_core.exchange import Exchange
from walytis_core.home import Home
from walytis_core.importing import Import
from walytis_core.invitation import Invitation
from walytis_core.join import Join
from walytis_core.keys import FileKeys, Keys, MemoryKeys, read_seed
from walytis_core.layer import Layer
from walytis_core.lifetime import Lifetime
from walytis_core.limits import Limits
from walytis_core.membership import Members, Membership
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.network.port import Network
from walytis_core.pending import Pending
from walytis_core.policy import ANYONE, SECRET, Policy, read_genesis
from walytis_core.reception import Reception
from walytis_core.registry import OwnKey, Registry
from walytis_core.service import PEER_MARK, Service
from walytis_core.signer import MULTIKEY_PREFIX, Ed25519Signer, Signer
from walytis_core.status import NodeStats
from walytis_core.store.sqlite import SqliteStore
from walytis_core.streams import Streams

_NODE_KEY: Final = "node"
_LISTEN_KEY: Final = "listen"


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
        self._network = network
        self._seed = read_seed(keys, _NODE_KEY) or _new_seed(keys)
        self.signer = Ed25519Signer(self._seed)
        """Signs with the node key."""
        self._secrets = ChainSecrets(keys, store)
        self._service = Service(network, self.signer, neighbours)
        self._life = Lifetime(self._main, self._close_chains)
        self.streams = Streams(self._life, self._service)
        """Streams to peers, for layers that speak to them themselves."""
        reception = Reception(self._service, self._secrets)
        network.serve(JOIN_PROTOCOL, reception.answer)
        network.resume_at((store.get(_LISTEN_KEY) or b"").decode(errors="replace").split())
        exchange = Exchange(store, self._service.shared)
        self._copying = Copying(store, self._service.shared, exchange, self._life.loop)
        network.offer(exchange.give)
        self._exchange = exchange

        def name_of(id: BlockId) -> str:
            return store.chains().get(id, "deleted")

        self._home = Home(self._life, self._service, reception, exchange, self._copying, name_of)
        self._membership = Membership(members)
        assembly = Assembly(self._home, keys, self._secrets, layers, self._membership)
        self._registry = Registry(store, self._secrets, assembly)
        self._registry.open(signers or {})
        self._life.start()

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
        keys: Callable[[Path], Keys] = FileKeys,
    ) -> Self:
        """Opens a directory, making it where it is missing, and goes online.

        Args:
            directory: Holds the database and the keys of one node. One process at a time.
            network: The transport; None for the embedded libp2p, listening on loopback. Where it may choose a port,
                it takes the same each time.
            layers: Layers that judge blocks by type prefix.
            neighbours: Sync streams that each chain keeps open; 0 for none but those that a sync needs.
            members: Knows the members of identities, for chains that they read; without it nobody is let in there.
                See `use_members`.
            signers: For chains that were made or joined with a `signer` of the app's own: that signer again, by chain
                id. Without it such a chain can be read, and appending raises `LockedError`.
            keys: Opens what keeps this node's secrets, given the folder for it, once the directory is this process's;
                closed with the node. Plain files of mode 0600 when left out; `identities.keystore.open_keys` seals them.

        Raises:
            InUseError: Another process has the directory open.
            LockedError: Its keys are sealed, and `keys` was left out; `WrongPassphraseError` when it does not open them.
            StorageError: The directory cannot be read or written, or its store is of a newer version.
        """
        path = Path(directory)
        with ExitStack() as opened:
            store = SqliteStore.open(path)
            opened.callback(store.close)
            held = keys(path / "keys")
            opened.callback(held.close)
            node = cls(
                store, held, network or _embedded(),
                layers=layers, neighbours=neighbours, members=members, signers=signers,
            )  # fmt: skip
            opened.pop_all()  # from here on they are closed with the node
        return node

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
        if not self._life.begin_end():
            return
        self._close_chains()
        self._life.end()
        self._service.shared.workers.close()
        self._keys.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Node({self.signer.key.hex()[4:12]}..., {len(self._registry.all())} chains)"

    async def _main(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._remember_addresses)
        nursery.start_soon(self._exchange.repair)
        nursery.start_soon(self._copying.run)
        await self._service.run(self._seed)

    async def _remember_addresses(self) -> None:
        await self._service.is_up.wait()
        if self._network.addresses():
            with suppress(StorageError):  # the next start then takes other ports; reading goes on
                self._store.put(_LISTEN_KEY, "\n".join(self._network.addresses()).encode())

    def _close_chains(self) -> None:
        for chain in self._registry.all():
            chain.close()

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
        self._life.require_open()
        key = OwnKey.of(signer)
        policy = Policy(_listed(writers, key.signer.key), readers, _app_data(data))
        return self._registry.create(name, policy, key)

    def chains(self) -> Sequence[Chain]:
        """The chains of this node, by name. Those that cannot be opened are in `damaged()`."""
        self._life.require_open()
        return sorted(self._registry.all(), key=lambda chain: chain.name)

    def damaged(self) -> Mapping[BlockId, StorageError]:
        """The chains of this node that could not be opened, and why: their first block or a key file is damaged.

        Repair the files and open the node again; or delete such a chain with `delete_chain`, and join it again.
        """
        self._life.require_open()
        return self._registry.damaged()

    def name_of(self, id: BlockId) -> str:
        """The local name of a chain, also of one that is `damaged`."""
        return self._home.name_of(id)

    def chain(self, name_or_id: str | BlockId) -> Chain:
        """A chain by its local name or its id.

        Raises:
            NotFoundError: There is no such chain here.
            StorageError: It is here, and damaged; see `damaged`.
        """
        self._life.require_open()
        return self._registry.find(name_or_id)

    def delete_chain(self, chain: Chain | str | BlockId) -> None:
        """Removes a chain's data, keys and tasks from this node. Other nodes keep theirs; it can be joined again.

        Raises:
            NotFoundError: It is not here, or was deleted already.
            StorageError: The disk refused. Where the chain is still listed nothing was changed; else what is left of
                it is removed at the next opening.
        """
        self._life.require_open()
        self._registry.delete(chain)

    def rename(self, chain: Chain | str | BlockId, name: str) -> None:
        """Changes a chain's local name."""
        self._life.require_open()
        self._registry.rename(chain if isinstance(chain, Chain) else self._registry.find(chain), name)

    def import_chain(
        self,
        path: Path | str,
        *,
        name: str | None = None,
        signer: Signer | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Chain:
        """Takes a chain from a CAR file, as `Chain.export` or ``ipfs dag export`` writes it (docs/spec/car.md).

        The whole file is verified before any of it is taken, like blocks that a peer sends. A chain that is held here
        gets what is new to it. One that is not is added, if everyone may read it, with a fresh key of this node's, and
        syncs with peers as any other. Takes long for long chains: in asyncio, call it in a thread.

        Args:
            path: The file.
            name: What to call a chain that is new here; None for the name of the file (with ``-2`` added where it
                is taken).
            signer: Writes a chain that is new here with this key, once a sync has shown what else it wrote; None for
                a fresh one.
            progress: Told how many bytes of the file are done, and of how many; what it raises ends the import.

        Raises:
            InvalidInputError: The file does not hold one chain, whole: the message says what is wrong, and where. Or
                the name is taken. Nothing was taken.
            NotAllowedError: Not everyone may read the chain, and it is not held here: join it first.
            NotFoundError: There is no such file.
            StorageError: The file cannot be read; or the disk refused: a new chain is gone then, one that was held
                before may have got some of the blocks.
            ClosedError: The node has been closed.
        """
        self._life.require_open()
        return Import(self._registry, self._life.require_open, Path(path), name, progress, signer).run()

    def adopt(self, genesis: bytes, *, name: str, addresses: Sequence[str] = (), signer: Signer | None = None) -> Chain:
        """Takes up a chain whose first block is known, because a block of another chain carries it, say.

        It syncs with peers that hold it, as any chain does: they let in who may read it. Where it is held already, that
        chain is given, under the name it has.

        Args:
            genesis: The bytes of its first block (`Chain.genesis`).
            name: What to call it here.
            addresses: Where peers may be found that hold it, as `addresses` gives them there.
            signer: Writes it with this key, once a sync has shown what else it wrote (see `Chain.write_with`); None for
                a fresh one.

        Raises:
            InvalidInputError: This is no first block of a chain; the name is taken, or an address names no peer.
            NotAllowedError: The readers of the chain hold a secret: join it, with an invitation.
            StorageError: It is held here, and damaged; or the disk refused.
            ClosedError: The node has been closed.
        """
        self._life.require_open()
        block = _first_block(genesis)
        if not all(PEER_MARK in address for address in addresses):
            raise InvalidInputError("an address names the peer that it leads to", hint="Use what `addresses()` gave.")
        chain = self._registry.take_up(block, name, OwnKey.of(signer))
        self._life.loop.post(partial(self._service.look_for, chain.id, list(addresses)))
        return chain

    def use_members(self, members: Members) -> None:
        """Says who knows the members of identities, for the chains that they read: from now on, in place of who did before.

        It is asked in threads, a few at once; nobody else waits for it. Where it knows no secret of an identity, its chains
        can be read and written here, and meet nobody.
        """
        self._life.require_open()
        self._membership.use(members)
        self._life.loop.post(partial(self._service.members_changed, None))

    def members_changed(self, did: str) -> None:
        """Has the chains that the members of an identity read go on with the members and secrets that there are now.

        Streams end whose peers are not admitted any more, and those that were opened under a secret that is not listed any
        more. Returns at once; may be called from anywhere, as often as need be.
        """
        self._life.require_open()
        self._life.loop.post(partial(self._service.members_changed, did))

    # --- the network ---------------------------------------------------------------------------------------------

    def addresses(self) -> list[str]:
        """Addresses under which this node can be reached, the best first.

        Raises:
            UnavailableError: The network does not come up.
        """
        return self._home.addresses()

    @property
    def key(self) -> bytes:
        """The node's public key, 32 bytes: peers see it proven, as `PeerInfo.node_key`."""
        return self.signer.key[len(MULTIKEY_PREFIX) :]

    @property
    def keys(self) -> Keys:
        """Where this node keeps its secrets: layers keep theirs there, too, each under names of its own."""
        return self._keys

    @property
    def peer_id(self) -> str:
        """The transport's name for this node; empty until the network is up."""
        return self._network.peer_id

    def connect(self, addresses: Sequence[str] | str) -> Pending[str]:
        """Connects to a peer at one of these addresses; gives its peer id. Shared chains then sync by themselves."""
        self._life.require_open()
        pending = Pending[str]()
        wanted = [addresses] if isinstance(addresses, str) else list(addresses)

        async def dial() -> None:
            try:
                pending.resolve(await self._service.connect(wanted))
            except WalytisError as error:
                pending.fail(error)

        return self._life.attend(pending, dial)

    @property
    def stats(self) -> NodeStats:
        """What this node holds and does."""
        service, chains = self._service, self._registry.all()
        is_up = service.is_up.is_set()
        ailment = self._life.failure or self._store.refusal or service.failure or self._network.failure
        return NodeStats(
            chains=len(chains),
            damaged=len(self._registry.damaged()),
            blocks=sum(len(chain) for chain in chains),
            peers=len(self._network.connected()) if is_up else 0,
            sessions=sum(len(one.sessions) for one in list(service.chains.values())),
            refused={reason.value: count for reason, count in dict(service.manners.faults).items()},
            network="closed" if self._life.is_closed else str(ailment or ("up" if is_up else "starting")),
        )

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
        self._life.require_open()
        ticket = invitation if isinstance(invitation, Invitation) else Invitation.parse(invitation)
        self._registry.require_not_held(ticket.chain_id)
        if ticket.issuer == self.key:
            raise LocalError("this is an invitation of this very node", hint="Use it on another node.")
        if ticket.expires is not None and ticket.expires <= time.time():
            raise JoinError("the invitation has expired")
        if name is not None:
            self._registry.require_new_name(name)
        join = Join(self._registry, self._service, ticket, name, OwnKey.of(signer))
        return self._life.attend(join.pending, join.run)


def _new_seed(keys: Keys) -> bytes:
    seed = os.urandom(32)
    keys.put(_NODE_KEY, seed)
    return seed


def _listed(writers: Literal["anyone"] | Collection[bytes], own: bytes) -> frozenset[bytes] | None:
    if isinstance(writers, str):
        if writers != ANYONE:
            raise InvalidInputError("writers is 'anyone', or a list of multikeys")
        return None
    if not all(isinstance(key, bytes) for key in writers):
        raise InvalidInputError("a writer is an Ed25519 multikey of 34 bytes")
    return frozenset(writers) | {own}


def _first_block(encoded: bytes) -> Block:
    try:
        block = decode(encoded)
        readers = read_genesis(block).policy.readers
    except RemoteError as error:
        raise InvalidInputError(f"this is no first block of a chain: {error.reason.value}") from error
    if readers == SECRET:
        raise NotAllowedError("its readers hold a secret, which is not in the first block", hint="Join it instead.")
    return block


def _app_data(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise InvalidInputError("the app's data in the genesis is bytes")
    return data


def _embedded() -> Network:
    from walytis_core.network.libp2p import Libp2pNetwork  # noqa: PLC0415 - for those who use it

    return Libp2pNetwork()
