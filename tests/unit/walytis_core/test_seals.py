"""Keys of a chain, gossip seals and frame seals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.seals import (
    FRAME_OVERHEAD,
    GOSSIP_OVERHEAD,
    ChainKeys,
    ChainSecret,
    FrameOpener,
    FrameSealer,
    GossipSeal,
    derive,
)

CHAIN, OTHER = BlockId.of(b"chain"), BlockId.of(b"other")
SECRET = ChainSecret(1, bytes(range(32)))
VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/session.json").read_text())


def flips(data: bytes) -> list[bytes]:
    """Every copy of `data` with one bit turned over."""
    number = int.from_bytes(data, "big")
    return [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: vector["name"])
def test_keys_are_those_of_the_specification(vector: dict[str, str]) -> None:
    secret = ChainSecret(int(vector["number"]), bytes.fromhex(vector["secret"])) if "secret" in vector else None
    keys = ChainKeys(BlockId(bytes.fromhex(vector["chain"])), secret)
    assert keys.channel == vector["channel"]
    assert keys.naming.hex() == vector["naming"]
    assert keys.frames.hex() == vector["frames"]
    sealed = bytes.fromhex(vector["gossip_sealed"])
    message = bytes.fromhex(vector["gossip_message"])
    assert keys.gossip.seal(message, sealed[:24]) == sealed
    assert keys.gossip.open(sealed) == message


def test_each_use_chain_secret_and_number_has_its_own_keys() -> None:
    all_keys = [
        ChainKeys(CHAIN),
        ChainKeys(OTHER),
        ChainKeys(CHAIN, SECRET),
        ChainKeys(OTHER, SECRET),
        ChainKeys(CHAIN, ChainSecret(2, SECRET.key)),
        ChainKeys(CHAIN, ChainSecret(1, bytes(32))),
    ]
    derived = [key for keys in all_keys for key in (keys.naming, keys.frames, keys.channel)]
    assert len(set(derived)) == len(derived)
    assert derive(b"key", "a", b"bc") != derive(b"key", "ab", b"c")


def test_a_channel_of_a_secret_chain_tells_nothing_to_who_has_the_chain_id() -> None:
    """C42: name and messages of the channel come from the secret."""
    stranger, member = ChainKeys(CHAIN), ChainKeys(CHAIN, SECRET)
    assert stranger.channel != member.channel
    with pytest.raises(RemoteError):
        stranger.gossip.open(member.gossip.seal(b"message", bytes(24)))


@given(st.binary(max_size=200), st.binary(min_size=24, max_size=24))
def test_gossip_opens_what_was_sealed(message: bytes, nonce: bytes) -> None:
    seal = ChainKeys(CHAIN, SECRET).gossip
    assert seal.open(seal.seal(message, nonce)) == message


def test_a_changed_gossip_message_does_not_open() -> None:
    """C42: every flipped bit, every cut, every other channel or key."""
    seal = ChainKeys(CHAIN, SECRET).gossip
    sealed = seal.seal(b"message", bytes(24))
    cuts = [sealed[:end] for end in range(len(sealed))]
    for changed in [*flips(sealed), *cuts, sealed + b"\0"]:
        with pytest.raises(RemoteError) as caught:
            seal.open(changed)
        assert caught.value.reason is Reason.BAD_SEAL
    for other in [GossipSeal(bytes(32), "/walytis/1/a"), GossipSeal(bytes(32), "/walytis/1/b")]:
        with pytest.raises(RemoteError):
            other.open(sealed)
    with pytest.raises(RemoteError):
        GossipSeal(bytes(32), "/walytis/1/a").open(GossipSeal(bytes(32), "/walytis/1/b").seal(b"", bytes(24)))


def test_gossip_is_bounded() -> None:
    """C36: a long message is refused before it is opened."""
    seal = ChainKeys(CHAIN).gossip
    most = bytes(Limits.max_gossip_bytes - GOSSIP_OVERHEAD)
    assert seal.open(seal.seal(most, bytes(24))) == most
    with pytest.raises(InvalidInputError):
        seal.seal(most + b"\0", bytes(24))
    with pytest.raises(InvalidInputError):
        seal.seal(b"", bytes(23))
    with pytest.raises(RemoteError) as caught:
        seal.open(bytes(Limits.max_gossip_bytes + 1))
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_frames_open_once_in_order() -> None:
    """C42: no frame opens again, early, late, or in the other direction."""
    sealer = FrameSealer(bytes(32))
    frames = [sealer.seal(bytes([n]) * n) for n in range(4)]
    opener = FrameOpener(bytes(32))
    assert [opener.open(frame) for frame in frames] == [bytes([n]) * n for n in range(4)]
    for order in [(1,), (0, 0), (0, 2), (0, 1, 0), (0, 1, 3)]:
        opener = FrameOpener(bytes(32))
        for n in order[:-1]:
            opener.open(frames[n])
        with pytest.raises(RemoteError):
            opener.open(frames[order[-1]])
    with pytest.raises(RemoteError):
        FrameOpener(bytes([1]) * 32).open(frames[0])


def test_every_flipped_bit_of_a_frame_ends_the_session() -> None:
    """C42: and what comes after it is not taken either."""
    first, second = FrameSealer(bytes(32)).seal(b"frame"), b""
    for changed in [*flips(first), first[:-1], first + b"\0", b"", b"short"]:
        opener = FrameOpener(bytes(32))
        with pytest.raises(RemoteError) as caught:
            opener.open(changed)
        assert caught.value.reason is Reason.BAD_SEAL
        for later in (first, second):
            with pytest.raises(ClosedError):
                opener.open(later)


def test_frames_are_bounded() -> None:
    sealer, opener = FrameSealer(bytes(32)), FrameOpener(bytes(32))
    most = bytes(Limits.max_frame_bytes - FRAME_OVERHEAD)
    sealed = sealer.seal(most)
    assert len(sealed) == Limits.max_frame_bytes
    assert opener.open(sealed) == most
    with pytest.raises(InvalidInputError):
        sealer.seal(most + b"\0")
    assert opener.open(sealer.seal(b"")) == b"", "a frame refused here takes no number"


@pytest.mark.parametrize(("number", "key"), [(-1, bytes(32)), (2**53, bytes(32)), (1, bytes(31)), (1, b"")])
def test_a_secret_has_its_form(number: int, key: bytes) -> None:
    with pytest.raises(InvalidInputError):
        ChainSecret(number, key)


def test_nothing_shows_a_key() -> None:
    secret = ChainSecret(1, b"\x5a" * 32)
    keys = ChainKeys(CHAIN, secret)
    shown = " ".join(map(repr, [secret, keys, keys.gossip, FrameSealer(secret.key), FrameOpener(secret.key)]))
    shown += f" {secret} {keys}"
    for key in (secret.key, keys.naming, keys.frames):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
