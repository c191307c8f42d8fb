"""The mutants: in each a guard is gone or weakened, and the named tests must fail by assertion.

A mutant is a text of a module and the text that takes its place. Rules for editing: the old text stands exactly once in the
module; a killing test fails because a statement about state or outcome does not hold, never because something crashed.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """One mutant.

    Attributes:
        name: Which guard it lacks.
        module: The module, without the package.
        old: The text that is replaced.
        new: What stands there instead.
        killers: Tests, as pytest names them from `tests/unit/walytis_core`, without the ending of the file.
    """

    name: str
    module: str
    old: str
    new: str
    killers: tuple[str, ...]


BLOCK: Final = (
    Mutant("trailing bytes", "block", "if at + _TAIL != len(data) or data[at : at + 2]", "if data[at : at + 2]",
           ("test_block::test_trailing_bytes",)),
    Mutant("shortest heads", "block", "if not least <= value <= _MAX_INT:", "if not value <= _MAX_INT:",
           ("test_block::test_non_minimal_integer_or_length",)),
    Mutant("53 bits", "block", "if not least <= value <= _MAX_INT:", "if not least <= value:",
           ("test_block::test_integer_above_the_limit",)),
    Mutant("duplicate parents", "block", "all(a < b for a, b in", "all(a <= b for a, b in",
           ("test_block::test_duplicate_parents",)),
    Mutant("unsorted parents", "block", "all(a < b for a, b in", "all(a != b for a, b in",
           ("test_block::test_unsorted_parents",)),
    Mutant("prev among parents", "block", "(prev in parents or not _are", "(not _are", ("test_block::test_prev_among_parents",)),
    Mutant("64 parents", "block", "if count > Limits.max_parents:", "if count > 2 * Limits.max_parents:",
           ("test_block::test_more_than_64_parents",)),
    Mutant("duplicate keys", "block", "if (len(raw), raw) <= last:", "if (len(raw), raw) < last:",
           ("test_block::test_duplicate_keys",)),
    Mutant("unsorted keys", "block", "if (len(raw), raw) <= last:", "if key in ext:", ("test_block::test_unsorted_keys",)),
    Mutant("zero of a link", "block", "if data[at : at + 9] == _BLOCK_LINK:", "if data[at : at + 4] == _BLOCK_LINK[:4]:",
           ("test_block::test_link_without_zero",)),
    Mutant("distinct topics", "block", 'if "" in topics or (count > 1 and len(set(topics)) != count):',
           'if "" in topics:',
           ("test_block::test_topics_are_distinct_and_not_empty",)),
    Mutant("time within the calendar", "block", "if time_ms > _MAX_TIME_MS:", "if time_ms > 1 << 60:",
           ("test_block::test_largest_integers",)),
    Mutant("size of a block", "block", "if len(encoded) > Limits.max_block_bytes:\n        raise RemoteError",
           "if len(encoded) > 1 << 30:\n        raise RemoteError", ("test_block::test_oversize",)),
    Mutant("size of ext", "block", "if at - start > Limits.max_ext_bytes:", "if at - start > 2 * Limits.max_ext_bytes:",
           ("test_block::test_greatest_sizes",)),
    Mutant("signature", "block", "return is_signed(block.author, block.signed, block.signature)",
           "return len(block.signature) == 64", ("test_block::test_bad_signature",)),
    Mutant("version told apart", "block", "if version > VERSION:", "if version >= VERSION:",
           ("test_block::test_wrong_field_count",)),
)  # fmt: skip

DAG: Final = (
    Mutant("all ancestors", "dag", "todo.extend(named[id])", "todo.extend(list(named[id])[:1])", ("test_dag::test_ancestors",)),
    Mutant("only given ids", "dag", "if id in named and id not in found:", "if id not in found:\n            named = {id: (), **named}",
           ("test_dag::test_names_that_are_not_given_are_ignored",)),
    Mutant("heads of all parents", "dag", "for parents in named.values() for parent in parents}",
           "for parents in named.values() for parent in list(parents)[:1]}", ("test_dag::test_heads_and_children",)),
    Mutant("a block is its own ancestor", "dag", "(ancestors(named, [first]) | {first})", "(ancestors(named, [first]))",
           ("test_dag::test_common_ancestors",)),
    Mutant("latest common ones only", "dag", "return common - ancestors(named, common)", "return common",
           ("test_dag::test_common_ancestors",)),
    Mutant("height first", "dag", "(block.height, block.id)", "block.id", ("test_dag::test_canonical",)),
    Mutant("bytes of the id second", "dag", "(block.height, block.id)", "block.height", ("test_dag::test_canonical",)),
    Mutant("one topological order", "dag", "for id, count in waiting.items() if not count), reverse=True)",
           "for id, count in waiting.items() if not count))", ("test_dag::test_topological",)),
    Mutant("circles", "dag", "if len(result) != len(named):", "if len(result) > len(named):", ("test_dag::test_circle",)),
    Mutant("prev is no parent", "dag", "if id != prev][:limit]", "][:limit]", ("test_dag::test_merge_heads",)),
    Mutant("at most so many parents", "dag", "if id != prev][:limit]", "if id != prev]", ("test_dag::test_merge_heads",)),
    Mutant("the longest held first", "dag", "[id for id in longest_held_first if id != prev][:limit]",
           "[id for id in longest_held_first if id != prev][-limit:]", ("test_dag::test_merge_heads",)),
)  # fmt: skip

RULES: Final = (
    Mutant("chain", "rules", "if block.chain != genesis.id or block.prev is None:", "if block.prev is None:",
           ("test_rules::test_wrong_chain",)),
    Mutant("height too great", "rules", "if block.height != below + 1:", "if block.height < below + 1:",
           ("test_rules::test_wrong_height",)),
    Mutant("height too small", "rules", "if block.height != below + 1:", "if block.height > below + 1:",
           ("test_rules::test_wrong_height",)),
    Mutant("height over all that is named", "rules", "for id in block.parents:", "for id in ():",
           ("test_rules::test_wrong_height",)),
    Mutant("admission parses", "rules", "if block.type == ADMIT and not _is_admit(block):", "if block.type == ADMIT and False:",
           ("test_rules::test_admission_that_does_not_parse",)),
    Mutant("next seq", "rules", "block.seq == before.seq + 1", "block.seq > before.seq", ("test_rules::test_wrong_seq",)),
    Mutant("first seq", "rules", "if block.seq != int(by_founder):", "if block.seq < int(by_founder):",
           ("test_rules::test_wrong_first_seq",)),
    Mutant("first seq of the founder", "rules", "if block.seq != int(by_founder):", "if block.seq > int(by_founder):",
           ("test_rules::test_the_founder_goes_on_from_the_genesis",)),
    Mutant("valid point", "rules", "if not is_author_key(block.author):", "if len(block.author) != 34:",
           ("test_rules::test_small_order_author",)),
    Mutant("listed writers", "rules", "return None if writers is None or block.author in writers else", "return None if genesis else",
           ("test_rules::test_listed_writers_only",)),
    Mutant("founder starts at the genesis", "rules", "if by_founder or before.type != ADMIT:", "if before.type != ADMIT:",
           ("test_rules::test_the_founder_starts_nowhere_else",)),
    Mutant("listed in the admission", "rules", "return None if block.author in admitted(prev) else", "return None if prev else",
           ("test_rules::test_admitted_key",)),
    Mutant("founder's right to write", "rules", "if before.author == block.author and block.prev != genesis.id:",
           "if before.author == block.author:", ("test_rules::test_listed_writers_only",)),
)  # fmt: skip

REPLICA: Final = (
    Mutant("refused for good", "members", "if block.id in batch.staged or block.id in self._refused:", "if block.id in batch.staged:",
           ("test_members::test_a_block_is_taken_once",)),
    Mutant("foreign blocks", "members", "if block.chain != self.genesis.id:", "if block.chain is None:",
           ("test_members::test_foreign_blocks",)),
    Mutant("forks are looked for", "members", "        self._look_for_fork(block, batch)\n", "",
           ("test_members::test_fork_at_the_tip",)),
    Mutant("the genesis cannot be forked", "members", "if proof.seq == 0 and proof.author == self.genesis.author:", "if proof.seq < 0:",
           ("test_members::test_the_founder_cannot_fork_the_genesis",)),
    Mutant("strangers' proofs", "members", "if proof.author not in self.frontier and proof.author not in self.frozen:", "if proof.seq < 0:",
           ("test_members::test_strangers_cannot_fill_the_store_with_proofs",)),
    Mutant("every named block is a head no more", "members", "        for id in named:\n            self.heads.pop(id, None)",
           "        for id in named[:1]:\n            self.heads.pop(id, None)",
           ("test_members::test_at_most_64_parents_the_longest_held_first",)),
    Mutant("heads when blocks come back", "members", "                self.heads.pop(parent, None)", "                pass",
           ("test_members::test_unfolded_blocks_come_back",)),
    Mutant("heads when blocks leave", "members", "if all(child in self.unfolded for child in held.children(id))]", "]",
           ("test_members::test_heads_when_a_candidate_leaves",)),
    Mutant("a frozen author appends no more", "members", "        if author in self.frozen:\n            raise", "        if not author:\n            raise",
           ("test_members::test_a_forked_key_writes_no_more",)),
    Mutant("proof before a second block at a place", "members", "any(one.author in self._unsettled for one in chained)", "False",
           ("test_members::test_a_batch_with_a_fork_and_what_needs_it",)),
    Mutant("ahead is not folded", "intake", "unfold=tuple(self.ahead)", "unfold=()",
           ("test_members::test_a_branch_longer_than_the_parking",)),
    Mutant("only writers are waited for", "ahead", "        if any(self._is_writer(block) for block in waiting):\n", "        if waiting:\n",
           ("test_members::test_only_a_writer_makes_a_branch_awaited",)),
    Mutant("a peer's share of what is taken ahead", "ahead", "self._taken[candidate.author, peer] < highest.height", "True",
           ("test_members::test_forks_while_a_branch_is_awaited",)),
    Mutant("a branch in each pull", "ahead", "            del self._taken[key]\n", "            pass\n",
           ("../../simulations/test_hostile::test_branches_of_one_forker_that_were_built_on",)),
    Mutant("only below what is waited for", "ahead", "(candidate.height >= highest.height and candidate.id != highest.id)", "False",
           ("test_members::test_forks_while_a_branch_is_awaited",)),
    Mutant("idle blocks make room", "parking", "while lacks and account.idle", "while not lacks and account.idle",
           ("test_parking::test_who_waits_goes_before_who_is_idle",)),
    Mutant("what is below a fork comes first", "ahead", " if self._counted(author) >= fork}", "}",
           ("test_ahead::test_what_is_below_a_fork_comes_first",)),
    Mutant("what a branch leans on", "link", "        if awaited:  #", "        if not awaited:  #",
           ("../../simulations/test_hostile::test_a_branch_that_leans_on_another",)),
    Mutant("back to the fork", "link", "lacking.extend(awaited.keys() - lacking)", "lacking.extend(awaited.keys() - awaited)",
           ("test_link::test_an_answer_goes_back_to_a_fork",)),
    Mutant("admissions of one's own", "members", "            _check_draft(draft)\n", "            pass\n",
           ("test_members::test_a_refused_append_changes_nothing",)),
    Mutant("blocks parked per peer", "parking", "len(account.ids) < Limits.parked_blocks_per_peer", "len(account.ids) < 1 << 30",
           ("test_members::test_parking_is_bounded_per_peer",)),
    Mutant("bytes parked per node", "parking", "if size > self.left_bytes + reserve:", "if size > 1 << 30:",
           ("test_members::test_parking_is_bounded_per_node",)),
    Mutant("settle before what waits for it", "replica", "if not self.members.is_unsettled:  #", "if self.members.requeued:  #",
           ("test_replica::test_a_fork_and_what_needs_it_in_one_batch",)),
    Mutant("credit given back", "replica", "if link.credit + frames > Limits.credit_frames:", "if frames > Limits.credit_frames:",
           ("test_syncing::test_credit_above_what_was_taken_is_refused",)),
    Mutant("the channel answers nothing", "replica", "(message.gossip and not", "(False and not",
           ("test_syncing::test_the_channel_carries_only_news",)),
    Mutant("credit taken", "link", "            if not self.credit:\n                return result, False\n", "",
           ("test_syncing::test_credit_is_never_exceeded",)),
    Mutant("unasked answers", "syncing", "        return [Reject(Reason.UNASKED, peer)]", "        return []",
           ("test_syncing::test_unasked_answers_are_refused",)),
    Mutant("wants of a peer", "syncing", "if len(link.asked) + len(ids) > Limits.parked_blocks_per_peer:", "if len(ids) > 1 << 30:",
           ("test_syncing::test_wants_of_a_peer_are_bounded",)),
    Mutant("proofs by one author", "forks", "if not same_place or one.id", "if one.id", ("test_forks::test_what_is_no_proof",)),
    Mutant("signatures of a proof", "forks", "if not (is_genuine(one) and is_genuine(other)):", "if one.id == other.id:",
           ("test_forks::test_what_is_no_proof",)),
)  # fmt: skip

MUTANTS: Final = {"block": BLOCK, "dag": DAG, "rules": RULES, "replica": REPLICA}
