"""Every error that reaches a user, and every reason for which a peer's bytes are refused.

Invariants: `str(error)` is one plain sentence; `error.hint` says what to do next. What a peer sends wrong is
never raised at a reader of the chain: it is counted by `Reason` and shown in `Chain.status()`.
This file knows nothing of the rest of the package.
"""

from __future__ import annotations

from enum import StrEnum


class WalytisError(Exception):
    """The root of all errors of this library.

    Args:
        message: One plain sentence that says what happened.
        hint: What to do next; the class's own hint when left out.
    """

    hint: str = "See docs/guides/errors.md."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class LocalError(WalytisError):
    """You asked for something that cannot be done as asked; asking again does not help."""

    hint = "Change the call: the same one fails again."


class InvalidInputError(LocalError, ValueError):
    """An argument is outside its limits; nothing was written."""

    hint = "Correct the argument: the message names the limit."


class NotFoundError(LocalError, KeyError):
    """There is no such chain, block, invitation or file here."""

    hint = "Check the name or id; `walytis list` shows the chains of this directory."

    def __str__(self) -> str:
        return str(self.args[0])


class DeletedError(NotFoundError):
    """The object has been deleted."""

    hint = "Its history shows what it was, and restoring it brings it back."


class NotAllowedError(LocalError):
    """The chain's policy, or the state of this node's key, forbids it."""

    hint = "Ask a writer of the chain for an invitation that lets you write."


class ClosedError(LocalError):
    """The node or feed was closed."""

    hint = "Open the node again with Node.open()."


class InUseError(LocalError):
    """Another process has this directory open, or another feed this name."""

    hint = "Close the other process, or use its local socket: the `walytis` command does so by itself."


class LockedError(LocalError):
    """Keys are sealed and no passphrase was given."""

    hint = "Open the keystore with its passphrase first."


class WrongPassphraseError(LockedError):
    """The passphrase does not open the keystore; nothing was changed."""

    hint = "Type it again: capitals and the keyboard's language count. Without it, only a back-up of plain keys helps."


class RemoteError(WalytisError):
    """A peer sent something invalid. Counted by `Reason`, never raised at a reader.

    Args:
        reason: Why it was refused.
        message: A sentence for the log; the reason's own text when left out. Never contains peer bytes.
    """

    hint = "Nothing to do here: the peer is at fault, and is throttled."

    def __init__(self, reason: Reason, message: str | None = None) -> None:
        super().__init__(message or f"refused: {reason.value}")
        self.reason = reason


class UnavailableError(WalytisError):
    """Not now: nobody who could answer is there, or it took too long. Trying again can help."""

    hint = "Try again when a peer that has it is online."


class JoinError(WalytisError):
    """A chain could not be joined with this invitation."""

    hint = "Ask the inviter for a new invitation."


class CallError(WalytisError):
    """A contract call failed."""

    hint = "The message names the cause."


class StorageError(WalytisError):
    """The disk refused, is full, or holds a store this version cannot read. Nothing acknowledged is lost."""

    hint = "Free space or fix the permissions of the data directory, then try again."


class Reason(StrEnum):
    """Why bytes from a peer were refused. Counted per chain in `Chain.status()`; the full list is in docs/guides/errors.md."""

    # the bytes of a block
    TOO_LARGE = "too large"
    BAD_ENCODING = "not canonical DAG-CBOR of the block layout"
    BAD_FIELD = "a header field is out of its limits"
    BAD_PARENTS = "parents unsorted, repeated, too many, or with prev among them"
    BAD_KEY = "the author key is not a valid point"
    BAD_SIGNATURE = "the signature does not verify"
    NEWER_VERSION = "needs a newer version"
    # its place in the chain
    WRONG_CHAIN = "belongs to another chain"
    WRONG_SEQ = "seq does not follow prev"
    WRONG_PREV = "prev is not the author's previous block"
    WRONG_HEIGHT = "height is not one more than the highest parent"
    NOT_A_WRITER = "the chain's policy does not let this author write"
    BAD_PAYLOAD = "the payload of a core block does not parse"
    BAD_ANCESTOR = "an ancestor was refused"
    FROZEN = "the author has forked"
    # messages and sessions
    BAD_MESSAGE = "the message does not parse"
    BAD_SEAL = "the seal does not open"
    BAD_PROOF = "the proof does not hold"
    BAD_CONTENT = "the bytes do not match their CID"
    UNASKED = "was not asked for"
    NOT_A_MEMBER = "asked for what only some members may have"
    OVER_BUDGET = "the peer is over its budget"
    NO_ROOM = "no room for it now, which is nobody's fault"
    BROKE_US = "led to an error here"
    # keys of identities
    UNKNOWN_SUITE = "a key of a suite that is not known here"
    UNKNOWN_KEY = "the key is none of the identity's"
    WRONG_IDENTITY = "names another identity"
    # sessions between identities
    WRONG_GROUP_KEY = "does not hold the group's control key that it names"
    WRONG_DEVICE_KEY = "does not hold the key of the device that it names"
    STALE_KEY = "proves a control key that is no longer taken"
    UNKNOWN_MEMBER = "is no member that is known here"
    REPLAYED = "belongs to another run of the handshake"
    SWAPPED_KEY = "is sealed to another one-time key"
    REFLECTED = "is what this end sent, or its own proof"
    WRONG_PEER_ID = "was made between other peer ids"
