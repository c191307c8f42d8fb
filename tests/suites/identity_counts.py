"""How often each rule of an identity decides something in the histories of `identity_schedules`: by the naive model.

A rule decides where it is the only one that an act fails, or where the outcome would be another without it.

    python -m tests.suites.identity_counts --schedules 2000
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

from identities.acts import ADDED, RECOVERY, REKEYED, REMOVED, RENEWED, Act, Council
from tests.suites import naive_authority as naive
from tests.suites.identity_schedules import schedule
from tests.suites.identity_worlds import Schedule
from tests.suites.naive_authority import Model

RULES = (
    "1: of two that remove each other, the higher one stays",
    "2: a removal counts, and does nothing to a seat that is no lower",
    "2: a low cut voids what the removal has seen",
    "2: the recovery key removes a seat",
    "2: a council removes a listed device",
    "2: a low cut brings back what a removed seat had undone",
    "3: the seat's making is void",
    "3a: older than its seat",
    "3a: older than the new seat of a holder added again",
    "3b: outside a cut",
    "3b: inside one removal's cut, outside another's",
    "3b: outside the cut of an earlier life",
    "3c: after leaving",
    "3c: after renewing its key",
    "3c: a recovery key that has named the next one",
    "3: another key than the seat's",
    "3: a nested device without the right",
    "4: not live: removed",
    "4: not live: left",
    "4: not live: renewed its key",
    "5: the end of a forked key leaves",
    "5: a forked act stays, others built on it",
    "6: a copy acts on beside a leaving or a renewed key",
    "6: a removal stops a copy that a leaving or a renewed key did not",
    "rank: a renewed key's seat outranks those added before it",
    "usable: the list differs from the live seats",
    "usable: a key is not the one of its past",
    "usable: it misses a membership event",
    "usable: it misses an anchored removal",
    "current: a void renewal has a greater number",
    "current: an unusable renewal has a greater number",
    "current: by number",
    "current: by the author's rank",
    "current: by the smallest id",
    "current: the lineage passes a void renewal",
    "current: the first epoch",
    "current: none, somebody must renew",
)


def tally(history: Schedule, model: Model | None = None) -> Counter[str]:
    """How often each rule decided in one history."""
    model = model or Model(history.genesis, history.folded, history.refused)
    counts = Counter[str]()
    for source in (_removals(model), _acts(model), _seats(model), _low_cuts(history, model), _epochs(model)):
        counts.update(source)
    folded = {act.id for act in history.folded}
    counts["5: the end of a forked key leaves"] += len(history.acts) - len(folded)
    counts["5: a forked act stays, others built on it"] += len(folded.intersection(history.copies))
    assert counts.keys() <= set(RULES)
    return counts


def _removals(model: Model) -> Iterator[str]:
    removals = list(model.of([REMOVED]))
    for act in removals:
        seat = act.path[0]
        if not model.counts(act.id):
            continue
        named = [one for one in act.body.seats if model.exists(one)]
        for target in named:
            if model.rank(target) <= model.rank(seat):
                yield "2: a removal counts, and does nothing to a seat that is no lower"
                continue
            if seat == RECOVERY:
                yield "2: the recovery key removes a seat"
            if isinstance(model.holder(seat), Council) and isinstance(target, int):
                yield "2: a council removes a listed device"
            if _by_key_renewal(model, act, target):
                yield "rank: a renewed key's seat outranks those added before it"
            if any(_against(model, other, target, seat) and not _knows(model, act, other) for other in removals):
                yield "1: of two that remove each other, the higher one stays"


def _by_key_renewal(model: Model, act: Act, target: object) -> bool:
    """Whether a seat would not be above the other one if renewing its key had made it a new seat like any."""
    making = model.making(act.path[0])
    other = model.making(target) if isinstance(target, bytes) else None
    if making is None or making.kind != REKEYED:
        return False
    return other is None or (other.kind == ADDED and (other.height, other.id) < (making.height, making.id))


def _against(model: Model, act: Act, author: object, target: object) -> bool:
    return act.path[0] == author and target in act.body.seats


def _knows(model: Model, one: Act, other: Act) -> bool:
    return one.id in model.past(other.id) or other.id in model.past(one.id)


_ONLY = {
    naive.UNMADE: "3: the seat's making is void",
    naive.EARLY: "3a: older than its seat",
    naive.CUT_OFF: "3b: outside a cut",
    naive.AFTER_LEAVING: "3c: after leaving",
    naive.AFTER_REKEYING: "3c: after renewing its key",
    naive.AFTER_USE: "3c: a recovery key that has named the next one",
    naive.FOREIGN_KEY: "3: another key than the seat's",
    naive.NO_RIGHT: "3: a nested device without the right",
}


def _acts(model: Model) -> Iterator[str]:
    """Each act that fails one condition, and which one; and what copies of keys came to."""
    authors = Counter(getattr(model.holder(seat), "block_key", None) for seat in model.seats())
    for act in model.acts.values():
        whys = model.why_void(act.id)
        if whys == {naive.EARLY} and any(model.failed(act)):
            continue
        if len(whys) == 1:
            yield from (_ONLY[why] for why in whys)
        if whys == {naive.EARLY} and authors[act.author] > 1:
            yield "3a: older than the new seat of a holder added again"
        if whys == {naive.CUT_OFF}:
            yield from _cut_off(model, act)
        if not whys and _is_beside_ending(model, act):
            yield "6: a copy acts on beside a leaving or a renewed key"


def _cut_off(model: Model, act: Act) -> Iterator[str]:
    if _has_later(model, act):
        yield "3b: outside the cut of an earlier life"
    if all(act.id in model.past(removal.id) for removal in model.removals(act.path[0])):
        yield "2: a low cut voids what the removal has seen"
    if any(act.id in model.closure(removal.body.cut) for removal in model.removals(act.path[0])):
        yield "3b: inside one removal's cut, outside another's"
    if _is_beside_ending(model, act):
        yield "6: a removal stops a copy that a leaving or a renewed key did not"


def _is_beside_ending(model: Model, act: Act) -> bool:
    endings = model.endings(act.path[0]) if act.path else []
    return any(end is not act and not _knows(model, act, end) for end in endings)


def _has_later(model: Model, act: Act) -> bool:
    """Whether the same key has a seat that was made after this one."""
    same = [seat for seat in model.seats() if getattr(model.holder(seat), "block_key", None) == act.author]
    return any(model.rank(seat) > model.rank(act.path[0]) for seat in same)


def _seats(model: Model) -> Iterator[str]:
    for seat in model.seats():
        removed, endings = bool(model.removals(seat)), model.endings(seat)
        if removed and not endings:
            yield "4: not live: removed"
        elif endings and not removed:
            kinds = {act.kind for act in endings}
            if kinds == {REKEYED}:
                yield "4: not live: renewed its key"
            elif REKEYED not in kinds:
                yield "4: not live: left"


def _low_cuts(history: Schedule, model: Model) -> Iterator[str]:
    """What would be void without a removal by the recovery key or a council."""
    for act in model.of([REMOVED]):
        if not model.counts(act.id) or set(act.body.cut) == set(act.seen):
            continue
        if act.path[0] == RECOVERY or isinstance(model.holder(act.path[0]), Council):
            default = act._replace(body=act.body._replace(cut=act.seen))
            others = [default if one is act else one for one in history.folded]
            without = Model(history.genesis, others, history.refused)
            for id in without.void() - model.void():
                if id in model.past(act.id):
                    yield "2: a low cut brings back what a removed seat had undone"


def _epochs(model: Model) -> Iterator[str]:
    current, usable = model.current(), model.usable()
    number = usable[0].body.number if usable else 0
    names = {
        naive.LIST_DIFFERS: "usable: the list differs from the live seats",
        naive.KEY_DIFFERS: "usable: a key is not the one of its past",
        naive.MISSES: "usable: it misses a membership event",
    }
    for act in model.of([RENEWED]):
        if not model.counts(act.id):
            if act.body.number > number:
                yield "current: a void renewal has a greater number"
            continue
        whys = model.why_unusable(act.id)
        if whys and act.body.number > number:
            yield "current: an unusable renewal has a greater number"
        if whys == {naive.MISSES} and model.membership() <= model.past(act.id):
            yield "usable: it misses an anchored removal"
        elif len(whys) == 1:
            yield from (names[why] for why in whys)
    yield from _precedence(model, usable)
    if current is None:
        yield "current: none, somebody must renew"
    elif current == model.genesis.chain:
        yield "current: the first epoch"
    elif any(not model.counts(id) for id in _lineage(model, current)):
        yield "current: the lineage passes a void renewal"


def _precedence(model: Model, usable: list[Act]) -> Iterator[str]:
    if len(usable) > 1:
        first, second = usable[:2]
        if first.body.number != second.body.number:
            yield "current: by number"
        elif first.path[0] != second.path[0]:
            yield "current: by the author's rank"
        else:
            yield "current: by the smallest id"


def _lineage(model: Model, id: bytes) -> Iterator[bytes]:
    while id in model.acts:
        yield id
        id = model.acts[id].body.previous


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=2000, help="how many; 2000 by default")
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    chosen = parser.parse_args()
    counts, acts = Counter[str](), 0
    for seed in range(chosen.first, chosen.first + chosen.schedules):
        history = schedule(seed)
        acts += len(history.acts)
        counts.update(tally(history))
    print(f"{chosen.schedules} schedules, {acts} acts; how often each rule decided:")  # noqa: T201 # its purpose
    for rule in RULES:
        print(f"{counts[rule]:8}  {rule}")  # noqa: T201


if __name__ == "__main__":
    main()
