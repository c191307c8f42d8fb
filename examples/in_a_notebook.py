"""As in the cells of a notebook, where an asyncio loop is running already: `await`, `async for`, and nothing that blocks on peers.

    python examples/in_a_notebook.py

In a notebook, run the lines of `main` in cells of their own, without the function. Two people measure a temperature; a third
draws the mean as values come. All three are nodes in memory: leave `hub` out and use `Node.open` for real ones.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from walytis_core import Arrived, Chain, Node
from walytis_core.network import MemoryHub


async def measure(chain: Chain, values: list[float]) -> None:
    for value in values:
        chain.append(str(value).encode(), topics=["celsius"])
        await asyncio.sleep(0)  # lets the other cells run


async def watch(chain: Chain, count: int) -> list[float]:
    seen: list[float] = []
    async for event in chain.follow(name="plot", topic="celsius"):
        if isinstance(event, Arrived):
            seen.append(float(event.block.payload))
            print(f"{len(seen)} values, mean {sum(seen) / len(seen):.2f}")
        event.ack()
        if len(seen) == count:
            break
    return seen


async def main() -> list[float]:
    hub = MemoryHub()
    with ExitStack() as stack:
        alice, bob, carol = (stack.enter_context(Node.in_memory(hub)) for _ in range(3))
        lab = alice.create_chain("lab")
        at_bob = await bob.join(str(lab.invite()))
        at_carol = await carol.join(str(lab.invite()))
        watching = asyncio.create_task(watch(at_carol, 6))
        await asyncio.gather(measure(lab, [20.5, 21.0, 21.5]), measure(at_bob, [19.5, 20.0, 20.5]))
        return await watching


if __name__ == "__main__":
    asyncio.run(main())
