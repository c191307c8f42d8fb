"""What every network adapter must do with blocks by CID."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio

from tests.suites.networks import ALICE, BOB, BOUND_S, CAROL, NOTICED_S, Networks, blocks_of, until
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.port import Give, Network


class BlockSuite(Networks):
    """Blocks by CID, as tests."""

    @asynccontextmanager
    async def giving(
        self, seed: bytes, blocks: Mapping[Cid, bytes], give: Give | None = None
    ) -> AsyncIterator[Network]:
        """A running network that gives blocks, by `give` where it is asked for them."""

        async def given(cid: Cid) -> bytes | None:
            return blocks.get(cid)

        network = self.make(seed)
        network.offer(give or given)
        async with network.running(seed):
            if network.copies is not None:
                await network.copies.put(list(blocks.items()))
            yield network

    def test_blocks_are_fetched_by_cid(self) -> None:
        """C43: of every kind and size, from a peer that is named and from any, both ways at the same time."""

        async def test() -> None:
            kinds = [DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX]
            ours, theirs = (
                blocks_of([(kind, size) for kind in kinds for size in (1, 300, Limits.leaf_bytes)]) for _ in range(2)
            )
            async with self.giving(ALICE, ours) as alice, self.giving(BOB, theirs) as bob:
                await alice.connect(bob.addresses())
                await until(lambda: alice.peer_id in bob.connected())

                async def fetch_all(network: Network, blocks: Mapping[Cid, bytes], peer: Network) -> None:
                    for cid, data in blocks.items():
                        assert await network.fetch(cid) == data
                        assert await network.fetch(cid, [peer.peer_id]) == data

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fetch_all, alice, theirs, bob)
                    nursery.start_soon(fetch_all, bob, ours, alice)

        self.run(test)

    def test_a_block_that_nobody_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C43: is said in bounded time: by a peer, by one that cannot look, or when nobody is connected."""
        monkeypatch.setattr(Limits, "fetch_wait_s", 4.0)

        async def give(cid: Cid) -> bytes | None:
            raise UnavailableError("not now")

        async def test() -> None:
            async with self.giving(ALICE, {}, give) as alice, self.running_both_without(ALICE) as (bob, carol):
                for network in (bob, carol):
                    await network.connect(alice.addresses())
                for network in (alice, bob):
                    with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                        await network.fetch(Cid.of(b"nobody has it"))
                await bob.disconnect(alice.peer_id)
                await until(lambda: not bob.connected())
                with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                    await bob.fetch(Cid.of(b"nobody has it"))

        self.run(test)

    @asynccontextmanager
    async def running_both_without(self, seed: bytes) -> AsyncIterator[tuple[Network, Network]]:
        """Two of the three, not connected."""
        one, other = (each for each in (ALICE, BOB, CAROL) if each != seed)
        first, second = self.make(one), self.make(other)
        async with first.running(one), second.running(other):
            yield first, second

    def test_only_blocks_of_known_kinds(self) -> None:
        """C36: nobody is asked for a CID of another kind."""

        async def test() -> None:
            asked: list[Cid] = []

            async def give(cid: Cid) -> bytes | None:
                asked.append(cid)
                return b"x"

            async with self.giving(ALICE, {}, give) as alice, self.giving(BOB, {}, give) as bob:
                await alice.connect(bob.addresses())
                for odd in (Cid(b"\x01\x51" + Cid.of(b"x")[2:]), Cid(Cid.of(b"x")[2:]), Cid(b"")):
                    with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                        await alice.fetch(odd)
                assert not asked

        self.run(test)

    def test_many_fetches_at_once(self) -> None:
        """C43: of many blocks and of one block many times; those that are given up disturb no other."""

        async def test() -> None:
            blocks = blocks_of([(RAW_PREFIX, 200 + number) for number in range(60)])
            async with self.giving(BOB, blocks) as bob:
                alice = self.make(ALICE)
                async with alice.running(ALICE):
                    await alice.connect(bob.addresses())
                    got: list[bytes] = []

                    async def fetch(cid: Cid, patience_s: float) -> None:
                        with trio.move_on_after(patience_s) as patience:
                            data = await alice.fetch(cid)
                            assert data == blocks[cid]
                            got.append(data)
                        assert patience_s == 0 or not patience.cancelled_caught

                    async with trio.open_nursery() as nursery:
                        for number, cid in enumerate(blocks):
                            for patience_s in (0, BOUND_S, BOUND_S) if number % 10 else (BOUND_S,) * 5:
                                nursery.start_soon(fetch, cid, patience_s)
                    assert set(got) == set(blocks.values())

        self.run(test)


class GivingSuite(BlockSuite):
    """The same of adapters that ask `give` for each block, instead of having copies put somewhere."""

    @pytest.mark.slow  # it waits for what never comes
    def test_what_does_not_fit_is_never_handed_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C36: a peer that gives other bytes, or too many: the next is asked."""
        monkeypatch.setattr(Limits, "fetch_wait_s", 4.0)

        async def test() -> None:
            blocks = blocks_of([(RAW_PREFIX, 300)])
            large = os.urandom(Limits.leaf_bytes + 1)
            liars = {cid: data[::-1] for cid, data in blocks.items()} | {Cid.of(large): large}
            async with self.giving(ALICE, liars) as liar, self.giving(BOB, blocks) as bob:
                carol = self.make(CAROL)
                async with carol.running(CAROL):
                    await carol.connect(liar.addresses())
                    with pytest.raises(UnavailableError):
                        await carol.fetch(Cid.of(large))
                    await carol.connect(bob.addresses())
                    for cid, data in blocks.items():
                        assert await carol.fetch(cid, [liar.peer_id, bob.peer_id]) == data

        self.run(test)

    def test_a_peer_that_goes_gives_nothing(self) -> None:
        """C43: a fetch from a peer that cannot answer ends when the peer is gone; meanwhile others are served."""

        async def test() -> None:
            waiting = trio.Event()
            blocks = blocks_of([(RAW_PREFIX, 300)])
            (there,) = blocks

            async def give(cid: Cid) -> bytes | None:
                if cid != there:
                    waiting.set()
                    await trio.sleep_forever()
                return blocks[cid]

            async with self.giving(ALICE, {}, give) as alice, self.running_both_without(ALICE) as (bob, carol):
                await bob.connect(alice.addresses())
                await carol.connect(alice.addresses())

                async def never() -> None:
                    with trio.fail_after(NOTICED_S), pytest.raises(UnavailableError):
                        await bob.fetch(Cid.of(b"slow"))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(never)
                    await waiting.wait()
                    assert await carol.fetch(there) == blocks[there]
                    await alice.disconnect(bob.peer_id)
                await until(lambda: not bob.connected())
                await bob.connect(alice.addresses())
                assert await bob.fetch(there) == blocks[there]

        self.run(test)

    def test_a_fetch_ends_with_the_network(self) -> None:
        """C46: whoever waits for a block when the network stops is told."""

        async def test() -> None:
            waiting = trio.Event()

            async def give(cid: Cid) -> bytes | None:
                waiting.set()
                await trio.sleep_forever()

            async with self.giving(ALICE, {}, give) as alice, trio.open_nursery() as nursery:
                bob = self.make(BOB)

                async def never() -> None:
                    with trio.fail_after(NOTICED_S), pytest.raises(UnavailableError):
                        await bob.fetch(Cid.of(b"slow"))

                async with bob.running(BOB):
                    await bob.connect(alice.addresses())
                    nursery.start_soon(never)
                    await waiting.wait()

        self.run(test)

    def test_an_error_in_giving_ends_the_node_loudly(self) -> None:
        """C46: a bug where blocks are looked up is not swallowed."""

        async def give(cid: Cid) -> bytes | None:
            raise ZeroDivisionError

        async def test() -> None:
            alice = self.make(ALICE)
            async with alice.running(ALICE):
                with pytest.raises(ZeroDivisionError):  # noqa: PT012
                    async with self.giving(BOB, {}, give) as bob:
                        await alice.connect(bob.addresses())
                        with pytest.raises(UnavailableError):
                            await alice.fetch(Cid.of(b"x"))
                        await trio.sleep_forever()

        self.run(test)
