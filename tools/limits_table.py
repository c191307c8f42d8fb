"""The tables of limits in `docs/threat-model.md`, written from the code that holds them.

    python -m tools.limits_table          writes them anew

Reads source text alone, and imports nothing: some of these files would load libp2p.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from operator import lshift, mul, sub
from typing import Any, NamedTuple

from tools.conformance import ROOT

PAGE = ROOT / "docs" / "threat-model.md"
CORE = ROOT / "walytis_core"
SECTIONS = ("wire", "budgets", "timers")  # those of the format are in docs/spec/
MARKS = ("<!-- limits: written by `python -m tools.limits_table` -->", "<!-- end of limits -->")

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], float]] = {ast.Mult: mul, ast.LShift: lshift, ast.Sub: sub}

ELSEWHERE = (
    ("network/libp2p/host.py", "MAX_ACCEPTED", "connections that others opened"),
    ("network/libp2p/host.py", "MAX_CONNECTIONS", "connections in all"),
    ("network/libp2p/host.py", "HANDSHAKE_WAIT_S", "for Noise and Yamux on a new connection"),
    ("network/libp2p/yamux.py", "WINDOW_BYTES", "unread bytes of one stream"),
    ("network/libp2p/yamux.py", "WAITING_CONTROLS", "answers that wait for a peer which asks and does not read"),
    ("network/libp2p/gossip.py", "TOPICS_PER_PEER", "channels of one peer that are remembered"),
    (
        "network/libp2p/gossip.py",
        "CACHED_MESSAGES",
        "gossip messages of the last seconds, kept for peers that lack them",
    ),
    ("network/libp2p/gossip.py", "CONTROLS_PER_RPC", "control entries of a kind looked at in one message"),
    ("network/libp2p/gossip.py", "SEEN_MESSAGES", "ids of gossip messages remembered"),
    ("network/libp2p/bitswap_wire.py", "MESSAGE_BYTES", "one bitswap message"),
    ("network/libp2p/bitswap_wire.py", "ENTRIES", "entries of a kind looked at in one"),
    ("network/libp2p/bitswap_line.py", "MESSAGES", "bitswap messages of one peer that are read at a time"),
    ("network/libp2p/bitswap_line.py", "WANTS", "blocks that one peer wants and was not answered"),
    ("network/libp2p/bitswap_line.py", "HIT_S", "of a second that a block given to a peer counts for"),
    ("network/libp2p/bitswap_line.py", "MISS_S", "and one that is not here"),
    ("network/libp2p/bitswap_line.py", "BURST_S", "what a peer may use of that at once; then second by second"),
    ("network/libp2p/bitswap_line.py", "TARGET_BYTES", "of answers under way to one peer, and a block"),
    ("network/libp2p/bitswap_line.py", "PIECE_WAIT_S", "for 64 KiB to be taken by a peer that asked for them"),
    ("network/libp2p/bitswap.py", "GIVES", "blocks looked up at a time, for all peers"),
    ("network/libp2p/bitswap.py", "FETCHES", "blocks fetched by CID at a time"),
    ("network/libp2p/network.py", "INBOX_MESSAGES", "gossip messages of a chain that wait to be read; the oldest go"),
    ("network/libp2p/mdns.py", "MAX_WAITING", "records of the local network looked at in a second"),
    ("network/libp2p/nearby.py", "MAX_RECORD_BYTES", "one such record"),
    ("network/libp2p/nearby.py", "MAX_PEERS", "peers that mDNS told of and that are remembered"),
    ("network/libp2p/nearby.py", "DIALS_PER_MINUTE", "to peers that mDNS told of"),
    ("network/libp2p/nearby.py", "MAX_CONNECTED", "connections, above which mDNS has nobody dialled"),
    ("network/libp2p/nearby.py", "TRIES", "dials after which a peer that mDNS told of is forgotten"),
    ("session.py", "_PIPE", "messages of one stream that wait for the replica"),
    ("session.py", "_OUTBOX", "messages that wait for a peer which does not read, before it is dropped"),
    ("manners.py", "FAULTS_ALLOWED", "refusals after which a peer is dropped"),
    ("manners.py", "KEEP_OUT_S", "for so long"),
    ("manners.py", "_FAULTY_PEERS", "peers whose refusals are counted; those with the fewest are forgotten"),
    ("addresses.py", "MAX_ADDRESSES", "addresses of one peer"),
    ("addresses.py", "HEARSAY_TRIES", "failed tries after which a peer that others told of is forgotten"),
    ("addresses.py", "MAX_DIALLING", "peers of one chain that are dialled at once"),
)


class Limit(NamedTuple):
    """One limit: where it stands, its name, its value and its reason."""

    file: str
    name: str
    value: float
    why: str


def read_limits() -> Iterator[Limit]:
    """The limits of `limits.py` that bound what a peer can do, in its order."""
    section = ""
    for line in (CORE / "limits.py").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"    # --- (\w+)", line):
            section = match[1]
        elif section in SECTIONS and (match := re.match(r"    (\w+) = (.+?)(?:  # (.*))?$", line)):
            yield Limit("limits.py", match[1], _value(match[2]), match[3] or "")


def read_elsewhere() -> Iterator[Limit]:
    """The bounds that stand beside the code they concern.

    Raises:
        LookupError: One is not there any more.
    """
    for file, name, why in ELSEWHERE:
        source = (CORE / file).read_text(encoding="utf-8")
        match = re.search(rf"^{name}(?:: Final)? = (.+?)(?:  # .*)?$", source, flags=re.MULTILINE)
        if match is None:
            message = f"{file} has no {name}"
            raise LookupError(message)
        yield Limit(file, name, _value(match[1]), why)


def _value(expression: str) -> float:
    """The number that an expression of literals stands for."""

    def of(node: ast.expr) -> float:
        match node:
            case ast.Constant(int() | float() as number):
                return number
            case ast.BinOp(left, operator, right):
                return _OPERATIONS[type(operator)](of(left), of(right))
        message = f"not a number: {expression}"
        raise ValueError(message)

    return of(ast.parse(expression, mode="eval").body)


def shown(limit: Limit) -> str:
    """The value with its unit, as the page shows it."""
    name, value = limit.name.lower(), limit.value
    if "bytes" in name:
        for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{int(value) // size} {unit}"
        return f"{int(value)} B"
    if name.endswith("_s"):
        return f"{value:g} s"
    return f"{int(value):,}".replace(",", " ")


def tables() -> str:
    """Both tables, between their marks."""
    lines = [MARKS[0], "| in `walytis_core/limits.py` | | |", "|---|---|---|"]
    lines += [f"| `{limit.name}` | {shown(limit)} | {limit.why} |" for limit in read_limits()]
    lines += ["", "| beside the code it concerns | | |", "|---|---|---|"]
    lines += [f"| `{limit.file}` `{limit.name}` | {shown(limit)} | {limit.why} |" for limit in read_elsewhere()]
    return "\n".join([*lines, MARKS[1]])


def rewritten(page: str) -> str:
    """A page with its tables as the code has them.

    Raises:
        ValueError: It has no place for them.
    """
    before, mark, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        message = "the page has no place for the tables"
        raise ValueError(message)
    return before + tables() + after


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
