"""The vectors of docs/spec/identities.md: events of every kind on one chain, what they come to, and what goes beside them.

What the page says of bytes is read here a second time, without the code that writes them; what it says of standing is asked
of a node that is given the recorded blocks, in several orders.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nacl import bindings

from identities import Identities, KnownIdentity
from identities.acts import RENEWED, Device
from identities.bundles import Handed, Told, open_bundle
from identities.epoch_keys import epoch_keys
from identities.holders import Genesis, PublicKey, read_genesis, read_holder
from identities.notes import name_note, open_note, read_name, seal_note
from identities.payloads import EVENT, PREFIX, decode, read_renewal
from identities.recovery import RecoveryCode
from identities.renewal import order
from identities.state import tag_of
from identities.suites import SealingKey, SigningKey
from identities.wraps import unwrap
from tests.suites.identity_makers import inject
from tests.suites.nodes import until
from walytis_core import Node, cbor
from walytis_core import block as blocks
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.policy import ADMIT, read_admit
from walytis_core.policy import read_genesis as read_policy
from walytis_core.seals import derive

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identities.json").read_text())
CHAIN = BlockId(bytes.fromhex(VECTORS["genesis"]["chain"]))
KINDS = {
    "added", "removed", "cut", "left", "rekeyed", "joined", "renewed", "unopened", "recovered", "noted", "granted", "opened",
    "anchored", "asked", "confirmed",
}  # fmt: skip


def block_of(row: dict[str, Any]) -> blocks.Block:
    return blocks.decode(bytes.fromhex(row["block"]))


def recorded(rows: Sequence[dict[str, Any]]) -> list[blocks.Block]:
    return [block_of(row) for row in rows]


ALL = recorded(VECTORS["blocks"])
EVENTS = [(row, block) for row, block in zip(VECTORS["blocks"], ALL, strict=True) if block.type.startswith(PREFIX)]
THEIRS = recorded(VECTORS["nested"]["blocks"])


def seat_id(name: int | str) -> int | bytes:
    return name if isinstance(name, int) else bytes.fromhex(name)


def fields_of(block: blocks.Block) -> list[Any]:
    assert isinstance(block.body, bytes)
    fields: Any = cbor.decode(block.body, max_bytes=1 << 15, max_depth=6)
    return list(fields)


def body_of(id: bytes) -> Any:
    return fields_of(next(block for block in ALL if block.id == id))[2]


def public_of(seat: int | bytes, genesis: list[Any], events: Sequence[blocks.Block]) -> tuple[int, bytes]:
    """The signing key of a device's seat, as the page says where to find it."""
    if isinstance(seat, int):
        return tuple(genesis[3][seat - 1][3:5])
    return tuple(next(fields_of(block)[2] for block in events if block.id == seat)[3:5])


def genesis_fields(block: blocks.Block) -> list[Any]:
    outer: Any = cbor.decode(read_policy(block).policy.data, max_bytes=1 << 15, max_depth=1)
    assert list(outer) == ["identities/"]
    fields: Any = cbor.decode(outer["identities/"], max_bytes=1 << 15, max_depth=6)
    return list(fields)


@contextmanager
def given(ours: Sequence[blocks.Block], theirs: Sequence[blocks.Block] = THEIRS) -> Iterator[KnownIdentity]:
    """The identity on a node that got these blocks, each once its parents were there."""
    with Node.in_memory() as node:
        chain = node.adopt(bytes.fromhex(VECTORS["genesis"]["block"]), name="ours")
        other = node.adopt(bytes.fromhex(VECTORS["nested"]["block"]), name="theirs")
        with Identities(node) as identities:
            inject(chain, *ours)
            inject(other, *theirs)
            yield identities.known(f"did:walytis:{chain.id}")


def shuffled(seed: int) -> list[blocks.Block]:
    """The blocks in another order of those that the graph allows."""
    chance, left, done = random.Random(seed), list(ALL), {CHAIN}
    found = []
    while left:
        ready = [block for block in left if done.issuperset(block.ancestors_named)]
        found.append(chance.choice(ready))
        left.remove(found[-1])
        done.add(found[-1].id)
    return found


# --- what the chain comes to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_outcome(seed: int) -> None:
    """I30: events of every kind, in several orders: seats, what is void and why, and the current epoch."""
    with given(shuffled(seed)) as known:
        until(lambda: len(known.folded.pasts.acts) == len(EVENTS), what="what waited is judged again")
        folded = known.folded
        states = {seat.id: seat.state for seat in known.seats()}
        assert [[id.hex() if isinstance(id, bytes) else id, states[id]] for id in folded.authority.seats] == (
            VECTORS["outcome"]["seats"]
        )
        assert {id.hex(): why for id, why in folded.authority.void.items()} == VECTORS["outcome"]["void"]
        assert known.epoch.id.hex() == VECTORS["outcome"]["current"]
        assert known.epoch.number == VECTORS["outcome"]["number"]
        for row, block in EVENTS:
            standing = known.chain.standing(block.id)
            assert str(getattr(standing, "reason", "")) == VECTORS["outcome"]["void"].get(row["id"], "")


def test_an_anchor_waits_for_what_it_names() -> None:
    """I34: without the other chain, it and what builds on it wait; the rest counts."""
    with given(ALL, ()) as known:
        kinds = {type(known.chain.standing(block.id)).__name__ for row, block in EVENTS if row["kind"] == "anchored"}
        assert kinds == {"Wait"}
        assert all(act.kind != "anchored" for act in known.folded.pasts.acts)


def test_every_kind_is_there() -> None:
    assert {row["kind"] for row, _ in EVENTS} == KINDS


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "block"), EVENTS, ids=[row["about"] for row, _ in EVENTS])
def test_an_event_is_as_the_page_says(row: dict[str, Any], block: blocks.Block) -> None:
    """I14: what is signed, by which key; and no other bytes are signed."""
    path, seen, body, proofs = fields_of(block)
    assert block.id.hex() == row["id"]
    assert block.type == PREFIX + row["kind"]
    assert [path, seen] == [[seat_id(seat) for seat in row["path"]], [bytes.fromhex(id) for id in row["seen"]]]
    assert set(seen) <= set(block.ancestors_named)
    if row["kind"] in ("anchored", "asked"):
        assert path == proofs == []
        return
    message = cbor.encode([bytes(CHAIN), row["kind"], path, seen, body])
    assert hashlib.sha256(message).hexdigest() == row["signed"]
    for suite, public, signature in signers(path, proofs):
        PublicKey(suite, public).verify(EVENT, message, signature)
        with pytest.raises(RemoteError) as error:
            PublicKey(suite, public).verify(EVENT, message + b"\0", signature)
        assert error.value.reason is Reason.BAD_SIGNATURE
    assert decode(block).kind == row["kind"]


def signers(path: list[Any], proofs: list[Any]) -> list[tuple[int, bytes, bytes]]:
    genesis = genesis_fields(blocks.decode(bytes.fromhex(VECTORS["genesis"]["block"])))
    match path, proofs:
        case [0], [[None, block_key, suite, public, signature]]:
            assert hashlib.sha256(cbor.encode([block_key, suite, public])).digest() == genesis[1]
            return [(suite, public, signature)]
        case [1], [[_, _], *_]:
            kind, needed, members = genesis[3][0]
            assert (kind, needed) == (3, len(proofs))
            return [(*members[number], signature) for number, signature in proofs]
        case [_, below], [[[_], signature]]:
            theirs = genesis_fields(blocks.decode(bytes.fromhex(VECTORS["nested"]["block"])))
            return [(*public_of(below, theirs, THEIRS), signature)]
    (seat,), (signature,) = path, proofs
    return [(*public_of(seat, genesis, ALL), signature)]


def test_signatures_of_suite_1_are_these_bytes() -> None:
    keys = {device["sign_id"]: bytes.fromhex(device["sign_seed"]) for device in VECTORS["devices"].values()}
    checked = 0
    for row, block in EVENTS:
        path, seen, body, proofs = fields_of(block)
        if len(path) != 1 or path[0] in (0, 1):
            continue
        genesis = genesis_fields(blocks.decode(bytes.fromhex(VECTORS["genesis"]["block"])))
        suite, public = public_of(path[0], genesis, ALL)
        key = SigningKey.from_seed(suite, keys[PublicKey(suite, public).id.hex()])
        message = cbor.encode([bytes(CHAIN), row["kind"], path, seen, body])
        assert proofs == [key.sign(EVENT, message)]
        checked += 1
    assert checked > 10


def test_the_genesis() -> None:
    """I02: what it fixes; its bytes are the id."""
    block = blocks.decode(bytes.fromhex(VECTORS["genesis"]["block"]))
    assert block.id == CHAIN
    version, hash, block_key, holders, control = genesis_fields(block)
    first = VECTORS["recovery"][0]
    assert [version, hash.hex(), block_key.hex()] == [1, first["hash"], first["block_key"]]
    assert cbor.encode(holders[1]).hex() == VECTORS["devices"]["laptop"]["holder"]
    keys = epoch_keys(bytes.fromhex(VECTORS["epochs"][0]))
    assert keys.fits(control[0], control[1], control[2])
    read = read_genesis(read_policy(block).policy.data)
    assert isinstance(read, Genesis)
    assert read.data.hex() == VECTORS["genesis"]["data"]
    nonce = bytes.fromhex(VECTORS["genesis"]["nonce"])
    assert hmac.digest(nonce, CHAIN, "sha256")[:16].hex() == VECTORS["genesis"]["tag"] == tag_of(block).hex()


@pytest.mark.parametrize("name", VECTORS["devices"])
def test_a_device(name: str) -> None:
    """From its seeds to its holder."""
    vector = VECTORS["devices"][name]
    fields: Any = cbor.decode(bytes.fromhex(vector["holder"]), max_bytes=4096, max_depth=1)
    sign = SigningKey.from_seed(vector["suite"], bytes.fromhex(vector["sign_seed"]))
    seal = SealingKey.from_seed(bytes.fromhex(vector["seal_seed"]))
    _, block_key, node_key, *signing, sealing = fields
    assert [fields[0], node_key.hex(), signing, sealing] == [
        1,
        vector["node_key"],
        [sign.suite, sign.public],
        seal.public,
    ]
    assert block_key[2:] == bindings.crypto_sign_seed_keypair(bytes.fromhex(vector["block_seed"]))[0]
    holder = read_holder(fields).holder
    assert [PublicKey(*signing).id.hex(), seal.id.hex()] == [vector["sign_id"], vector["seal_id"]]
    assert isinstance(holder, Device)
    assert [part.hex() for part in holder] == [block_key.hex(), node_key.hex(), vector["sign_id"], vector["seal_id"]]


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_a_renewal(number: int) -> None:
    """I05: its keys are those of its secret, vouched for by the control key of the epoch that it names."""
    block = next(block for row, block in EVENTS if row["kind"] == RENEWED and fields_of(block)[2][0] == number)
    at, previous, control, wraps, _, vouching, succession = fields_of(block)[2]
    assert (at, previous) == (number, vouching)
    assert epoch_keys(bytes.fromhex(VECTORS["epochs"][number])).fits(*control)
    before = (
        body_of(vouching)[2][:2]
        if number > 1
        else genesis_fields(blocks.decode(bytes.fromhex(VECTORS["genesis"]["block"])))[4][:2]
    )
    message = cbor.encode([bytes(CHAIN), [*fields_of(block)[2][:6], b""]])
    PublicKey(*before).verify("identities/succession", message, succession)
    assert read_renewal(fields_of(block)[2]).wire == fields_of(block)[2]
    listed = [[seat, key, cid] for seat, key, cid in wraps]
    vectors = [wrap for wrap in VECTORS["wraps"] if wrap["number"] == number]
    assert listed == [
        [seat_id(one["seat"]), SealingKey.from_seed(bytes.fromhex(one["seal_seed"])).id, bytes.fromhex(one["cid"])]
        for one in vectors
    ]


@pytest.mark.parametrize("wrap", VECTORS["wraps"], ids=lambda wrap: f"{wrap['number']}, {wrap['of']}")
def test_a_wrap_opens(wrap: dict[str, Any]) -> None:
    sealed = bytes.fromhex(wrap["sealed"])
    key = SealingKey.from_seed(bytes.fromhex(wrap["seal_seed"]))
    assert unwrap(key, sealed, bytes.fromhex(wrap["info"])).hex() == wrap["secret"]
    assert bytes(Cid.of(sealed, RAW_PREFIX)).hex() == wrap["cid"]


def test_the_wrap_of_another_identity_goes_to_its_epoch() -> None:
    """I35: one wrap reaches all its devices."""
    control = genesis_fields(blocks.decode(bytes.fromhex(VECTORS["nested"]["block"])))[4]
    key = SealingKey.from_seed(bytes.fromhex(VECTORS["wraps"][-1]["seal_seed"]))
    assert (VECTORS["wraps"][-1]["of"], key.public) == ("their epoch", control[2])


def test_the_name_of_a_chain() -> None:
    vector = VECTORS["name"]
    chain, data = bytes.fromhex(vector["chain"]), bytes.fromhex(vector["data"])
    assert cbor.encode([chain, vector["name"]]) == data == name_note(chain, vector["name"])
    assert read_name(data) == (chain, vector["name"])


def test_the_note() -> None:
    vector = {name: bytes.fromhex(value) for name, value in VECTORS["note"].items() if name != "kind"}
    key = derive(vector["storage"], "identities/note")
    bound = cbor.encode(["walytis/identities/note/1", vector["chain"], vector["epoch"]])
    plain = cbor.encode([VECTORS["note"]["kind"], vector["data"]])
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, bound, vector["nonce"], key)
    assert vector["nonce"] + bytes(box) == vector["sealed"]
    where = (vector["storage"], vector["chain"], vector["epoch"])
    assert seal_note(*where, VECTORS["note"]["kind"], vector["data"], vector["nonce"]) == vector["sealed"]
    assert open_note(*where, vector["sealed"]) == (VECTORS["note"]["kind"], vector["data"])
    with pytest.raises(RemoteError) as error:
        open_note(vector["storage"], vector["chain"], bytes(36), vector["sealed"])
    assert error.value.reason is Reason.BAD_SEAL
    assert body_of(next(block.id for row, block in EVENTS if row["kind"] == "noted"))[1] == vector["sealed"]


def test_the_bundle() -> None:
    """I19: keys of an earlier epoch, for one device."""
    vector = VECTORS["bundle"]
    key, chain = SealingKey.from_seed(bytes.fromhex(vector["seal_seed"])), bytes.fromhex(vector["chain"])
    plain = key.open(cbor.encode(["walytis/identities/bundle/1", chain]), bytes.fromhex(vector["bundle"]))
    (one,) = vector["handed"]
    keys = epoch_keys(bytes.fromhex(one["secret"]))
    ((kind, data),) = vector["told"]
    handed: cbor.Value = [bytes.fromhex(one["chain"]), bytes.fromhex(one["key"]), *keys]
    assert plain == cbor.encode([handed, [kind, bytes.fromhex(data)]])
    assert open_bundle(key, chain, bytes.fromhex(vector["bundle"])) == [
        Handed(bytes.fromhex(one["chain"]), bytes.fromhex(one["key"]), keys),
        Told(kind, bytes.fromhex(data)),
    ]
    granted = body_of(next(block.id for row, block in EVENTS if row["kind"] == "granted"))
    assert granted[1] == bytes(Cid.of(bytes.fromhex(vector["bundle"]), RAW_PREFIX))


@pytest.mark.parametrize("vector", VECTORS["recovery"], ids=["first", "next"])
def test_a_recovery_code(vector: dict[str, str]) -> None:
    secret = bytes.fromhex(vector["code"])
    check = hashlib.sha256(b"walytis/recovery/1" + secret).digest()[:3]
    assert vector["text"].replace("-", "") == base64.b32encode(secret + check).decode()
    assert [len(group) for group in vector["text"].split("-")] == [4] * 14
    block_key = b"\xed\x01" + bindings.crypto_sign_seed_keypair(derive(secret, "identities/recovery/block"))[0]
    sign = SigningKey.from_seed(2, derive(secret, "identities/recovery/sign"))
    assert [block_key.hex(), sign.id.hex()] == [vector["block_key"], vector["sign_id"]]
    assert hashlib.sha256(cbor.encode([block_key, 2, sign.public])).hexdigest() == vector["hash"]
    code = RecoveryCode.parse(f" {vector['text'].lower().replace('-', ' ')} ")
    assert (code.secret, code.public.hash.hex(), code.block.key) == (secret, vector["hash"], block_key)
    for wrong in (vector["text"][:-1], vector["text"][:-1] + "A", vector["text"] + "A", "did:walytis:"):
        with pytest.raises(InvalidInputError):
            RecoveryCode.parse(wrong)


def test_the_order_in_which_seats_renew() -> None:
    """I09: who leads, and who takes over."""
    epoch, seats = bytes.fromhex(VECTORS["order"]["epoch"]), [bytes.fromhex(seat) for seat in VECTORS["order"]["seats"]]
    assert order(sorted(seats), epoch) == seats
    assert seats == sorted(seats, key=lambda seat: hashlib.sha256(b"walytis/renewal/1" + seat + epoch).digest())


def test_keys_are_admitted_before_they_write() -> None:
    """What the core asks for: the genesis lists two block keys, and each other one stands in an admission below its first block."""
    writers = read_policy(blocks.decode(bytes.fromhex(VECTORS["genesis"]["block"]))).policy.writers or frozenset()
    assert {key.hex() for key in writers} == {VECTORS["recovery"][0]["block_key"], ALL[0].author.hex()}
    admitted = {key for block in ALL if block.type == ADMIT for key in read_admit(block)}
    assert {block.author for block in ALL} <= writers | admitted
