"""Branches of one author: who lacks a proof, and where two branches part.

Who shows an entry that is not on our branch is probed: ids at steps down, then between the lowest that differs and the highest that
does not, until the two are neighbours; the block there makes the proof (docs/spec/sync.md#a-stream). What a peer can have us
probe is bounded per pull. Pure functions of what is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from walytis_core.cid import BlockId
from walytis_core.events import Effect, Send
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.link import Link
from walytis_core.members import Members
from walytis_core.messages import ForkProof, Probe
from walytis_core.store.port import Held

_PROBE_PLACES: Final = 32


def compare(members: Members, link: Link, theirs: Mapping[bytes, Entry], held: Held) -> list[Effect]:
    """Sends proofs the peer lacks, and probes where it names a block that is not on our branch."""
    own = members.frontier
    effects: list[Effect] = []
    link.probes_left = Limits.probes_per_pull
    for author, entry in theirs.items():
        ours = own.get(author)
        if ours == entry:
            continue
        proof = members.proofs.get(author)
        if proof is not None and (entry.fork is None or proof.seq < entry.fork):
            effects.append(Send(link.peer, ForkProof(proof.first, proof.second)))
        if ours is None or entry.seq > ours.seq or (entry.seq == ours.seq and entry.id == ours.id):
            continue
        if entry.id not in held.at(author, entry.seq):
            effects.extend(_probe(link, author, _steps_down(entry.seq), held))
    return effects


def _probe(link: Link, author: bytes, seqs: Sequence[int], held: Held) -> list[Effect]:
    if link.probes_left <= 0:
        return []
    link.probes_left -= 1
    places = [(seq, ids[0]) for seq in seqs if (ids := held.at(author, seq))]
    return [Send(link.peer, Probe(author, tuple(places)))] if places else []


def locate(link: Link, message: Probe, held: Held) -> tuple[list[Effect], BlockId | None]:
    """A peer asks where two branches of one author part: narrows it down, or finds our block at the fork.

    Returns:
        What to ask back, and the block that the peer is to be sent.
    """
    same, differs = -1, None
    for seq, id in sorted(message.places):
        ids = held.at(message.author, seq)
        if not ids:
            break
        if id not in ids:
            differs = (seq, ids[0])
            break
        same = seq
    if differs is None:
        return [], None
    seq, own_id = differs
    if seq - same <= 1:
        return [], own_id
    step = max((seq - same) // _PROBE_PLACES, 1)
    return _probe(link, message.author, [*range(same + 1, seq, step), seq], held), None


def _steps_down(seq: int) -> list[int]:
    """seq, seq-1, seq-2, seq-4, ... and 0, rising."""
    steps = {0, seq}
    back = 1
    while back < seq:
        steps.add(seq - back)
        back *= 2
    return sorted(steps)
