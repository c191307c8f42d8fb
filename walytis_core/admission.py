"""Invitations at work: issuing them, honouring them over a stream, and joining with one.

The handshakes are decided in `joining.py` and `invitation.py`; here they are performed. Invariants: a use is counted, and
a writer admitted, durably before anything is handed over; only the issuer's record counts, whatever a URI says; one use
admits a few author keys of one node, not more; a join that fails leaves nothing behind. Records are rows of the chain and
seeds are with the node's keys: a record is written before its seed and outlives it, so no seed is without a record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import trio

from walytis_core.block import Draft, draft
from walytis_core.chain_keys import ChainSecrets
from walytis_core.cid import BlockId
from walytis_core.engine import Engine
from walytis_core.errors import (
    InvalidInputError,
    JoinError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
    StorageError,
    UnavailableError,
    WalytisError,
)
from walytis_core.invitation import MAX_ADDRESSES, SEED_BYTES, Invitation, invitation_id, suggest_name
from walytis_core.invitation_record import InvitationRecord, InvitationUse, JoinRefusal, judge
from walytis_core.joining import ISSUER_ENTROPY_BYTES, JOINER_ENTROPY_BYTES, Claim, Ends, Grant, Issuer, Joiner, Terms
from walytis_core.limits import Limits
from walytis_core.network.port import Network, Stream
from walytis_core.policy import ADMIT, encode_admit
from walytis_core.seals import ChainSecret
from walytis_core.session import Frames
from walytis_core.signer import AUTHOR_BYTES, MULTIKEY_PREFIX, Signer
from walytis_core.store.port import ChainStore
from walytis_core.workers import Workers

JOIN_PROTOCOL: Final = "/x/walytis/join/1"
_RECORD: Final = "invite/"
ADMITTED: Final = "admitted/"
"""Before an author key: names the block by which this node admitted it."""
_AUTHORS: Final = "invited-authors/"


class Inviter(NamedTuple):
    """A chain as its issuer needs it."""

    engine: Engine
    name: str
    secret: ChainSecret | None
    invitations: Invitations
    append_admit: Callable[[bytes], BlockId]
    """Admits an author key, once; raises `NotAllowedError` when this node may not."""


class Invitations:
    """The invitations that this node issued for one chain.

    Args:
        store: Keeps the records.
        secrets: Keep the seeds.
    """

    def __init__(self, store: ChainStore, secrets: ChainSecrets) -> None:
        self._store = store
        self._secrets = secrets

    def all(self) -> list[InvitationRecord]:
        """The records, revoked and used ones too."""
        return [InvitationRecord.decode(data) for data in self._store.items(_RECORD).values()]

    def ids(self) -> list[bytes]:
        """The ids of all of them."""
        return [bytes.fromhex(key.removeprefix(_RECORD)) for key in self._store.items(_RECORD)]

    def add(self, record: InvitationRecord, seed: bytes) -> None:
        """Keeps a record and its seed durably, or neither."""
        self.keep(record)
        try:
            self._secrets.put_seed(record.id, seed)
        except BaseException:
            with suppress(StorageError):  # a record without its seed lets nobody in
                self._store.put(_RECORD + record.id.hex(), None)
            raise

    def keep(self, record: InvitationRecord) -> None:
        """Keeps a record durably, in place of an older one with its id."""
        self._store.put(_RECORD + record.id.hex(), record.encode())

    def seed(self, id: bytes) -> bytes | None:
        """The seed of an invitation that has a record; None where it has ended."""
        return self._secrets.seed(id)

    def settle(self, now: int) -> None:
        """At opening: removes the seeds of those that have ended, and moves seeds out of records of an older version.

        What cannot be done now waits; a seed that was not moved lets nobody in until then.

        Args:
            now: Seconds since the epoch.
        """
        with suppress(StorageError):
            for data in self._store.items(_RECORD).values():
                record, seed = InvitationRecord.decode_old(data)
                if seed is not None:
                    self._secrets.note_traces()
                    self._secrets.put_seed(record.id, seed)
                    self.keep(record)
                if record.has_ended(now):
                    self._secrets.drop_seed(record.id)

    def get(self, id: bytes) -> InvitationRecord | None:
        """A record, or None."""
        data = self._store.get(_RECORD + id.hex())
        return None if data is None else InvitationRecord.decode(data)

    def bind(self, claim: Claim) -> bool:
        """Whether a node may have this author admitted: a retry may bring another key, up to a few for each node.

        Kept durably before the author is admitted; so one use is not worth any number of writers.
        """
        key = _authors_key(claim.invitation_id, claim.node_key)
        kept = self._store.get(key) or b""
        authors = _authors(kept)
        if claim.author in authors:
            return True
        if len(authors) >= Limits.authors_per_use:
            return False
        self._store.put(key, kept + claim.author)
        return True

    def uses(self) -> list[InvitationUse]:
        """Who came by them, with which author keys; without those that any number of nodes may use."""
        used = [(record.id, key) for record in self.all() for key in sorted(record.used_by)]
        kept = self._store.get_many([_authors_key(*one) for one in used])
        return [InvitationUse(one[1], _authors(kept.get(_authors_key(*one), b"")), one[0]) for one in used]

    def revoke(self, id: bytes) -> None:
        """Takes an invitation back, for good: its seed goes. Raises `NotFoundError` when there is none with this id."""
        record = self.get(id)
        if record is None:
            raise NotFoundError("there is no invitation with this id", hint="`invitations()` lists them.")
        self.keep(replace(record, revoked=True))
        self._secrets.drop_seed(id)


def _authors_key(invitation: bytes, node_key: bytes) -> str:
    return f"{_AUTHORS}{invitation.hex()}/{node_key.hex()}"


def _authors(kept: bytes) -> frozenset[bytes]:
    return frozenset(kept[at : at + AUTHOR_BYTES] for at in range(0, len(kept), AUTHOR_BYTES))


def expiry_of(expires: timedelta | datetime | None) -> int | None:
    """Seconds since the epoch from what a user gives.

    Raises:
        InvalidInputError: It lies in the past, or has no time zone.
    """
    if expires is None:
        return None
    if isinstance(expires, timedelta):
        at = time.time() + expires.total_seconds()
    elif expires.tzinfo is None:
        raise InvalidInputError("expires needs a time zone", hint="Use datetime.now(UTC) + ..., or a timedelta.")
    else:
        at = expires.timestamp()
    if at <= time.time():
        raise InvalidInputError("expires lies in the past")
    return int(at)


# --- the issuer's side -------------------------------------------------------------------------------------------


async def answer_join(
    stream: Stream, node: Signer, network: Network, find: Callable[[bytes], Terms | None],
    inviter: Callable[[BlockId], Inviter | None], workers: Workers,
) -> RemoteError | None:  # fmt: skip
    """Answers one stream of the join protocol.

    Args:
        find: The terms of an invitation, by its id.
        inviter: A chain, by its id.

    Returns:
        What the peer did wrong, if anything.
    """
    frames = Frames(stream)
    issuer = Issuer(node, Ends(stream.peer, network.peer_id), os.urandom(ISSUER_ENTROPY_BYTES), find)
    with trio.move_on_after(Limits.handshake_timeout_s):
        try:
            await frames.send(issuer.challenge)
            asked = issuer.receive(await frames.receive())
            chain = None if asked.claim is None else inviter(asked.claim.chain_id)
            if asked.claim is None or chain is None:
                await frames.send(issuer.refuse())
                return RemoteError(asked.reason) if asked.reason else None
            answer = await workers.run(partial(_decide, issuer, asked.claim, chain))
            await frames.send(answer)
            await stream.receive(1)  # the joiner closes: the answer has gone over
        except UnavailableError:
            return None
        except RemoteError as error:
            return error
        except WalytisError:  # the disk fails, or the chain has just been deleted: the joiner will try again
            return None
    return None


def _decide(issuer: Issuer, claim: Claim, chain: Inviter) -> bytes:
    """Judges a proven claim; counts the use and admits the author before it grants."""
    store, genesis = chain.engine.store, chain.engine.genesis
    block = chain.engine.block(genesis.id)
    if genesis.policy.is_public and claim.invitation_id == invitation_id(genesis.id, None):  # who has an address
        return issuer.grant(Grant(block, None, None, chain.name, store.count))
    with chain.engine.exclusive():
        invitations = chain.invitations
        record = invitations.get(claim.invitation_id)
        refusal = judge(record, claim.node_key, int(time.time())) if record else JoinRefusal.NOT_HONOURED
        if record is None or refusal is not None:
            return issuer.refuse(refusal or JoinRefusal.NOT_HONOURED)
        try:
            if record.used(claim.node_key) != record:
                invitations.keep(record.used(claim.node_key))
            needs_admission = genesis.policy.writers is not None and record.write
            if needs_admission and not invitations.bind(claim):
                return issuer.refuse(JoinRefusal.USED)
            admit = _admit(chain, claim.author) if needs_admission else None
        except (NotAllowedError, UnavailableError, StorageError):
            return issuer.refuse(JoinRefusal.NOT_NOW)
        admit_block = None if admit is None else chain.engine.block(admit)
        return issuer.grant(Grant(block, chain.secret, admit_block, chain.name, store.count))


def _admit(chain: Inviter, author: bytes) -> BlockId | None:
    """The block that admits an author; None when the genesis lists it."""
    return None if author in (chain.engine.genesis.policy.writers or ()) else chain.append_admit(author)


def admit_draft(authors: Collection[bytes]) -> Draft:
    """The draft of a `core/admit` block."""
    return draft(encode_admit(authors), type=ADMIT)


# --- the joiner's side -------------------------------------------------------------------------------------------


async def ask_to_join(network: Network, peer: str, invitation: Invitation, node: Signer, author: Signer) -> Grant:
    """Asks the issuer, over a stream, to be let in.

    Raises:
        JoinError: The issuer refuses, or hands over something else than the invitation says.
        UnavailableError: The issuer is gone or takes too long: trying again can help.
    """
    stream = await network.open_stream(peer, JOIN_PROTOCOL)
    try:
        frames = Frames(stream)
        ends = Ends(joiner=network.peer_id, issuer=peer)
        machine = Joiner(invitation, node, author, ends, os.urandom(JOINER_ENTROPY_BYTES))
        with trio.move_on_after(Limits.handshake_timeout_s):
            step = machine.receive(await frames.receive())
            await frames.send(step.send)
            step = machine.receive(await frames.receive())
            if step.grant is not None:
                return step.grant
            if step.refused is JoinRefusal.NOT_NOW:
                raise UnavailableError(f"the inviter said: {step.refused.value}")
            raise JoinError((step.refused or JoinRefusal.NOT_HONOURED).value)
        raise UnavailableError("the inviter takes too long to answer")
    except RemoteError as error:
        raise JoinError(
            "the peer at the invitation's address is not its issuer, or hands over another chain"
        ) from error
    finally:
        await stream.close()


def new_invitation(
    engine: Engine, node: Signer, addresses: list[str], name: str, *, uses: int | None, expires: int | None, write: bool
) -> tuple[Invitation, InvitationRecord | None]:
    """Makes an invitation, and its record where it is more than an address: lets read what not everyone may, or write.

    Raises:
        InvalidInputError: `uses` of an address.
    """
    policy = engine.genesis.policy
    is_address = policy.is_open or (policy.is_public and not write)
    seed = None if is_address else os.urandom(SEED_BYTES)
    if is_address and uses not in (None, 1):
        raise InvalidInputError(
            "an invitation to read what everyone may read is an address: uses do not apply",
            hint="Leave `uses` out, or let joiners write.",
        )
    invitation = Invitation(
        chain_id=engine.genesis.id, issuer=node.key[len(MULTIKEY_PREFIX) :], addresses=tuple(addresses[:MAX_ADDRESSES]),
        seed=seed, expires=expires, name=suggest_name(name),
    )  # fmt: skip
    if seed is None:
        return invitation, None
    return invitation, InvitationRecord(id=invitation.id, uses=uses, expires=expires, write=write)
