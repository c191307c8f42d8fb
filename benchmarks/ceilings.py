"""What the libraries can do on this machine: the ceilings that our own figures are measured against.

Imports nothing of ours. The same libraries (PyNaCl, sqlite3) with the simplest honest table: one row per block, its
id unique, WAL and `synchronous=FULL`. A block is like ours in size and work: a header of about 300 bytes with a
payload of 100 in it, SHA-256 for the id, an Ed25519 signature. No index but the id's, no rules, no decoding.

A run that stays under 0.6 of what such a machine has shown before measures something else that was running: it is
void, and so is every ratio to it.

    python -m benchmarks.ceilings
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

PAYLOAD_BYTES = 100
CHECKED_PER_COMMIT = 256
VOID_BELOW = 0.6
RUNS = 3

_SIGNATURE_BYTES = 64
_UNDER_WAY = 4  # batches: one in each thread and two ready, so that no thread waits for another
_CONTEXT = b"ceilings/block/1"
_LINK = b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20"  # a DAG-CBOR link to a CIDv1, up to its digest
_GENESIS = bytes(32)
_LENGTH = struct.Struct(">I")

Block = bytes
"""A signature followed by the header it signs."""

Row = tuple[bytes, Block]
"""A block's id and the block."""


class Author:
    """A key and where its own chain of blocks stands."""

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = crypto_sign_seed_keypair(seed)
        self._previous, self._seq = _GENESIS, 0

    def create(self, payload: bytes) -> Row:
        """The next block, which names the author's previous one."""
        self._seq += 1
        header = b"".join(
            (
                b"\x8c\x01",
                _LINK + _GENESIS,
                b"\x58\x22\xed\x01" + self.public,
                b"\x1a" + self._seq.to_bytes(4, "big"),
                _LINK + self._previous,
                b"\x81" + _LINK + _GENESIS,
                b"\x1a" + self._seq.to_bytes(4, "big"),
                b"\x1b" + time.time_ns().to_bytes(8, "big"),
                b"\x60\x81\x65topic\x58" + bytes((len(payload),)) + payload + b"\xa0",
            )
        )
        block = crypto_sign(_CONTEXT + header, self._secret)[:_SIGNATURE_BYTES] + header
        self._previous = hashlib.sha256(block).digest()
        return self._previous, block


def check(blocks: Sequence[Block], public: bytes) -> list[Row]:
    """The rows of blocks whose signatures hold; raises at the first that does not."""
    rows = []
    for block in blocks:
        crypto_sign_open(block[:_SIGNATURE_BYTES] + _CONTEXT + block[_SIGNATURE_BYTES:], public)
        rows.append((hashlib.sha256(block).digest(), block))
    return rows


@contextlib.contextmanager
def store(path: Path) -> Iterator[sqlite3.Connection]:
    """The simplest honest table."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS blocks (seq INTEGER PRIMARY KEY, id BLOB UNIQUE, data BLOB)")
        yield connection


def commit(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """One durable transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO blocks (id, data) VALUES (?, ?)", rows)
    connection.execute("COMMIT")


def create_only(directory: Path, count: int) -> float:
    """Creates signed blocks, no store; blocks per second."""
    del directory
    author = Author(os.urandom(32))
    started = time.perf_counter()
    for _ in range(count):
        author.create(os.urandom(PAYLOAD_BYTES))
    return count / (time.perf_counter() - started)


def create_and_store(directory: Path, count: int, per_commit: int) -> float:
    """Creates signed blocks and stores them, so many to a durable commit; blocks per second."""
    author = Author(os.urandom(32))
    with store(directory / "blocks.db") as connection:
        started = time.perf_counter()
        for at in range(0, count, per_commit):
            commit(connection, [author.create(os.urandom(PAYLOAD_BYTES)) for _ in range(min(per_commit, count - at))])
        return count / (time.perf_counter() - started)


def create_and_store_each(directory: Path, count: int) -> float:
    """Creates and stores, durable each; blocks per second."""
    return create_and_store(directory, count, 1)


def create_and_store_100(directory: Path, count: int) -> float:
    """Creates and stores, a hundred to a commit; blocks per second."""
    return create_and_store(directory, count, 100)


def check_and_store_1(directory: Path, count: int) -> float:
    """Checks every signature and stores, all in one thread; blocks per second."""
    blocks, public = _made(count)
    with store(directory / "blocks.db") as connection:
        started = time.perf_counter()
        for batch in _batches(iter(blocks)):
            commit(connection, check(batch, public))
        return count / (time.perf_counter() - started)


def check_and_store_2(directory: Path, count: int) -> float:
    """Checks every signature on two threads and stores; blocks per second."""
    blocks, public = _made(count)
    with store(directory / "blocks.db") as connection:
        started = time.perf_counter()
        _check_and_store(connection, _batches(iter(blocks)), public)
        return count / (time.perf_counter() - started)


def over_tcp(directory: Path, count: int) -> float:
    """Two processes over raw TCP on loopback: one reads its table, the other checks and stores; blocks per second.

    Measured from the moment both are ready to the receiver's last commit.
    """
    blocks, public = _made(count)
    with store(directory / "sender.db") as connection:
        for batch in _batches(iter(blocks)):
            commit(connection, [(hashlib.sha256(block).digest(), block) for block in batch])
    with socket.create_server(("127.0.0.1", 0)) as server, store(directory / "receiver.db") as connection:
        server.settimeout(30)  # a sender that cannot start ends the run
        sender = [sys.executable, __file__, "send", str(directory / "sender.db"), str(server.getsockname()[1])]
        with subprocess.Popen(sender) as process:
            stream, _ = server.accept()
            with stream:
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                started = time.perf_counter()
                stream.sendall(b"!")
                _check_and_store(connection, _batches(_received(stream)), public)
                elapsed = time.perf_counter() - started
            process.wait()
        (stored,) = connection.execute("SELECT count(*) FROM blocks").fetchone()
    if stored != count:
        message = f"{stored} of {count} blocks arrived"
        raise RuntimeError(message)
    return count / elapsed


def send(path: Path, port: int) -> None:
    """The sending process: streams its table, each block after its length."""
    with store(path) as connection, socket.create_connection(("127.0.0.1", port)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rows = connection.execute("SELECT data FROM blocks ORDER BY seq")
        stream.recv(1)
        while batch := rows.fetchmany(CHECKED_PER_COMMIT):
            stream.sendall(b"".join(part for (block,) in batch for part in (_LENGTH.pack(len(block)), block)))


def _made(count: int) -> tuple[list[Block], bytes]:
    author = Author(os.urandom(32))
    return [author.create(os.urandom(PAYLOAD_BYTES))[1] for _ in range(count)], author.public


def _batches(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    while batch := list(islice(blocks, CHECKED_PER_COMMIT)):
        yield batch


def _received(stream: socket.socket) -> Iterator[Block]:
    buffer = b""
    while chunk := stream.recv(1 << 18):
        buffer, at = buffer + chunk, 0
        while at + _LENGTH.size <= len(buffer):
            (length,) = _LENGTH.unpack_from(buffer, at)
            if at + _LENGTH.size + length > len(buffer):
                break
            yield buffer[at + _LENGTH.size : at + _LENGTH.size + length]
            at += _LENGTH.size + length
        buffer = buffer[at:]


def _check_and_store(connection: sqlite3.Connection, batches: Iterator[list[Block]], public: bytes) -> None:
    """Two threads check a batch each, while this one stores those that are done, in order."""
    under_way: deque[Future[list[Row]]] = deque()
    with ThreadPoolExecutor(2) as pool:
        for batch in batches:
            under_way.append(pool.submit(check, batch, public))
            if len(under_way) == _UNDER_WAY:
                commit(connection, under_way.popleft().result())
        while under_way:
            commit(connection, under_way.popleft().result())


class Ceiling(NamedTuple):
    """A program, what a shared two-core x86-64 machine has shown with it, and how many blocks make a short run."""

    function: Callable[[Path, int], float]
    blocks_per_s: float
    blocks: int


CEILINGS: Mapping[str, Ceiling] = {
    "create a signed block, no store": Ceiling(create_only, 46_800, 20_000),
    "create and store, durable each": Ceiling(create_and_store_each, 5_000, 4_000),
    "create and store, batches of 100": Ceiling(create_and_store_100, 32_000, 20_000),
    "check every signature and store, 1 thread": Ceiling(check_and_store_1, 15_100, 10_000),
    "check every signature and store, 2 threads": Ceiling(check_and_store_2, 28_600, 20_000),
    "two processes over raw TCP, every block checked and stored": Ceiling(over_tcp, 24_000, 20_000),
}


def measure(name: str, directory: Path, count: int | None = None) -> float:
    """The ceiling `name` in blocks per second: the best of three short runs, each in a fresh folder in `directory`."""
    ceiling = CEILINGS[name]
    best = 0.0
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(dir=directory) as fresh:
            best = max(best, ceiling.function(Path(fresh), count or ceiling.blocks))
    return best


def is_void(name: str, blocks_per_s: float) -> bool:
    """Whether the machine was too busy, or is too slow, for ratios to this ceiling to say anything."""
    return blocks_per_s < VOID_BELOW * CEILINGS[name].blocks_per_s


def main() -> None:
    """Measures and prints every ceiling."""
    print(f"{'ceiling (blocks/s, best of ' + str(RUNS) + ')':<62}{'here':>9}{'before':>9}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as directory:
        for name, (_, before, _blocks) in CEILINGS.items():
            here = measure(name, Path(directory))
            void = "  void" if is_void(name, here) else ""
            print(f"{name:<62}{here:>9,.0f}{before:>9,.0f}{here / before:>7.2f}{void}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
