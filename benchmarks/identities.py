"""Identities: adding a device, renewing, deciding over a long chain, reading, signing, and keeping secrets.

A node on its own folder, keys in plain files, both suites where they differ. The long chain is that of
`identity_material.py`: it is folded by a child of its own, with every key and signature taken as checked, as they are on a
node that holds it; what checking costs is told apart.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from nacl import bindings

from benchmarks.identity_material import History, fill
from benchmarks.live import quantile
from benchmarks.material import CHAIN_NAME
from benchmarks.peers import Child, child, forget_peak, memory_mb, peak_mb
from benchmarks.table import ROUNDS, Bench, Row, shown, under
from identities import Identities, Identity, KnownIdentity
from identities.acts import ADDED, RENEWED
from identities.identity import held_of, part_of
from identities.keyring import DeviceSecrets
from identities.keystore import Keystore
from identities.payloads import PREFIX, decode, read_renewal
from identities.renewal import RenewalPolicy
from identities.rights import Folded
from identities.state import LAYER, finish
from identities.suites import COMPOSITE, ED25519
from walytis_core import Block, Node
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.past import Past
from walytis_core.standing import OBEYED, Standing

_WAIT_S: Final = 60.0
_NEVER: Final = RenewalPolicy(age_s=None)
_MESSAGE_BYTES: Final = 20
_SUITES: Final = {ED25519: "classical", COMPOSITE: "hybrid"}
_SLOWER: Final = 1.2
_SECRETS: Final = 500


def device(bench: Bench) -> Iterable[Row]:
    """A second device, in a process of its own: from the code to a seat with the current keys."""
    times: list[float] = []
    with Node.open(bench.folder("first")) as node, Identities(node, renewal=_NEVER) as identities:
        alice, _ = identities.create("alice")
        node.addresses()  # the network is up
        for turn in range(bench.count(5, 1)):
            with child(joining_device, str(bench.folder(f"device-{turn}")), str(alice.invite())) as other:
                times.append(other.hear())
    yield under("add a device over loopback, seat and keys, p50", statistics.median(times), "s", 2)


def joining_device(inviter: Child, folder: str, code: str) -> None:
    """The device that joins."""
    with Node.open(folder) as node, Identities(node, renewal=_NEVER) as identities:
        node.addresses()
        inviter.tell(_timed(lambda: identities.join(code).result(_WAIT_S)))


def renewal(bench: Bench) -> Iterable[Row]:
    """A renewal with few and with many devices: time, the block, the wraps."""
    for devices in (5, 20, 64):
        with _identity(bench.folder(f"renewal-{devices}"), COMPOSITE) as (_, alice):
            _add(alice, devices - 1)
            times = sorted(_timed(alice.renew) for _ in range(bench.count(7, 1)))
            block = next(iter(alice.chain.blocks(type=PREFIX + RENEWED, newest_first=True, limit=1)))
            wraps = [part_of(alice).log.kept(cid) for _, _, cid in read_renewal(decode(block).body).wraps]
        assert len(wraps) == devices
        yield shown(f"renewal with {devices} devices, durable, p50", 1000 * quantile(times, 0.5), "ms")
        yield shown("  its block", len(block.encoded), "bytes")
        yield shown("  its wraps, beside the chain", sum(len(wrap or b"") for wrap in wraps), "bytes")


def _add(identity: Identity, devices: int) -> None:
    """Gives seats to devices that are nowhere, without a renewal for each."""
    with part_of(identity).home.lock:
        for _ in range(devices):
            keys = DeviceSecrets.fresh(os.urandom(32)).public
            part_of(identity).log.admit(keys.block_key)
            part_of(identity).actor.act(ADDED, keys.wire)
        identity.renew()


def fold(bench: Bench) -> Iterable[Row]:
    """Deciding over a long chain from nothing, its memory, and what is read of it then."""
    events = bench.count(10_000, 300)
    folder, history = bench.folder("history"), History(COMPOSITE, is_signed=False)
    fill(folder, history, events)
    with child(folding, str(folder), events) as other:
        fold_s, decide_s, grown, left, reads = other.hear()
    yield under(f"identity, fold from nothing of {events:,} events, signatures checked", fold_s, "s", 2)
    yield shown("  memory growth at its peak", grown, "MB")
    yield shown("  what of it is left", left, "MB")
    yield under("  deciding alone, over their acts, as each further event has it", decide_s, "s", 2)
    for name, times in reads.items():
        yield under(f"  then: {name}, p50", quantile(times, 0.5), "ms", 1)


def folding(asker: Child, folder: str, events: int) -> None:
    """Folds a chain from nothing; says how long that took, and its reads."""
    with _node(Path(folder)) as node:
        chain = node.chain(CHAIN_NAME)
        before = memory_mb()
        forget_peak()
        fold_s = _timed(lambda: chain.use(replace(LAYER, check=_as_checked)))
        grown, left = peak_mb() - before, memory_mb() - before
        view = chain.view(PREFIX)
        assert len(view.value.pasts.acts) == events
        assert not view.value.authority.void
        decide_s = statistics.median(_timed(partial(_decided, view.state)) for _ in range(ROUNDS))
        with Identities(node, renewal=_NEVER) as identities:
            known = identities.known(f"did:walytis:{chain.id}")
            reads = {name: _each(2000, read) for name, read in _reads(known).items()}
    asker.tell([fold_s, decide_s, grown, left, reads])


def _as_checked(_block: Block, _past: Past) -> Standing:
    return OBEYED


def _decided(state: Any) -> None:
    folded, _ = finish(state)
    assert isinstance(folded, Folded)
    assert folded.epochs.current is not None


def _reads(known: KnownIdentity) -> dict[str, Callable[[], object]]:
    ids = [info.id for info in known.seats()]
    known.document()
    return {
        "current epoch": lambda: known.epoch,
        "its public keys": lambda: held_of(known).control(known.epoch),
        "a seat at random": lambda: held_of(known).infos[random.choice(ids)],
        "all seats": known.seats,
        "the node keys of its members": held_of(known).node_keys,
        "the DID document": known.document,
    }


def check(bench: Bench) -> Iterable[Row]:
    """Taking in a chain that is stored and was never judged: every event's form, keys, place and signatures."""
    for suite, events in ((ED25519, bench.count(10_000, 300)), (COMPOSITE, bench.count(2000, 300))):
        folder, history = bench.folder(f"check-{suite}"), History(suite)
        fill(folder, history, events)
        with _node(folder) as node:
            chain = node.chain(CHAIN_NAME)
            elapsed = _timed(lambda: chain.use(LAYER))  # noqa: B023 - called at once
            assert len(chain.view(PREFIX).value.pasts.acts) == events
        yield shown(f"check and fold {events:,} events, {_SUITES[suite]} keys", events / elapsed, "events/s")


def records(bench: Bench) -> Iterable[Row]:
    """Signing and verifying beside the primitives alone, in turns; what a record takes."""
    message = os.urandom(_MESSAGE_BYTES)
    for suite, name in _SUITES.items():
        with _identity(bench.folder(f"records-{suite}"), suite) as (_, alice):
            record = alice.sign(message)
            sign, verify = _primitives(suite, len(record))
            calls, rounds = (400 if suite == ED25519 else 60), bench.count(30, 1)
            ours, raw = _in_turns(rounds, calls, lambda: alice.sign(message), sign)
            yield _beside_raw(f"sign {_MESSAGE_BYTES} bytes as an identity, {name} keys", ours, raw)
            ours, raw = _in_turns(rounds, calls, lambda: alice.verify(message, record), verify)  # noqa: B023
            yield _beside_raw(f"verify them, {name} keys", ours, raw)
            if suite == ED25519:
                yield under("  the record", len(record), "bytes", 1000)
            else:
                yield shown("  the record", len(record), "bytes")


def _primitives(suite: int, length: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Signing and verifying by the libraries alone, over as many bytes as a record covers."""
    covered = os.urandom(length if suite == ED25519 else 128)
    public, secret = bindings.crypto_sign_seed_keypair(os.urandom(32))
    signed = bindings.crypto_sign(covered, secret)
    if suite == ED25519:
        return lambda: bindings.crypto_sign(covered, secret), lambda: bindings.crypto_sign_open(signed, public)
    key = MLDSA65PrivateKey.from_seed_bytes(os.urandom(32))
    other, second = key.public_key(), key.sign(covered)
    return (
        lambda: (key.sign(covered), bindings.crypto_sign(covered, secret)),
        lambda: (other.verify(second, covered), bindings.crypto_sign_open(signed, public)),
    )


def _in_turns(rounds: int, calls: int, ours: Callable[[], object], raw: Callable[[], object]) -> tuple[float, float]:
    """The time of one call in microseconds, the median of many of each, a few at a time."""
    found: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for function, times in zip((ours, raw), found, strict=True):
            times.extend(_each(calls, function))
    mine, theirs = (1000 * statistics.median(times) for times in found)
    return mine, theirs


def _beside_raw(measure: str, ours: float, raw: float) -> Row:
    ratio, target = ours / raw, f"< {_SLOWER} of the primitive alone"
    return Row(measure=measure, value=ours, unit="us", ceiling=raw, ratio=ratio, target=target, met=ratio < _SLOWER)


def keystore(bench: Bench) -> Iterable[Row]:
    """One more secret in a keystore of many."""
    with Keystore(bench.folder("keystore"), b"a passphrase") as keys:
        for number in range(bench.count(_SECRETS, 5)):
            keys.put(f"a-secret-{number}", os.urandom(300))
        times = _each(bench.count(100, 3), lambda: keys.put("one", os.urandom(300)))
    yield shown(f"keystore: put with {_SECRETS} secrets, durable, p50", quantile(times, 0.5), "ms")


@contextmanager
def _identity(folder: Path, suite: int) -> Iterator[tuple[Identities, Identity]]:
    with _node(folder) as node, Identities(node, renewal=_NEVER) as identities:
        identity, _ = identities.create("alice", suite=suite)
        identity.ready().result(_WAIT_S)
        yield identities, identity


def _node(folder: Path) -> Node:
    return Node.open(folder, network=MemoryNetwork(MemoryHub()))


def _each(calls: int, function: Callable[[], object]) -> list[float]:
    """How many milliseconds each call takes, sorted."""
    return sorted(1000 * _timed(function) for _ in range(calls))


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
