"""Which blocks this replica has taken, and what they add up to: frontier, heads, forks, parking.

One pure machine, the only place where a block becomes a member. Invariants, after every `ingest` + `settle`:

- members are causally closed, and each passed `rules.judge`;
- `heads` are the folded members that no folded member names; `frontier` counts each author's blocks below its fork;
- the folded set is a function of the set of genuine blocks and proofs seen, not of their order: a block by an author
  that forked, at or above the fork (a *candidate*), is folded only together with a block that needs it, and taken
  then, or `ahead` of it.

Rules for editing this file: forks found in a batch freeze the author at once, so that no more of it is taken, but what
leaves the folded set is judged in `settle`, on committed members; nothing but budgets may depend on the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from walytis_core.ahead import Ahead
from walytis_core.block import Block, Draft, Place, create, decode
from walytis_core.cid import BlockId
from walytis_core.dag import merge_heads, topological
from walytis_core.errors import NotAllowedError, Reason, RemoteError
from walytis_core.forks import proof_of, to_refold, to_unfold
from walytis_core.frontier import Entry, Frontier
from walytis_core.intake import Batch, Outcome, UnreadableError
from walytis_core.limits import Limits
from walytis_core.parking import Budget, Parked, Parking
from walytis_core.policy import ADMIT, Genesis, read_admit
from walytis_core.refusals import Refusals
from walytis_core.rules import Admitted, judge
from walytis_core.signer import Signer
from walytis_core.store.port import Commit, Held, Meta, Proof


class Members:
    """The members of one chain, as a replica knows them.

    Args:
        genesis: The chain's first block; it must be a member of `held`.
        held: The committed members.
        budget: Parking space, shared by the chains of a node.
    """

    def __init__(self, genesis: Genesis, held: Held, budget: Budget | None = None) -> None:
        self.genesis = genesis
        self.parking = Parking(budget or Budget())
        self.frontier = Frontier()
        self.proofs = held.proofs()
        self.frozen = {author: proof.seq for author, proof in self.proofs.items()}
        self.unfolded = held.unfolded()
        self.heads = {id: meta.height for id, meta in _in_order(held, held.heads())}
        self.requeued: list[tuple[Block, str]] = []
        self._refused = Refusals()
        self._ahead = Ahead(genesis.policy.writers, self.frontier, self.frozen, self.parking)
        self._unsettled: dict[bytes, tuple[Proof, int | None]] = {}
        for author, seq, id in held.tips():
            self._count_author(held, author, seq, id)

    # --- taking blocks -------------------------------------------------------------------------------------------

    def ingest(self, blocks: Iterable[tuple[Block, str]], held: Held) -> Outcome:
        """Takes genuine blocks, with the peer that sent each, as far as they belong to the chain."""
        todo = list(blocks)
        named = {id for block, _ in todo for id in block.ancestors_named} - {block.id for block, _ in todo}
        metas = held.metas(named)
        batch = Batch(held, metas, named.difference(metas))
        todo.reverse()
        while todo:
            block, peer = todo.pop()
            again = self._consider(block, peer, batch)
            if again:
                todo.extend((parked.block, parked.peer) for parked in reversed(again))
        return batch.outcome

    def refuse(self, id: BlockId, reason: Reason, peer: str, outcome: Outcome) -> None:
        """Refuses an id for ever; whatever waits for it goes too. A newer version is only not taken."""
        outcome.rejected.append((id, reason, peer))
        if reason is Reason.NEWER_VERSION:
            return
        self._refused.add(id, reason)
        for parked in self.parking.drop_waiting_for(id):
            self._refused.add(parked.block.id, Reason.BAD_ANCESTOR)
            self._refused.witness(parked.block)
            outcome.rejected.append((parked.block.id, Reason.BAD_ANCESTOR, parked.peer))

    def awaited(self) -> dict[bytes, Entry]:
        """What a pull says of authors whose blocks are waited for, in the place of their entries."""
        return self._ahead.entries()

    def begin_pull(self, peer: str) -> None:
        """A peer is about to be pulled from: it may send another branch of each author that forked."""
        self._ahead.begin_pull(peer)

    def healed(self, id: BlockId) -> None:
        """The bytes of a member are there again: what waited for them is to be considered again."""
        self.requeued.extend((parked.block, parked.peer) for parked in self.parking.arrived(id))

    def _consider(self, block: Block, peer: str, batch: Batch) -> list[Parked]:
        """Takes, parks or refuses one block. Returns the parked ones that are to be considered again."""
        if block.id in batch.staged or block.id in self._refused:
            return []
        if block.id in self.parking:
            if not self._may_go_ahead(block, peer):
                return []
            self.parking.take(block.id)
        if self._may_be_member(block) and self._is_member(block.id, batch):
            return []
        if block.chain != self.genesis.id:
            self.refuse(block.id, Reason.WRONG_CHAIN, peer, batch.outcome)
            return []
        self._look_for_fork(block, batch)
        if self._ahead.is_candidate(block):
            return self._consider_candidate(block, peer, batch)
        chained, lacks = self._closure(block, batch)
        if lacks:
            self._park(block, lacks, peer, batch)
            return []
        if chained and self._unsettled and any(one.author in self._unsettled for one in chained):
            self.requeued.append((block, peer))  # the proof is stored before a second block at one place
            return []
        ahead = batch.outcome.ahead
        if ahead and any(id in ahead for one in (*chained, block) for id in one.ancestors_named):
            self.requeued.append((block, peer))  # only what is stored can be brought back into the folded set
            return []
        return self._take_chained([*chained, block], peer, batch)

    def _consider_candidate(self, block: Block, peer: str, batch: Batch) -> list[Parked]:
        """Takes a candidate ahead of who waits for its branch; parks it otherwise."""
        is_awaited = self._ahead.is_awaited(block, batch)
        if is_awaited:
            self._ahead.expect(block)
            _, lacks = self._closure(block, batch)
            if lacks:
                self._park(block, lacks, peer, batch)
                batch.outcome.parked += block.id not in self.parking  # no room: its branch is pulled all the same
                return []
        may_go_ahead = self._may_go_ahead(block, peer)
        if may_go_ahead:
            batch.look_up(block.ancestors_named)
            may_go_ahead = all(id in batch.metas for id in block.ancestors_named)
        if (is_awaited or not may_go_ahead) and self.parking.park(block, (), peer) is None:
            batch.outcome.parked += 1
            return self.parking.arrived(block.id)
        if may_go_ahead:
            self._ahead.took(block, peer)
            return self._take_chained([block], peer, batch, self._set_ahead)
        batch.outcome.rejected.append((block.id, Reason.FROZEN, peer))
        return []

    def _park(self, block: Block, lacks: set[BlockId], peer: str, batch: Batch) -> None:
        if any(id in self._refused for id in lacks):
            self._refused.witness(block)
            self.refuse(block.id, Reason.BAD_ANCESTOR, peer, batch.outcome)
            return
        held = len(self.parking)
        no_room = self.parking.park(block, lacks, peer)
        if no_room is None:
            batch.outcome.parked += 1
            if len(self.parking) <= held:  # idle blocks made room for it: it may need them
                self.parking.take(block.id)
                self.parking.park(block, self._closure(block, batch)[1], peer)
        else:
            batch.outcome.rejected.append(
                (block.id, Reason.FROZEN if self._ahead.is_candidate(block) else no_room, peer)
            )

    def _closure(self, block: Block, batch: Batch) -> tuple[list[Block], set[BlockId]]:
        """The parked candidates that this block needs, parents first; or the ids that are missing altogether, if any."""
        lacks: set[BlockId] = set()
        chained: dict[BlockId, Block] = {}
        todo = [id for id in block.ancestors_named if id not in batch.metas]
        if todo:
            batch.look_up(todo)
            todo = [id for id in todo if id not in batch.metas]
        if not todo:
            return [], lacks  # as it is with nearly every block
        while todo:
            id = todo.pop()
            parked = self.parking.parked.get(id)  # first: a parked block is no member, and nothing needs to be read
            if id in chained or (parked is None and self._is_member(id, batch)):
                continue
            if parked is None or not self._ahead.is_candidate(parked.block):
                lacks.add(id)
                continue
            chained[id] = parked.block
            todo.extend(parked.block.ancestors_named)
        if lacks or not chained:
            return [], lacks
        order = topological({id: one.ancestors_named for id, one in chained.items()})  # heights are not judged yet
        return [chained[id] for id in order], lacks

    def _take_chained(
        self, blocks: list[Block], peer: str, batch: Batch, count: Callable[[Block, Batch], None] | None = None
    ) -> list[Parked]:
        """Takes a block with the candidates it needs, all or none. The last one is the block itself.

        Args:
            count: Counts each as a member; as a folded one unless given.
        """
        count = count or self._add
        taken: list[Block] = []
        for block in blocks:
            try:
                reason = judge(block, self.genesis, batch.metas, self._admitted(batch))
            except UnreadableError as error:
                for one in taken:
                    batch.unstage(one.id)
                self._park(blocks[-1], {error.id}, peer, batch)
                return []
            if reason is not None:
                for one in taken:
                    batch.unstage(one.id)
                self.parking.take(block.id)
                self._refused.witness(block)
                self.refuse(block.id, reason, peer, batch.outcome)
                if block is not blocks[-1]:
                    self._refused.witness(blocks[-1])
                    self.refuse(blocks[-1].id, Reason.BAD_ANCESTOR, peer, batch.outcome)
                return []
            taken.append(block)
            batch.stage(block)
        again: list[Parked] = []
        for block in taken:
            if self.parking.parked:
                self.parking.take(block.id)
            count(block, batch)
            if self.parking.parked:
                again.extend(self.parking.arrived(block.id))
        return again

    def _add(self, block: Block, batch: Batch) -> None:
        """Counts a block as a folded member."""
        named = block.ancestors_named
        if self.unfolded:
            self._refold(named, batch)
        for id in named:
            self.heads.pop(id, None)
        self.heads[block.id] = block.height
        if not self._ahead.is_candidate(block):
            self.frontier.put(block.author, Entry(block.seq, block.id, self.frozen.get(block.author)))
            proof = self._refused.of_stranger(block.author)
            if proof is not None:
                self._freeze(proof)
        batch.outcome.taken.append(block)

    def _set_ahead(self, block: Block, batch: Batch) -> None:
        """Counts a block as a member outside the folded set."""
        self.unfolded.add(block.id)
        batch.outcome.taken.append(block)
        batch.outcome.ahead[block.id] = None

    def _refold(self, named: Collection[BlockId], batch: Batch) -> None:
        """Brings back the unfolded members that a folded block names, directly or not."""
        back = to_refold(batch.held, self.unfolded, named)
        self.unfolded.difference_update(back)
        batch.outcome.refold.extend(back)
        for at in range(0, len(back), Limits.max_blocks_per_frame):  # a branch may be long
            for id, encoded in batch.held.encoded(back[at : at + Limits.max_blocks_per_frame]).items():
                for parent in decode(encoded, BlockId(id)).ancestors_named:
                    self.heads.pop(parent, None)

    # --- forks ---------------------------------------------------------------------------------------------------

    def _look_for_fork(self, block: Block, batch: Batch) -> None:
        """Freezes the author when another genuine block of its stands at the same seq."""
        entry = self.frontier.get(block.author)
        if self.frozen.get(block.author, block.seq + 1) <= block.seq:
            return  # frozen here or below already
        other = self.parking.at(block.author, block.seq) or self._refused.at(block.author, block.seq)
        if (other is None or other.id == block.id) and entry is not None and block.seq <= entry.seq:
            other = self._member_at(block.author, block.seq, batch)
        if other is not None and other.id != block.id and other.chain is not None:
            self._freeze(proof_of(block, other))

    def _member_at(self, author: bytes, seq: int, batch: Batch) -> Block | None:
        for staged in batch.staged.values():
            if staged.author == author and staged.seq == seq:
                return staged
        encoded = batch.held.encoded(batch.held.at(author, seq))
        return next((decode(data, BlockId(id)) for id, data in encoded.items()), None)

    def add_proof(self, one: Block, other: Block) -> bool:
        """Takes a checked proof that a peer sent. Returns whether it says something new about an author known here."""
        if self.frozen.get(one.author, one.seq + 1) <= one.seq:
            return False
        self._freeze(proof_of(one, other))
        return one.author in self.frozen

    def _freeze(self, proof: Proof) -> None:
        if proof.seq == 0 and proof.author == self.genesis.author:
            return  # the founder's seq 0 is the genesis, which nothing can unseat
        if proof.author not in self.frontier and proof.author not in self.frozen:
            self._refused.set_aside(proof)
            return
        _, upper = self._unsettled.get(proof.author, (None, self.frozen.get(proof.author)))
        self._unsettled[proof.author] = (proof, upper)
        self.frozen[proof.author] = proof.seq

    @property
    def is_unsettled(self) -> bool:
        """Whether `settle` is due."""
        return bool(self._unsettled)

    def settle(self, held: Held) -> Commit:
        """Judges the forks found since the last commit; `requeued` then holds parked blocks to be ingested again."""
        proofs, unfold = [], []
        for author, (proof, upper) in self._unsettled.items():
            proofs.append(proof)
            self.proofs[author] = proof
            gone = to_unfold(held, self.unfolded, self.frozen, author, upper)
            self.unfolded.update(gone)
            unfold.extend(gone)
            for id in self.parking.of_author(author):
                parked = self.parking.take(id)
                self.requeued.extend([(parked.block, parked.peer)] if parked else [])
            self._recount(held, author)
        self._unsettled.clear()
        self._mend_heads(held, unfold)
        return Commit(proofs=tuple(proofs), unfold=tuple(unfold))

    def _recount(self, held: Held, author: bytes) -> None:
        entry = self.frontier.get(author)
        if entry is not None:
            self._count_author(held, author, entry.seq, entry.id)

    def _count_author(self, held: Held, author: bytes, seq: int, id: BlockId) -> None:
        """Sets the author's entry: its tip, or below its fork the block before the fork."""
        fork = self.frozen.get(author)
        if fork is None or seq < fork:
            self.frontier.put(author, Entry(seq, id, fork))
            return
        below = held.at(author, fork - 1) if fork else []
        if below:
            self.frontier.put(author, Entry(fork - 1, below[0], fork))
        else:
            self.frontier.drop(author)

    def _mend_heads(self, held: Held, unfold: Collection[BlockId]) -> None:
        """After unfolding: what is gone is no head, and what only it named is one again."""
        touched: set[BlockId] = set()
        for gone in unfold:
            self.heads.pop(gone, None)
        for id, encoded in held.encoded(list(unfold)).items():
            touched.update(decode(encoded, BlockId(id)).ancestors_named)
        bare = [id for id in touched if id not in self.unfolded and id != self.genesis.id]
        bare = [id for id in bare if all(child in self.unfolded for child in held.children(id))]
        if bare:
            order = _in_order(held, [*self.heads, *bare])
            self.heads = {id: meta.height for id, meta in order}

    # --- appending -----------------------------------------------------------------------------------------------

    def append(
        self, drafts: Iterable[Draft], signer: Signer, time_ms: int, held: Held, start: BlockId | None,
        shunned: Collection[BlockId] = (), check: Callable[[Block], None] | None = None,
    ) -> Outcome:  # fmt: skip
        """Makes, signs and takes own blocks, in this order.

        Args:
            start: The admission that lists the key, for its first block on a chain of listed writers.
            shunned: Heads that are not to be named.
            check: Raises for a block that is not to be written.

        Raises:
            NotAllowedError: The key may not write here, or has forked.
        """
        drafts = list(drafts)
        for draft in drafts:
            _check_draft(draft)
        batch = Batch(held, {}, set())
        for draft in drafts:
            block = create(signer, self._next_place(signer.key, batch, start, shunned, draft.parents), draft, time_ms)
            if block.seq <= 1:  # the author's first, or the founder's; the next ones are right by the way they are made
                self._check_own(block, batch)
                batch.stage(block)
            if check is not None:
                check(block)
            self._add(block, batch)
        return batch.outcome

    def _check_own(self, block: Block, batch: Batch) -> None:
        reason = judge(block, self.genesis, self._metas(block.ancestors_named, batch), self._admitted(batch))
        if reason is not None:
            raise NotAllowedError(f"this key may not write to the chain: {reason.value}")

    def _next_place(
        self, author: bytes, batch: Batch, start: BlockId | None, shunned: Collection[BlockId], asked: Sequence[BlockId]
    ) -> Place:
        if author in self.frozen:
            raise NotAllowedError(
                "this key has forked: two blocks carry the same seq, so it can write no more",
                hint="Join the chain again to write with a fresh key.",
            )
        entry = self.frontier.get(author)
        if entry is not None:
            prev, seq = entry.id, entry.seq + 1
        else:
            prev, seq = start or self.genesis.id, 0
        if len(self.heads) == 1 and prev in self.heads and not shunned and not asked:
            return Place(self.genesis.id, seq, prev, (), 1 + self.heads[prev])
        candidates = [id for id in self.heads if id not in shunned] if shunned else list(self.heads)
        others = self._asked_heights(asked, batch) if asked else {}
        parents = merge_heads([*others, *(id for id in candidates if id not in others)], prev, Limits.max_parents)
        heights = [others[id] if id in others else self.heads[id] for id in parents]
        heights.append(self.heads[prev] if prev in self.heads else self._metas((prev,), batch)[prev].height)
        return Place(self.genesis.id, seq, prev, parents, 1 + max(heights))

    def _asked_heights(self, asked: Sequence[BlockId], batch: Batch) -> dict[BlockId, int]:
        """The blocks that a draft asks to have named, with their heights; none that left the folded set meanwhile."""
        metas = self._metas(asked, batch)
        return {id: metas[id].height for id in asked if id in metas and metas[id].folded}

    # --- small questions -----------------------------------------------------------------------------------------

    def _may_go_ahead(self, block: Block, peer: str) -> bool:
        """Whether this is a candidate that may be taken outside the folded set. Its proof is stored first."""
        if not self._ahead.tops or not self._ahead.is_candidate(block) or block.author in self._unsettled:
            return False
        return self._ahead.allows(block, peer)

    def _may_be_member(self, block: Block) -> bool:
        """Whether the frontier leaves it open that this block is held: spares a look-up for nearly every new one."""
        entry = self.frontier.get(block.author)
        return block.author in self.frozen or (entry is not None and block.seq <= entry.seq)

    def _is_member(self, id: BlockId, batch: Batch) -> bool:
        if id in batch.metas:
            return True
        if id in batch.absent:
            return False
        batch.metas.update(batch.held.metas((id,)))
        return id in batch.metas

    def _metas(self, ids: Collection[BlockId], batch: Batch) -> Mapping[bytes, Meta]:
        """The metas of those of `ids` that are members, among others."""
        for id in ids:
            self._is_member(id, batch)
        return batch.metas

    def _admitted(self, batch: Batch) -> Admitted:
        def admitted(id: BlockId) -> frozenset[bytes]:
            staged = batch.staged.get(id)
            encoded = batch.held.encoded([id]) if staged is None else {}
            if staged is None and id not in encoded:
                raise UnreadableError(id)
            return read_admit(staged or decode(encoded[id], id))

        return admitted


def _check_draft(draft: Draft) -> None:
    """What follows on a malformed admission would be refused by everybody: the author could write no more."""
    try:
        if draft.type == ADMIT:
            read_admit(draft)
    except RemoteError as error:
        raise NotAllowedError("an admission lists valid keys") from error


def _in_order(held: Held, ids: Iterable[BlockId]) -> list[tuple[BlockId, Meta]]:
    """Members with their metas, by number: the longest held first."""
    wanted = list(ids)
    metas = held.metas(wanted)
    return sorted(((id, metas[id]) for id in wanted if id in metas), key=lambda pair: pair[1].number)
