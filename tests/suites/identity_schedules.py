"""Random histories of an identity, honest and hostile, as acts: what devices, thieves, councils and the recovery key did.

`schedule(seed)` is one history: honest devices act on what reached them, thieves with copies of keys whenever and on whatever
they like. What each rule decided in them: `identity_counts`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from identities.acts import (
    ADDED,
    ANCHORED,
    ASKED,
    CUT,
    GRANTED,
    JOINED,
    LEFT,
    NOTED,
    OPENED,
    RECOVERED,
    RECOVERY,
    REKEYED,
    REMOVED,
    RENEWED,
    UNOPENED,
    Act,
    Anchor,
    Council,
    Device,
    Holder,
    LaterCut,
    Nested,
    Removal,
    Renewal,
    SeatId,
)
from tests.suites.identity_worlds import Player, Schedule, World
from tests.suites.naive_authority import Model

# --- what honest devices do -------------------------------------------------------------------------------------------


def note(world: World, player: Player, model: Model) -> None:
    kind = world.random.choice((NOTED, GRANTED, OPENED, JOINED, NOTED))
    world.put(player, kind, None)


def add(world: World, player: Player, model: Model) -> None:
    """A new device, or one that was removed; now and then an identity or a council."""
    rng = world.random
    gone = [seat for seat in model.seats() if not model.is_live(seat) and isinstance(model.holder(seat), Device)]
    holder: Holder = world.device()
    if gone and rng.random() < 0.7:
        holder = model.holder(rng.choice(gone))
    elif rng.random() < 0.08:
        holder = Nested(world.id(world.some_bytes())) if rng.random() < 0.6 else Council(1, 2)
    act = world.put(player, ADDED, holder)
    world.seat(act.id, holder, player.view)
    if isinstance(holder, Device):
        new = world.honest[-1]
        if holder in map(model.holder, gone) and rng.random() < 0.5:
            world.thieves.append(new.copied())
        new.own = max(
            (one.id for one in world.acts.values() if one.author == new.author),
            key=list(world.acts).index,
            default=None,
        )
        if rng.random() < 0.6 and not world.is_full:
            world.put(new, JOINED)


def remove(world: World, player: Player, model: Model) -> None:
    """Mostly a junior; sometimes several, somebody higher, itself, or one that left or renewed its key."""
    rng = world.random
    below = [seat for seat in model.seats() if rng.random() < 0.15 or model.rank(seat) > model.rank(player.seat)]
    live = [seat for seat in below if model.is_live(seat)]
    ended = [seat for seat in below if model.endings(seat) and not model.removals(seat)]
    named = ended if ended and rng.random() < 0.5 else live
    if not named:
        return note(world, player, model)
    seats = rng.sample(named, min(len(named), rng.choice((1, 1, 1, 2))))
    removal(world, player, seats, is_low=rng.random() < 0.35)
    if rng.random() < 0.6 and not world.is_full:
        renew(world, player, world.model(player.view))
    return None


def removal(
    world: World, player: Player, seats: Iterable[SeatId], *, is_low: bool, seen: tuple[bytes, ...] | None = None
) -> Act:
    """A removal; a low cut names some of what it has seen, perhaps nothing."""
    seen = world.heads(player.view) if seen is None else seen
    past = frozenset(seen).union(*(world.pasts[id] for id in seen))
    cut = seen
    if is_low:
        cut = () if world.random.random() < 0.2 else world.some(past)
    return world.put(player, REMOVED, Removal(tuple(sorted(seats, key=repr)), cut), seen=seen)


def leave(world: World, player: Player, model: Model) -> None:
    world.put(player, LEFT)


def rekey(world: World, player: Player, model: Model) -> None:
    """A new key, which speaks at once, perhaps against a junior; perhaps a copy of the old one speaks on."""
    rng = world.random
    if len(player.path) > 1:
        return note(world, player, model)
    copy = player.copied()
    act = world.put(player, REKEYED, new := world.device())
    world.seat(act.id, new, player.view)
    if rng.random() < 0.3:
        world.thieves.append(copy)
        world.put(copy, rng.choice((NOTED, JOINED)))
    if rng.random() < 0.6:
        deed = rng.choice((note, note, remove))
        deed(world, world.honest[-1], world.model(player.view))
    return None


def renewal(world: World, player: Player, model: Model, previous: bytes | None = None) -> Renewal:
    """A renewal as it should be, on what the model knows."""
    chosen = model.current() if previous is None else previous
    known = [act for act in model.acts.values() if act.kind == RENEWED]
    if chosen is None and known:
        chosen = max(known, key=lambda act: (act.body.number, act.id)).id
    before = model.acts.get(chosen) if chosen is not None else None
    number, named = (1, world.genesis.chain) if before is None else (before.body.number + 1, before.id)
    fresh = world.some_bytes(16) if world.random.random() < 0.3 and len(player.path) == 1 else None
    return Renewal(number, named, world.some_bytes(16), world.some_bytes(16), model.wanted(model.acts), fresh)


def renew(world: World, player: Player, model: Model) -> None:
    world.put(player, RENEWED, renewal(world, player, model))


def unopened(world: World, player: Player, model: Model) -> None:
    known = sorted(act.id for act in model.acts.values() if act.kind == RENEWED)
    world.put(player, UNOPENED, world.random.choice(known)) if known else renew(world, player, model)


def cut_more(world: World, player: Player, model: Model) -> None:
    known = sorted(act.id for act in model.acts.values() if act.kind == REMOVED)
    body = LaterCut(world.random.choice(known), {world.some_bytes(): ()}) if known else None
    world.put(player, CUT if known else NOTED, body)


def fact(world: World, player: Player, model: Model) -> None:
    """What needs no right: an anchor of a nested identity, or a question."""
    nested = [seat for seat in model.seats() if isinstance(model.holder(seat), Nested)]
    if nested:
        world.put(player, ANCHORED, Anchor(world.random.choice(nested), (world.id(world.some_bytes()),)))
    elif world.random.random() < 0.3:
        world.put(player, ASKED, world.device())


def careless(world: World, player: Player, model: Model) -> None:
    """A renewal with a wrong list, or a wrong key."""
    rng = world.random
    body = renewal(world, player, model)
    wraps = dict(body.wraps)
    victim = rng.choice(sorted(wraps, key=repr)) if wraps else 1
    draw = rng.random()
    if draw < 0.3:
        wraps.pop(victim, None)
    elif draw < 0.7:
        wraps[victim] = world.some_bytes(16)
    else:
        wraps[rng.choice((world.id("nobody"), *model.seats()))] = world.some_bytes(16)
    world.put(player, RENEWED, body._replace(wraps=wraps))


Deed = Callable[[World, Player, Model], object]
HONEST: Final[Mapping[Deed, float]] = {
    note: 2, add: 3.5, remove: 2.5, leave: 0.6, rekey: 1.7, renew: 4, unopened: 0.5, cut_more: 0.3, fact: 0.5, careless: 1,
}  # fmt: skip


# --- what thieves do --------------------------------------------------------------------------------------------------


def steal(world: World) -> None:
    """A copy of a key, with what its owner knew, or less."""
    victim = world.random.choice(world.honest + world.thieves)
    thief = victim.copied()
    if world.random.random() < 0.3 and thief.view:
        kept = (*world.some(thief.view), *([thief.seat] if isinstance(thief.seat, bytes) else ()))
        thief.view = set(kept).union(*(world.pasts[id] for id in kept))
    world.thieves.append(thief)


def old(world: World, thief: Player) -> tuple[bytes, ...]:
    """What an act dated back names: some old acts, of those that exist."""
    rng = world.random
    making = thief.seat if isinstance(thief.seat, bytes) else None
    if rng.random() < 0.75 and making in world.acts:
        later = [id for id in thief.view if making in world.pasts[id] or id == making]
        return world.some(later, 2) if later else (making,)
    return world.some(world.acts, 2) if world.acts and rng.random() < 0.8 else ()


def evict(world: World, thief: Player, model: Model) -> None:
    """Everybody out, and puppets in."""
    removal(world, thief, [seat for seat in model.live() if seat != thief.seat], is_low=world.random.random() < 0.3)
    for _ in range(world.random.randint(1, 2)):
        puppet(world, thief, model)


def puppet(world: World, thief: Player, model: Model) -> None:
    holder = world.device()
    seen = old(world, thief) if world.random.random() < 0.4 else None
    act = world.put(thief, ADDED, holder, seen=seen)
    new = Player((act.id,), holder.block_key, thief.view)
    world.thieves.append(new)
    if not world.is_full:
        kind = world.random.choice((JOINED, NOTED, REMOVED))
        seats = tuple(world.some([one for one in model.live() if isinstance(one, bytes)])) or (1,)
        world.put(new, kind, Removal(seats, world.heads(new.view)) if kind == REMOVED else None)


def dated_back(world: World, thief: Player, model: Model) -> None:
    """Anything, on top of what was long ago."""
    rng, seen = world.random, old(world, thief)
    past = frozenset(seen).union(*(world.pasts[id] for id in seen))
    known = world.model(past)
    kind = rng.choice((NOTED, REMOVED, REMOVED, RENEWED, LEFT, ADDED))
    if kind == REMOVED:
        seats = rng.sample(model.seats(), min(len(model.seats()), rng.choice((1, 2))))
        removal(world, thief, seats, is_low=rng.random() < 0.4, seen=seen)
    elif kind == RENEWED:
        world.put(thief, RENEWED, renewal(world, thief, known), seen=seen)
    elif kind == ADDED:
        world.put(thief, ADDED, world.device(), seen=seen)
    else:
        world.put(thief, kind, seen=seen)


def equivocate(world: World, thief: Player, model: Model) -> None:
    """Two acts where there should be one."""
    rng = world.random
    last = world.acts[thief.own] if thief.own else None
    seats = world.random.sample(model.seats(), 1)
    kind = rng.choice((NOTED, REMOVED, LEFT))
    body = Removal(tuple(seats), last.seen if last else ()) if kind == REMOVED else None
    world.put(thief, kind, body, seen=last.seen if last else (), fork=True)


def depose(world: World, thief: Player, model: Model) -> None:
    """Against those above."""
    above = [seat for seat in model.live() if model.rank(seat) < model.rank(thief.seat)]
    removal(world, thief, above or [thief.seat], is_low=world.random.random() < 0.5)


def relive(world: World, thief: Player, model: Model) -> None:
    """In the name of a later seat of the same key, on top of what was before; or of a seat that is not its own."""
    rng = world.random
    devices = [seat for seat in world.model(world.acts).seats() if isinstance(world.holder(seat), Device)]
    own = [seat for seat in devices if world.holder(seat) == world.holder(thief.seat)]
    if rng.random() < 0.3:
        world.put(thief, rng.choice((NOTED, LEFT)), path=(rng.choice(devices),), seen=world.heads(world.acts))
        return
    seat = own[-1] if own else thief.seat
    before = [id for id in world.acts if seat != id and seat not in world.pasts[id]]
    world.put(thief, rng.choice((NOTED, LEFT)), seen=world.some(before, 2) if before else (), path=(seat,))


def retire(world: World, thief: Player, model: Model) -> None:
    """Leaves, or renews the key, in the owner's name."""
    if thief.seat == RECOVERY:
        next_key(world, thief)
        return
    if world.random.random() < 0.5 or len(thief.path) > 1:
        world.put(thief, LEFT)
        return
    act = world.put(thief, REKEYED, new := world.device())
    world.thieves.append(Player((act.id,), new.block_key, thief.view))


HOSTILE: Final[Mapping[Deed, float]] = {
    note: 0.5, evict: 1.5, puppet: 1, dated_back: 4, equivocate: 1.5, depose: 1, relive: 3, retire: 1.5, renew: 1, careless: 0.5,
}  # fmt: skip


# --- the whole --------------------------------------------------------------------------------------------------------


def recover(world: World, holder: Player) -> None:
    """The recovery key or a council, on what is there or on an old copy of it: out with some, from far below."""
    rng = world.random
    holder.view = set(world.acts)
    if rng.random() < 0.4:
        kept = world.some(world.acts)
        holder.view = set(kept).union(*(world.pasts[id] for id in kept))
    model = world.model(holder.view)
    below = [seat for seat in model.seats() if model.rank(seat) > model.rank(holder.seat) and not model.removals(seat)]
    harm = [act for act in model.of([REMOVED]) if act.path[0] in below and model.counts(act.id)]
    if harm and rng.random() < 0.5:
        undo(world, holder, rng.choice(harm))
    else:
        below = below or model.seats()
        seats = rng.sample(below, min(len(below), rng.choice((1, 1, 2))))
        removal(world, holder, seats, is_low=rng.random() < 0.7)
    deeds = (add, renew, note)
    rng.choice(deeds)(world, holder, world.model(holder.view))
    if holder.seat == RECOVERY and rng.random() < 0.8:
        if rng.random() < 0.4:
            world.thieves.append(holder.copied())
        next_key(world, holder)


def undo(world: World, holder: Player, harm: Act) -> None:
    """Out with who did harm, cut off just below that."""
    below = {id for id in holder.view if harm.id != id and harm.id not in world.pasts[id]}
    world.put(holder, REMOVED, Removal((harm.path[0],), world.heads(below)))


def next_key(world: World, holder: Player) -> None:
    """A recovery key names the one after it, and is used no more; not by its owner."""
    name = b"\xed\x01" + world.some_bytes()
    world.naming[name] = world.put(holder, RECOVERED, (world.some_bytes(), name)).id
    if world.random.random() < 0.5:
        world.thieves.append(holder.copied())
    holder.author, holder.own = name, None


def feud(world: World) -> None:
    """Two remove each other, neither knowing of the other's removal."""
    pair = world.random.sample(world.honest, min(2, len(world.honest)))
    for one, other in zip(pair, reversed(pair), strict=True):
        if one.seat != other.seat and other.seat in world.model(one.view).seats():
            removal(world, one, [other.seat], is_low=world.random.random() < 0.3)


def turn(world: World, chairs: Sequence[Player], calm: float) -> None:
    """Something happens."""
    rng = world.random
    draw = rng.random()
    if draw < 0.05 * (1 - calm) and world.acts:
        return recover(world, rng.choice(chairs))
    if draw < 0.1 * (1 - calm):
        return feud(world)
    if draw < 0.2 * (1 - calm):
        return steal(world)
    is_hostile = bool(world.thieves) and rng.random() < 0.55 * (1 - calm)
    player = rng.choice(world.thieves if is_hostile else world.honest)
    if rng.random() < 0.6:
        world.hear(player)
    model = world.model(player.view)
    if not is_hostile and not model.is_live(player.seat) and rng.random() < 0.9:
        return None  # it has seen that it is out
    deeds = HOSTILE if is_hostile else HONEST
    rng.choices(list(deeds), list(deeds.values()))[0](world, player, model)
    return None


def settle(world: World) -> None:
    """Everything has reached everybody, and several renew at once; perhaps with two copies of one key."""
    rng = world.random
    model = world.model(world.acts)
    live = [one for one in world.honest + world.thieves if model.is_live(one.seat)]
    if not live:
        return
    everything = set(world.acts)
    known = sorted(act.id for act in model.of([RENEWED]))
    previous = rng.choice(known) if known and rng.random() < 0.3 else None
    for one in [rng.choice(live) for _ in range(rng.choice((2, 2, 3)))]:
        one.view = set(everything)
        if rng.random() < 0.2:
            careless(world, one, model)
        else:
            world.put(one, RENEWED, renewal(world, one, model, previous))
    witness = rng.choice(live)
    for deed, chance in ((note, 0.7), (fact, 0.5), (renew, 0.3), (note, 0.7)):
        if rng.random() < chance:
            witness.view |= world.acts.keys()
            deed(world, witness, world.model(world.acts))


def quiet(world: World) -> None:
    """Nothing changes: an identity that is young, or that leaves well alone."""
    for _ in range(world.random.randint(5, 12)):
        player = world.random.choice(world.honest)
        world.hear(player)
        world.random.choice((note, note, careless, cut_more))(world, player, world.model(player.view))


def schedule(seed: int) -> Schedule:
    """The history of a seed: of 5 to 60 acts."""
    rng = random.Random(f"shape {seed}")
    if rng.random() < 0.1:
        world = World(seed, 12, devices=1)
        quiet(world)
        return world.done()
    limit = rng.randint(6, 52)
    world = World(seed, limit)
    holders = world.chairs()
    calm = rng.choice((0.0, 0.0, 0.3, 0.6, 1.0))
    for _ in range(4 * limit):
        if world.is_full:
            break
        turn(world, holders, calm)
    if rng.random() < 0.85:
        settle(world)
    return world.done()
