"""The small histories in the vectors of docs/spec/identities.md: acts in; live seats, void acts and the current epoch out."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from identities.acts import (
    Act,
    Council,
    Device,
    GenesisSeats,
    Holder,
    Nested,
    Pasts,
    Recovery,
    Removal,
    Renewal,
    SeatId,
)
from identities.authority import decide
from identities.epochs import Epochs

SCENARIOS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identities.json").read_text())["scenarios"]
HOLDERS = {"device": Device, "identity": Nested, "council": Council, "recovery": Recovery}


def plain(value: Any) -> Any:
    """A value of the vectors: bytes are in hex."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return tuple(map(plain, value)) if isinstance(value, list) else value


def holder_of(value: list[Any]) -> Holder:
    kind, *rest = value
    holder: Holder = HOLDERS[kind](*map(plain, rest))
    return holder


def body_of(kind: str, value: Any) -> Any:
    match kind:
        case "added" | "rekeyed":
            return holder_of(value)
        case "removed":
            return Removal(*plain(value))
        case "renewed":
            number, previous, sign_id, seal_id, wraps, fresh = plain(value)
            return Renewal(number, previous, sign_id, seal_id, dict(wraps), fresh)
    return plain(value)


def act_of(value: dict[str, Any]) -> Act:
    id, author, path, seen = (plain(value[name]) for name in ("id", "author", "path", "seen"))
    return Act(id, value["height"], author, value["kind"], path, seen, body_of(value["kind"], value["body"]))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["about"] for scenario in SCENARIOS])
def test_a_history(scenario: dict[str, Any]) -> None:
    """I07, I20, I32, I36, I37: who is live, what is void and why, which epoch is current; in any order of the acts, and without those that are void."""
    genesis = GenesisSeats(
        plain(scenario["chain"]), tuple(map(holder_of, scenario["holders"])), *map(plain, scenario["control"])
    )
    acts = [act_of(value) for value in scenario["acts"]]
    void = {plain(id): reason for id, reason in scenario["void"].items()}
    live: list[SeatId] = [plain(seat) for seat in scenario["live"]]
    for seed in range(5):
        random.Random(seed).shuffle(acts)
        authority = decide(genesis, acts)
        assert ([seat.id for seat in authority.live], authority.void) == (live, void)
        current = Epochs(genesis, authority).current
        assert (current and current.id) == plain(scenario["current"])
    without = decide(genesis, left_of(acts, void))
    assert [seat.id for seat in without.live] == live
    assert not without.void


def left_of(acts: list[Act], void: Collection[bytes]) -> list[Act]:
    """The acts without those that are void: what stood on these stands on what they stood on."""
    pasts = Pasts(acts)
    left = [act for act in pasts.acts if act.id not in void]
    return [
        act._replace(seen=tuple(one.id for one in left if pasts.has(pasts.past(pasts.place[act.id]), one.id)))
        for act in left
    ]
