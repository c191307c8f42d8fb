"""What every store must do: subclass `StoreSuite`, give it `make` and `reopen`, and pytest runs it all.

Example:
    >>> class TestMine(StoreSuite):
    ...     def make(self, directory): return MyStore(directory)
    ...     def reopen(self, store): return store
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.dags import Dag
from walytis_core.block import Block
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import LocalError, NotFoundError
from walytis_core.store.port import ChainStore, Commit, Held, Position, Proof, Query, Row, Store

NOBODY = bytes.fromhex("ed01") + bytes(32)
LOTS = 1 << 30


def observe(chain: ChainStore, dag: Dag) -> dict[str, object]:
    """Everything that can be read of a chain, to compare two stores."""
    ids = list(dag.blocks)
    authors = [signer.key for signer in dag.signers] + [NOBODY]
    return {
        "last": chain.last,
        "count": chain.count,
        "known": chain.known([*ids, Cid.of(b"unknown")]),
        "metas": chain.metas([*ids, Cid.of(b"unknown")]),
        "encoded": chain.encoded(ids),
        "at": [chain.at(author, seq) for author in authors for seq in range(5)],
        "above": [chain.above(author, seq, below) for author in authors for seq in (0, 3) for below in (None, 4)],
        "next": [chain.next_number(author, seq) for author in authors for seq in range(-1, 20)],
        "scan": list(pages(chain)),
        "children": [chain.children(id) for id in ids],
        "tips": sorted((author, seq) for author, seq, _ in chain.tips()),
        "heads": chain.heads(),
        "proofs": chain.proofs(),
        "unfolded": chain.unfolded(),
        "queries": [chain.query(query, newest, 7) for query in queries(dag) for newest in (True, False)],
        "canonical": chain.canonical(None, LOTS),
        "part": chain.canonical(Position(3, b""), 5, Position(6, dag.genesis.id)),
    }


def queries(dag: Dag) -> Iterator[Query]:
    """Conditions, alone and combined."""
    for topic in (None, "a", "c\0d", "nobody's"):
        for type in (None, "", "test/one", "nobody's"):
            for author in (None, dag.signers[1].key, NOBODY):
                yield Query(topic, type, author)
                yield Query(topic, type, author, since=4, until=15)
                yield Query(topic, type, author, after_ms=200, before_ms=700)
    yield Query(since=1 << 70, until=1 << 70, after_ms=-(1 << 70), before_ms=1 << 70)


def pages(chain: Held, max_blocks: int = 5, max_bytes: int = LOTS) -> Iterator[Row]:
    """All members, read a page at a time."""
    after = 0
    while page := chain.scan(after, max_blocks, max_bytes):
        yield from page
        after = page[-1].number


def assert_invariants(chain: ChainStore) -> None:
    """What `port.py` promises of the members, by definition."""
    dag_rows = {row.id: row for row in pages(chain)}
    metas = chain.metas(list(dag_rows))
    folded = {id for id, meta in metas.items() if meta.folded}
    genesis = min(metas, key=lambda id: metas[id].number)
    children = {id: chain.children(BlockId(id)) for id in metas}
    assert chain.count == len(folded) - 1
    assert chain.last == max(meta.number for meta in metas.values())
    assert chain.unfolded() == set(metas) - folded
    assert set(chain.heads()) == {id for id in folded - {genesis} if not folded & set(children[id])}
    for id in folded:
        assert all(metas[child].number > metas[id].number for child in children[id] if child in folded)
    for author, seq, id in chain.tips():
        assert seq == max(meta.seq for meta in metas.values() if meta.author == author)
        assert id in chain.at(author, seq)


class StoreSuite:
    """The contract of `walytis_core.store.port.Store`, as tests."""

    @abstractmethod
    def make(self, directory: Path) -> Store:
        """A new, empty store."""

    @abstractmethod
    def reopen(self, store: Store) -> Store:
        """The same store after its process has ended."""

    @pytest.fixture
    def stores(self, tmp_path: Path) -> Iterator[list[Store]]:
        kept = [self.make(tmp_path / "store")]
        yield kept
        kept[-1].close()

    @pytest.fixture
    def store(self, stores: list[Store]) -> Store:
        return stores[0]

    @pytest.fixture
    def dag(self) -> Dag:
        return Dag(7)

    @pytest.fixture
    def chain(self, store: Store, dag: Dag) -> ChainStore:
        return store.create_chain(dag.genesis, "test")

    # --- chains ---

    def test_a_new_chain_holds_its_genesis_alone(self, chain: ChainStore, dag: Dag) -> None:
        assert chain.id == dag.genesis.id
        assert (chain.last, chain.count, chain.heads(), chain.unfolded()) == (1, 0, [], set())
        assert list(chain.tips()) == [(dag.signers[0].key, 0, dag.genesis.id)]
        assert [row.id for row in chain.scan(0, 10, LOTS)] == [dag.genesis.id]
        assert chain.query(Query(), newest_first=True, limit=10) == chain.canonical(None, 10) == []

    def test_chains_have_local_names(self, store: Store, dag: Dag) -> None:
        store.create_chain(dag.genesis, "one")
        with pytest.raises(LocalError):
            store.create_chain(dag.genesis, "again")
        store.rename(dag.genesis.id, "other")
        assert store.chains() == {dag.genesis.id: "other"}

    def test_a_chain_comes_with_its_first_values(self, store: Store, dag: Dag) -> None:
        """C22: they are there from the transaction on that adds the chain."""
        chain = store.create_chain(dag.genesis, "one", {"a": b"1", "b": b""})
        assert chain.items("") == {"a": b"1", "b": b""}

    def test_a_hidden_chain_can_come_back_before_its_rows_are_gone(
        self, store: Store, chain: ChainStore, dag: Dag
    ) -> None:
        """C27: what is left of it is no part of the new one, and purging it takes nothing from that."""
        chain.commit(dag.step(20, 0.3))
        chain.put("key", b"value")
        store.hide_chain(dag.genesis.id)
        assert store.chains() == {}
        again = store.create_chain(dag.genesis, "again", {"new": b"1"})
        assert (again.count, again.items("")) == (0, {"new": b"1"})
        store.purge()
        assert (again.count, again.items("")) == (0, {"new": b"1"})
        assert again.known(list(dag.blocks)) == {dag.genesis.id}

    def test_an_unknown_chain_is_not_found(self, store: Store, chain: ChainStore) -> None:
        """C21: looking up what is not there leaves the store usable."""
        unknown = Cid.of(b"unknown")
        for ask in (store.chain, store.delete_chain, lambda id: store.rename(id, "name")):
            with pytest.raises(NotFoundError):
                ask(unknown)
        assert not chain.metas([unknown])
        assert not chain.encoded([unknown])
        assert chain.known([unknown, b"", b"short"]) == set()
        assert chain.children(unknown) == chain.at(NOBODY, 0) == []
        assert chain.count == 0

    def test_chains_do_not_see_each_other(self, store: Store, chain: ChainStore, dag: Dag) -> None:
        blocks = dag.line(3)
        chain.commit(Commit(blocks=blocks))
        other_dag = Dag(8)
        other = store.create_chain(other_dag.genesis, "other")
        ids = [block.id for block in blocks]
        assert other.known(ids) == set()
        assert not other.metas(ids)
        assert not other.encoded(ids)
        assert other.children(ids[0]) == []
        other.commit(other_dag.step(2, 0))
        chain.commit(Commit())
        assert (chain.last, other.last) == (4, 7)
        other.put("key", b"value")
        assert chain.get("key") is None

    def test_a_deleted_chain_is_gone_and_can_come_back(self, store: Store, chain: ChainStore, dag: Dag) -> None:
        """C27: deleting a chain removes its data; it can be joined again."""
        other_dag = Dag(8)
        other = store.create_chain(other_dag.genesis, "other")
        other.commit(other_dag.step(5, 0))
        chain.commit(dag.step(20, 0.3))
        chain.set_cursor("inbox", 3)
        chain.put("key", b"value")
        chain.put_side(Cid.of(b"leaf", RAW_PREFIX), b"leaf")
        chain.set_aside("inbox", 2, "no")
        last = chain.last
        store.delete_chain(dag.genesis.id)
        assert store.chains() == {other_dag.genesis.id: "other"}
        assert_invariants(other)

        again = store.create_chain(dag.genesis, "again")
        assert again.last > last, "numbers are never given twice"
        assert (again.count, again.cursor("inbox"), again.rejected("inbox"), again.items("")) == (0, None, {}, {})
        assert again.side(Cid.of(b"leaf", RAW_PREFIX)) is None
        assert again.known(list(dag.blocks)) == {dag.genesis.id}
        again.commit(Commit(blocks=[block for block in dag.blocks.values() if block.seq][:1]))

    # --- commits ---

    def test_a_commit_numbers_its_blocks_in_order(self, chain: ChainStore, dag: Dag) -> None:
        blocks = dag.line(3)
        assert chain.commit(Commit(blocks=blocks)) == {block.id: n for n, block in enumerate(blocks, 2)}
        assert chain.commit(Commit()) == {}
        assert (chain.last, chain.count) == (4, 3)
        assert_invariants(chain)

    @pytest.mark.parametrize("fault", ["twice", "twice in one", "orphan", "disorder", "unfold", "refold"])
    def test_a_commit_that_breaks_an_invariant_changes_nothing(self, chain: ChainStore, dag: Dag, fault: str) -> None:
        first, second, third = dag.line(3)
        chain.commit(Commit(blocks=[first]))
        before = observe(chain, dag)
        commit = {
            "twice": Commit(blocks=[second, first]),
            "twice in one": Commit(blocks=[second, second]),
            "orphan": Commit(blocks=[third]),
            "disorder": Commit(blocks=[third, second]),
            "unfold": Commit(blocks=[second], unfold=[third.id]),
            "refold": Commit(blocks=[second], refold=[third.id]),
        }[fault]
        with pytest.raises(LocalError):
            chain.commit(commit)
        assert observe(chain, dag) == before
        assert chain.commit(Commit(blocks=[second, third])) == {second.id: 3, third.id: 4}

    def test_names_of_a_refused_commit_are_forgotten(self, chain: ChainStore, dag: Dag) -> None:
        refused = dag.grow(1, topics=["refused"], type="refused")
        orphan = dag.grow(1)
        missing = orphan._replace(parents=(Cid.of(b"unknown"),))
        with pytest.raises(LocalError):
            chain.commit(Commit(blocks=[refused, missing]))
        other = dag.line(1, 2, topics=["other"], type="other")[0]
        for block in (refused, orphan, other):
            chain.commit(Commit(blocks=[block]))
        for block, topic in ((refused, "refused"), (other, "other")):
            query = Query(topic, topic, block.author)
            assert [row.id for row in chain.query(query, newest_first=True, limit=5)] == [block.id]
        assert {author for author, _, _ in chain.tips()} == {signer.key for signer in dag.signers}

    def test_a_lower_proof_replaces_a_higher_one(self, chain: ChainStore) -> None:
        high, low, other = Proof(NOBODY, 5, b"1", b"2"), Proof(NOBODY, 3, b"3", b"4"), Proof(NOBODY, 3, b"5", b"6")
        for proof, kept in ((high, high), (low, low), (high, low), (other, low)):
            chain.commit(Commit(proofs=[proof]))
            assert chain.proofs() == {NOBODY: kept}

    def test_refolded_members_get_fresh_numbers_before_new_blocks(self, chain: ChainStore, dag: Dag) -> None:
        blocks = dag.line(4)
        chain.commit(Commit(blocks=blocks))
        proof = Proof(dag.signers[0].key, 1, b"1", b"2")
        ids = [block.id for block in blocks]
        assert chain.commit(Commit(proofs=[proof], unfold=ids[:0:-1])) == {}
        assert (chain.count, chain.heads(), chain.unfolded()) == (1, [ids[0]], set(ids[1:]))
        newest = dag.grow(1)
        assert chain.commit(Commit(blocks=[newest], refold=ids[1:])) == {
            ids[1]: 6, ids[2]: 7, ids[3]: 8, newest.id: 9,
        }  # fmt: skip
        assert [row.number for row in pages(chain)] == [1, 2, 6, 7, 8, 9]
        assert chain.commit(Commit(refold=ids)) == {}, "what is folded stays where it is"
        assert_invariants(chain)

    @pytest.mark.parametrize("seed", range(6))
    def test_heads_and_order_hold_through_forks(self, stores: list[Store], seed: int) -> None:
        """C14, C15: heads are what no folded block names; parents come before children."""
        dag = Dag(seed, authors=4)
        chain = stores[0].create_chain(dag.genesis, "test")
        for step in range(12):
            chain.commit(dag.step(dag.random.randrange(1, 6), fork_chance=0.15 if step > 3 else 0))
            assert_invariants(chain)
            assert chain.unfolded() == set(dag.blocks) - dag.folded()
        before = observe(chain, dag)
        stores.append(self.reopen(stores[0]))
        assert observe(stores[-1].chain(dag.genesis.id), dag) == before

    # --- reading ---

    def test_scan_keeps_to_its_limits_but_gives_one(self, chain: ChainStore, dag: Dag) -> None:
        blocks = dag.line(9)
        chain.commit(Commit(blocks=blocks))
        everything = [dag.genesis.id, *(block.id for block in blocks)]
        assert [row.id for row in pages(chain, 4)] == everything
        assert [row.id for row in pages(chain, 100, 1)] == everything
        size = len(dag.genesis.encoded) + len(blocks[0].encoded)
        assert len(chain.scan(0, 100, size)) == 2
        assert len(chain.scan(0, 100, size - 1)) == 1
        assert len(chain.scan(0, 0, 0)) == 1
        assert chain.scan(chain.last, 100, LOTS) == []

    def test_many_ids_at_once(self, chain: ChainStore, dag: Dag) -> None:
        blocks = dag.line(40)
        chain.commit(Commit(blocks=blocks))
        ids = [block.id for block in blocks]
        unknown = [Cid.of(bytes([n]), prefix=blocks[0].id[:4]) for n in range(250)] * 3
        other_codec = [Cid(RAW_PREFIX + id[4:]) for id in ids]
        assert chain.known([*ids, *unknown]) == set(ids) == set(chain.metas([*unknown, *ids]))
        assert chain.encoded([*ids, *unknown]) == {block.id: block.encoded for block in blocks}
        for ask in (chain.known, chain.metas, chain.encoded):
            assert not ask([*unknown, *other_codec])

    def test_queries_combine_and_page(self, chain: ChainStore, dag: Dag) -> None:
        """C20: by topic, type, author, time and count, combined, both ways, paged by a number."""
        chain.commit(dag.step(80, 0))
        numbers = {row.id: row.number for row in pages(chain)}
        for query in queries(dag):
            wanted = [
                numbers[b.id] for b in dag.blocks.values() if b is not dag.genesis and _wanted(query, b, numbers[b.id])
            ]
            whole = [row.number for row in chain.query(query, newest_first=False, limit=LOTS)]
            assert whole == sorted(wanted)
            assert [row.number for row in chain.query(query, newest_first=True, limit=LOTS)] == whole[::-1]
            assert [row.number for row in chain.query(query, newest_first=True, limit=3)] == whole[::-1][:3]
            assert [number for page in _query_pages(chain, query) for number in page] == whole
        assert chain.query(Query(), newest_first=True, limit=0) == []

    def test_the_canonical_order_pages_from_any_position(self, chain: ChainStore, dag: Dag) -> None:
        chain.commit(dag.step(50, 0))
        places = sorted((block.height, block.id) for block in dag.blocks.values() if block is not dag.genesis)
        whole = [row.id for row in chain.canonical(None, LOTS)]
        assert whole == [id for _, id in places]
        found: list[BlockId] = []
        position = None
        while page := chain.canonical(position, 7):
            found += [row.id for row in page]
            position = Position(dag.blocks[found[-1]].height, found[-1])
        assert found == whole
        for height in (0, 5, 1000):
            for end in (b"", b"\x01", dag.genesis.id, b"\xff" * 36):
                assert [row.id for row in chain.canonical(Position(height, end), LOTS)] == [
                    id for place, id in zip(places, whole, strict=True) if place > (height, end)
                ]
                assert [row.id for row in chain.canonical(None, LOTS, Position(height, end))] == [
                    id for place, id in zip(places, whole, strict=True) if place < (height, end)
                ]
        assert chain.canonical(None, 0) == []

    # --- beside the blocks ---

    def test_cursors_and_rejections_are_kept_per_name(self, stores: list[Store], chain: ChainStore, dag: Dag) -> None:
        """C16, C19: a named consumer's place survives; names are independent."""
        assert chain.cursor("inbox") is None
        chain.set_cursor("inbox", 3)
        chain.set_cursor("inbox", 5)
        chain.set_cursor("inbox", 4)  # never back
        chain.set_cursor("other", 1)
        chain.set_cursor("gone", 1)
        chain.set_cursor("gone", None)
        chain.set_aside("inbox", 4, "not for me")
        stores.append(self.reopen(stores[0]))
        again = stores[-1].chain(dag.genesis.id)
        assert [again.cursor(name) for name in ("inbox", "other", "gone")] == [5, 1, None]
        assert (again.rejected("inbox"), again.rejected("other")) == ({4: "not for me"}, {})

    def test_side_bytes_may_be_dropped(self, chain: ChainStore) -> None:
        leaves = [bytes([n]) * 100 for n in range(5)]
        cids = [Cid.of(leaf, RAW_PREFIX) for leaf in leaves]
        for cid, leaf in zip(cids[:4], leaves, strict=False):
            chain.put_side(cid, leaf, readers="all")
        chain.put_side(cids[0], leaves[0])
        assert chain.side(cids[0]) == leaves[0]
        assert chain.side(cids[4]) is None
        assert chain.has_side(cids) == set(cids[:4])
        chain.drop_side([cids[1], cids[4]])
        assert chain.has_side(cids) == set(cids[:4]), "bytes of a layer went with a block that names them"
        chain.drop_side([cids[1], cids[4]], labelled=True)
        assert chain.has_side(cids) == {cids[0], cids[2], cids[3]}
        assert chain.has_side([]) == set()

    def test_what_is_held_under_a_cid(self, stores: list[Store], chain: ChainStore, dag: Dag) -> None:
        """C42, C44: by which chains, and whether the layer that put it aside named its readers."""
        store, (open_to_all, labelled, absent) = stores[0], (Cid.of(bytes([n]), RAW_PREFIX) for n in range(3))
        chain.put_side(open_to_all, b"\0")
        chain.put_side(labelled, b"\1", readers="devices")
        for cid in (dag.genesis.id, open_to_all, labelled):
            assert store.holding(cid) == [dag.genesis.id]
        assert store.holding(absent) == []
        assert store.holding(Cid(RAW_PREFIX + dag.genesis.id[4:])) == []  # the digest of a block, as another kind
        assert chain.unlabelled_side(open_to_all) == b"\0"
        assert chain.unlabelled_side(labelled) is None
        assert chain.unlabelled_side(absent) is None
        assert [chain.side_label(cid) for cid in (open_to_all, labelled, absent)] == ["", "devices", None]
        chain.put_side(labelled, b"\1")
        assert chain.side_label(labelled) == "devices", "a label is lost when somebody puts the same bytes"
        chain.put_side(labelled, b"\1", readers="others")
        chain.put_side(open_to_all, b"\0", readers="others")
        assert [chain.side_label(cid) for cid in (open_to_all, labelled)] == ["others", "others"]
        assert chain.unlabelled_side(open_to_all) is None
        chain.drop_side([labelled], labelled=True)
        chain.put_side(labelled, b"\1")
        assert chain.unlabelled_side(labelled) == b"\1"
        store.delete_chain(dag.genesis.id)
        assert store.holding(dag.genesis.id) == []
        assert store.holding(open_to_all) == []

    def test_small_values_by_prefix(self, stores: list[Store], chain: ChainStore, dag: Dag) -> None:
        store = stores[0]
        for target in (store, chain):
            for key in ("view/b", "view/a", "viewer", "x", "gone", "%_"):
                target.put(key, key.encode())
            target.put("x", b"new")
            target.put("gone", None)
            target.put("never", None)
        stores.append(self.reopen(store))
        for again in (stores[-1], stores[-1].chain(dag.genesis.id)):
            assert (again.get("x"), again.get("gone"), again.get("%_")) == (b"new", None, b"%_")
            assert dict(again.items("view/")) == {"view/a": b"view/a", "view/b": b"view/b"}
            assert list(dict(again.items(""))) == ["%_", "view/a", "view/b", "viewer", "x"]

    def test_small_values_together(self, stores: list[Store], chain: ChainStore, dag: Dag) -> None:
        """Many are written in one transaction, and read in few queries."""
        many = {f"view/{n}": b"%d" % n for n in range(600)}
        chain.put("view/0", b"old")
        chain.put("gone", b"")
        chain.put_many({**many, "gone": None, "never": None})
        chain.put_many({})
        stores.append(self.reopen(stores[0]))
        again = stores[-1].chain(dag.genesis.id)
        assert again.items("") == many
        assert again.get_many([*many, "gone", "never"]) == many
        assert again.get_many([]) == {}
        other = stores[-1].create_chain(Dag(99).genesis, "other")
        assert other.get_many(list(many)) == {}

    def test_a_whole_chain_verifies(self, chain: ChainStore, dag: Dag) -> None:
        chain.commit(dag.step(30, 0.2))
        steps: list[tuple[int, int]] = []
        report = chain.verify(lambda done, total: steps.append((done, total)))
        assert (report.checked, list(report.corrupt), list(report.problems)) == (31, [], [])
        assert steps[-1] == (31, 31)
        assert chain.corrupt() == []

    def test_closing_twice_is_fine(self, store: Store) -> None:
        store.close()
        store.close()


def _wanted(query: Query, block: Block, number: int) -> bool:
    """The meaning of a query, for one block."""
    time_ms = block.time_ms
    return all((
        query.topic is None or query.topic in block.topics,
        query.type is None or query.type == block.type,
        query.author is None or query.author == block.author,
        query.since is None or query.since < number,
        query.until is None or number <= query.until,
        query.after_ms is None or query.after_ms <= time_ms,
        query.before_ms is None or time_ms < query.before_ms,
    ))  # fmt: skip


def _query_pages(chain: ChainStore, query: Query) -> Iterator[list[int]]:
    while page := [row.number for row in chain.query(query, newest_first=False, limit=4)]:
        yield page
        query = query._replace(since=page[-1])
