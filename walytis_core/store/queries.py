"""How a user's query becomes SQL: which index drives it, and what is then tested row by row.

Invariant: each page is read in the order of one index that starts with an exact match, from the page's bound on; so its
cost does not grow with the chain, but with the rows that the driving index offers and another condition refuses. Where
several conditions could drive, a bounded probe picks the rarest. This file reads nothing but names and those probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from walytis_core.store.database import Record
from walytis_core.store.port import Query

GREATEST: Final = (1 << 63) - 1
"""The greatest integer of SQLite."""

_PROBE: Final = 512

Read = Callable[[str, Sequence[object]], list[Record]]


class Bounds(NamedTuple):
    """The numbers and times that a page may hold: `since < number <= until`, `after_ms <= time < before_ms`."""

    since: int
    until: int
    after_ms: int
    before_ms: int

    @classmethod
    def of(cls, query: Query, genesis: int, last: int) -> Bounds:
        """The bounds of a query; the genesis is in none."""
        return cls(
            max(genesis, min(query.since or 0, GREATEST)),
            last if query.until is None else max(min(query.until, last), 0),
            max(min(query.after_ms or 0, GREATEST), 0),
            GREATEST if query.before_ms is None else max(min(query.before_ms, GREATEST), 0),
        )


class Index(NamedTuple):
    """An exact match: where it can drive from, how it is tested, and the integer it looks for."""

    source: str
    column: str
    test: str
    value: int


def choose(query: Query, bounds: Bounds, chain: int, read: Read) -> list[Index] | None:
    """The exact matches of a query, the driving one first; None when a name is not in the chain at all."""
    indexes: list[Index] = []
    for value, sql, make in (
        (query.topic, "SELECT key FROM topics WHERE chain = ? AND topic = ?", _topic),
        (query.author, "SELECT key FROM authors WHERE chain = ? AND author = ?", _author),
        (
            None if query.is_type_prefix else query.type or None,
            "SELECT key FROM types WHERE chain = ? AND type = ?",
            _type,
        ),
    ):
        if value is None:
            continue
        found = read(sql, (chain, value))
        if not found:
            return None
        indexes.append(make(found[0][0]))
    if len(indexes) > 1:
        indexes.sort(key=lambda index: _rows_of(index, bounds, read))
    return indexes or [Index("blocks b INDEXED BY blocks_by_chain", "b.chain", "", chain)]


def _topic(key: int) -> Index:
    test = "EXISTS (SELECT 1 FROM labels WHERE topic = ? AND number = b.number)"
    return Index("labels l", "l.topic", test, key)


def _author(key: int) -> Index:
    return Index("blocks b INDEXED BY blocks_by_author", "b.author", "+b.author = ?", key)


def _type(key: int) -> Index:
    return Index("blocks b INDEXED BY blocks_by_type", "b.type", "+b.type = ?", key)


def _rows_of(index: Index, bounds: Bounds, read: Read) -> int:
    """How many rows an index would offer, counted up to a bound."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {index.source} WHERE {index.column} = ? AND number BETWEEN ? AND ? LIMIT ?)"  # noqa: S608 - constants of this file
    count: int = read(sql, (index.value, bounds.since + 1, bounds.until, _PROBE))[0][0]
    return count


def page(
    query: Query, bounds: Bounds, indexes: Sequence[Index], newest_first: bool, limit: int
) -> tuple[str, list[object]]:
    """The SQL of a page and its parameters: rows of `port.Row`, unfolded and corrupt ones left out."""
    driver, *others = indexes
    parameters: list[object] = [driver.value, bounds.since, bounds.until]
    tests = [index.test for index in others]
    parameters += [index.value for index in others]
    if query.type == "":
        tests.append("b.type IS NULL")
    if query.is_type_prefix and query.type is not None:
        tests.append("EXISTS (SELECT 1 FROM types t WHERE t.key = b.type AND t.type >= ? AND t.type < ?)")
        parameters += [query.type, query.type[:-1] + "0"]  # the character after the slash
    if query.after_ms is not None or query.before_ms is not None:
        tests.append("b.time >= ? AND b.time < ?")
        parameters += [bounds.after_ms, bounds.before_ms]
    number = "l.number" if driver.source == "labels l" else "b.number"
    join = "CROSS JOIN blocks b ON b.number = l.number" if driver.source == "labels l" else ""
    sql = f"""
        SELECT b.number, b.id, a.author, b.seq, b.unfolded, b.encoded
        FROM {driver.source} {join} CROSS JOIN authors a ON a.key = b.author
        WHERE {driver.column} = ? AND {number} > ? AND {number} <= ?
        {"".join(f" AND {test}" for test in tests)} AND b.unfolded = 0 AND b.corrupt = 0
        ORDER BY {number} {"DESC" if newest_first else "ASC"} LIMIT ?
    """  # noqa: S608 - constants of this file and placeholders
    return sql, [*parameters, limit]
