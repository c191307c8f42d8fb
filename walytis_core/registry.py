"""Which chains a directory holds, and under which names: made, adopted, renamed, deleted, looked up, and damaged ones.

Invariants: a name is used once; a chain is added with its keys, first values and name, or nothing of it stays; one that
is deleted can be added again at once; one that cannot be opened is set aside, with the reason, and the others work. How a
chain is put to work is for `assembly.py` to know.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from walytis_core.admission import Invitations
from walytis_core.assembly import Assembly
from walytis_core.authors import first_values
from walytis_core.block import Block
from walytis_core.chain import Chain
from walytis_core.chain_keys import ChainSecrets
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, LocalError, NotFoundError, StorageError, WalytisError
from walytis_core.joining import Grant
from walytis_core.policy import NONCE_BYTES, SECRET, Policy, create_genesis
from walytis_core.seals import SECRET_BYTES, ChainSecret
from walytis_core.signer import Ed25519Signer, Signer
from walytis_core.store.sqlite import SqliteStore

_LOOK_S: Final = 0.5
"""How often who waits for another import looks whether the node is still open."""


class OwnKey(NamedTuple):
    """The key that this node is to write a new chain with.

    Attributes:
        signer: Signs with it.
        seed: Its seed, when it is of this node's making and kept here; None when the app gave it.
    """

    signer: Signer
    seed: bytes | None

    @classmethod
    def of(cls, given: Signer | None) -> OwnKey:
        """The key that was given, or else a fresh one."""
        if given is not None:
            return cls(given, None)
        seed = os.urandom(32)
        return cls(Ed25519Signer(seed), seed)

    @property
    def given(self) -> Signer | None:
        """The signer that the app gave, or None."""
        return self.signer if self.seed is None else None

    @property
    def given_key(self) -> bytes | None:
        """The key that the app gave, or None."""
        return self.signer.key if self.seed is None else None


class Registry:
    """The chains of one directory.

    Args:
        store: Holds them.
        secrets: Their keys.
        assembly: Puts them to work.
    """

    def __init__(self, store: SqliteStore, secrets: ChainSecrets, assembly: Assembly) -> None:
        self._store = store
        self._secrets = secrets
        self._assembly = assembly
        self._damaged: dict[BlockId, StorageError] = {}
        self._naming = threading.RLock()  # held while names are looked at and taken
        self._import_lock = threading.Lock()
        self._importer: int | None = None

    def open(self, signers: Mapping[BlockId, Signer]) -> None:
        """Opens the chains of the store, each with the signer that the app gave for it, if any."""
        held, is_copy = self._store.chains(), self._store.device_changed
        self._secrets.tidy(held)
        for id in held:
            self._invitations(id).settle(int(time.time()))
        self._secrets.wipe(self._store.scrub)
        for id in held:
            try:
                self._assembly.open(self._store.chain(id), signers.get(id), is_copy=is_copy)
            except StorageError as error:
                self._damaged[id] = error
        if is_copy and not self._damaged:  # else the next opening asks again, for all
            self._store.acknowledge_device()

    def _invitations(self, id: BlockId) -> Invitations:
        return Invitations(self._store.chain(id), self._secrets)

    # --- looking up --------------------------------------------------------------------------------------------------

    def all(self) -> Sequence[Chain]:
        """The chains that are at work."""
        return list(self._assembly.chains.copy().values())

    def damaged(self) -> dict[BlockId, StorageError]:
        """The chains that could not be opened, and why."""
        return self._damaged.copy()

    def find(self, name_or_id: str | BlockId) -> Chain:
        """A chain by its local name or its id.

        Raises:
            NotFoundError: There is no such chain here.
            StorageError: It is here, and damaged.
        """
        id = self._id_of(name_or_id)
        found = self._assembly.chains.get(id)
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

    def require_not_held(self, id: BlockId) -> None:
        """Raises `LocalError` where a chain is held, damaged or not."""
        if id in self._damaged:
            raise LocalError("this chain is held here, and damaged", hint="Delete it: `node.delete_chain(id)`.")
        if id in self._assembly.chains:
            raise LocalError("this chain is held here already", hint="Use `node.chain(id)`.")

    # --- names -------------------------------------------------------------------------------------------------------

    def rename(self, chain: Chain, name: str) -> None:
        """Changes a chain's name."""
        with self._naming:
            self.require_new_name(name)
            self._store.rename(chain.id, name)

    def require_new_name(self, name: str) -> None:
        """Raises `InvalidInputError` where a name is taken, empty or not printable."""
        if not name or not name.isprintable():
            raise InvalidInputError("a chain's name is printable text, not empty")
        if name in self._store.chains().values():
            raise InvalidInputError(f"there is a chain called {name} already", hint="Choose another name.")

    def _free_name(self, name: str) -> str:
        taken = set(self._store.chains().values())
        wanted = name or "chain"
        free, count = wanted, 1
        while free in taken:
            count += 1
            free = f"{wanted}-{count}"
        return free

    # --- adding ------------------------------------------------------------------------------------------------------

    def create(self, name: str, policy: Policy, key: OwnKey) -> Chain:
        """Makes a new chain. Raises `InvalidInputError` where the name is not free."""
        genesis = create_genesis(key.signer, policy, os.urandom(NONCE_BYTES), time.time_ns() // 1_000_000)
        secret = ChainSecret(0, os.urandom(SECRET_BYTES)) if policy.readers == SECRET else None
        with self._naming:
            self.require_new_name(name)
            values = first_values(given=key.given_key)
            return self._add(genesis, name, secret, key, values)

    def adopt(self, grant: Grant, issuer: str, name: str, key: OwnKey) -> Chain:
        """Adds the chain of a grant, under this name or one like it."""
        admit = grant.admit and grant.admit.id
        with self._naming:
            values = first_values(given=key.given_key, admit=admit, issuer=issuer)
            return self._add(grant.genesis, self._free_name(name), grant.secret, key, values)

    def take_in(self, genesis: Block, name: str | None, like: str, key: OwnKey) -> Chain:
        """Adds a chain that everyone may read, under this name, which must be free, or one like the other."""
        with self._naming:
            if name is not None:
                self.require_new_name(name)
            values = first_values(given=key.given_key, issuer="")
            return self._add(genesis, name or self._free_name(like), None, key, values)

    def take_up(self, genesis: Block, name: str, key: OwnKey) -> Chain:
        """The chain with this first block: the one that is held, or a new one under this name, which must be free then."""
        with self._naming:
            with suppress(NotFoundError):
                return self.find(genesis.id)
            return self.take_in(genesis, name, name, key)

    @contextmanager
    def importing(self, require_open: Callable[[], None]) -> Iterator[None]:
        """Held by whoever takes a chain from a file: what fails takes away no chain that another call has given out.

        Args:
            require_open: Called while another import is waited for; raises once the node has ended.

        Raises:
            InvalidInputError: This thread is taking one already.
        """
        if self._importer == threading.get_ident():
            raise InvalidInputError(
                "a chain is being imported by this very call", hint="Import the next one after it has returned."
            )
        while not self._import_lock.acquire(timeout=_LOOK_S):
            require_open()
        self._importer = threading.get_ident()
        try:
            yield
        finally:
            self._importer = None
            self._import_lock.release()

    def _add(
        self, genesis: Block, name: str, secret: ChainSecret | None, key: OwnKey, values: Mapping[str, bytes]
    ) -> Chain:
        """Writes the keys, then the chain with its first values; what fails leaves nothing behind."""
        id = genesis.id
        self.require_not_held(id)  # two joins at once: the keys of the first stay
        self._secrets.begin(id)
        try:
            self._secrets.put(id, key.seed, secret)
            chain = self._assembly.open(self._store.create_chain(genesis, name, values), key.given)
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

    # --- deleting ----------------------------------------------------------------------------------------------------

    def delete(self, chain: Chain | str | BlockId) -> None:
        """Removes a chain's data, keys and tasks. See `Node.delete_chain`."""
        with self._naming:  # so that it cannot be added again before its keys are gone
            id = chain.id if isinstance(chain, Chain) else self._id_of(chain)
            found = self._assembly.chains.get(id)
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
        if chain is None:
            self._hide(id)
        else:
            with chain.engine.exclusive():  # nothing is written to it in between
                self._hide(id)
                chain.engine.close()
        self._assembly.take_out(id)
        self._damaged.pop(id, None)
        try:
            self._secrets.delete(id)
        except StorageError as error:
            return error
        return None

    def _hide(self, id: BlockId) -> None:
        self._secrets.note(id, self._invitations(id).ids())
        self._store.hide_chain(id)


def _not_found(name_or_id: str | BlockId) -> NotFoundError:
    return NotFoundError(f"there is no chain called {name_or_id!s} here")
