"""CIDs as raw bytes, with their text form.

A CID here is always version 1 with SHA-256: `01 <codec> 12 20 <32 bytes>`, 36 bytes. Inside, ids stay raw bytes:
they sort, hash and compare as such (`CIDv1 <https://github.com/multiformats/cid>`_). This file knows only bytes.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from walytis_core.errors import InvalidInputError

CID_BYTES: Final = 36
DAG_CBOR_PREFIX: Final = bytes.fromhex("01711220")
DAG_PB_PREFIX: Final = bytes.fromhex("01701220")
RAW_PREFIX: Final = bytes.fromhex("01551220")
PREFIXES: Final = frozenset((DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX))
"""The heads of all CIDs that links and files name, and under which blocks are given and fetched."""


class Cid(bytes):
    """A CIDv1 (SHA-256) as its 36 raw bytes; `str()` gives base32, as IPFS tools print it.

    >>> str(Cid.of(b"", RAW_PREFIX))
    'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes, prefix: bytes = DAG_CBOR_PREFIX) -> Cid:
        """The CID of `data` under a codec prefix."""
        return cls(prefix + hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Reads the base32 text form.

        Raises:
            InvalidInputError: Not a CIDv1 with SHA-256 in base32.
        """
        body = text[1:].upper()
        try:
            raw = base64.b32decode(body + "=" * (-len(body) % 8))
        except ValueError as error:
            raise InvalidInputError("not a CID: the text is not base32") from error
        if len(raw) != CID_BYTES or raw[:1] != b"\x01" or raw[2:4] != b"\x12\x20" or str(cls(raw)) != text:
            raise InvalidInputError("not a CID of version 1 with SHA-256 in base32")
        return cls(raw)

    @classmethod
    def read(cls, value: bytes | str) -> Cid:
        """A CID given as itself, or as text. Raises `InvalidInputError`."""
        if isinstance(value, bytes):
            return cls(value)
        if not isinstance(value, str):
            raise InvalidInputError("an id is 36 bytes, or its text")
        return cls.parse(value)

    @property
    def short(self) -> str:
        """The last eight characters: enough to tell blocks of one chain apart on a screen."""
        return str(self)[-8:]

    def __str__(self) -> str:
        return "b" + base64.b32encode(self).decode("ascii").lower().rstrip("=")

    def __repr__(self) -> str:
        return f"Cid({str(self)!r})"


def is_ours(cid: bytes) -> bool:
    """Whether this is a CID of the only kind that is written, given and fetched here: dag-cbor, dag-pb or raw, SHA-256."""
    return len(cid) == CID_BYTES and cid[:4] in PREFIXES


def is_block_id(value: object) -> bool:
    """Whether this is a block id as plain bytes."""
    return type(value) is bytes and len(value) == CID_BYTES and value.startswith(DAG_CBOR_PREFIX)


BlockId = Cid
"""The id of a block: the CID (dag-cbor) of its bytes."""


def varint(number: int) -> bytes:
    """An unsigned varint, as multiformats and protobuf write it (`multiformats/unsigned-varint`).

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
