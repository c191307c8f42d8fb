"""Contact cards: what one person hands to another, so that both mean the same identity, as it is now.

Theory (docs/spec/identity-documents.md): a DID alone fixes only the first keys. Who has just the DID can be shown an
old state, or a branch that a removed device wrote. So a card carries heads and the number of the epoch as well: its
reader asks for the identity's chain until it holds those heads, and takes no lower epoch for the current one.

Invariants: `ContactCard.parse(str(card)) == card`; a card fits a QR code; one without heads is none. A card is public,
and proves nothing: what it names is judged by the fold of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from identities.dids import WALYTIS, did_of
from walytis_core.armour import NODE_KEY_BYTES, Armour, Fields, is_address, write_addresses, write_text
from walytis_core.cid import DAG_CBOR_PREFIX, BlockId, is_block_id
from walytis_core.errors import InvalidInputError
from walytis_core.invitation import MAX_ADDRESSES, MAX_NAME_BYTES, is_name, require
from walytis_core.limits import Limits

MAX_HEADS: Final = 8
MAX_CHARS: Final = 999  # a QR code of version 21, of 40, at correction level M
SCHEME: Final = "walytis-id:"
ARMOUR: Final = Armour(SCHEME, "contact card", "a", b"walytis/contact", "Ask for a new contact card.")
_VERSION: Final = 1
_HASH_BYTES: Final = 32
_EPOCH_BYTES: Final = 7
_HAS_NODE: Final = 1


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ContactCard:
    """An identity, as who made the card saw it. `str()` is the text to hand on.

    Attributes:
        chain_id: The identity's chain.
        heads: Heads of that chain, sorted; 1 to `MAX_HEADS`.
        epoch: The number of the epoch that was current.
        node_key: The key of a node that serves the chain, 32 bytes; None where only others can be asked.
        addresses: Where that node may be found, the best first; at most `MAX_ADDRESSES`.
        name: The name that the maker suggests; at most `MAX_NAME_BYTES` of printable UTF-8.

    >>> ContactCard(chain_id=BlockId.of(b""), heads=(BlockId.of(b""),), epoch=3, name="Ann")
    ContactCard(chain=nxquvyku, epoch=3, heads=1, name='Ann')
    """

    chain_id: BlockId
    heads: tuple[BlockId, ...]
    epoch: int
    node_key: bytes | None = None
    addresses: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        require(is_block_id(bytes(self.chain_id)), "the chain id is no block id")
        require(all(is_block_id(bytes(head)) for head in self.heads), "a head is a block id")
        require(1 <= len(self.heads) <= MAX_HEADS, f"a card names 1 to {MAX_HEADS} heads, and is no bare DID")
        require(list(self.heads) == sorted(set(self.heads)), "heads are sorted, each named once")
        require(0 <= self.epoch <= Limits.max_int, "the number of the epoch is out of range")
        require(self.node_key is None or len(self.node_key) == NODE_KEY_BYTES, f"a node key has {NODE_KEY_BYTES} bytes")
        require(is_name(self.name), f"a suggested name is printable and has at most {MAX_NAME_BYTES} bytes of UTF-8")
        require(len(self.addresses) <= (MAX_ADDRESSES if self.node_key else 0), "addresses are those of the node")
        require(all(map(is_address, self.addresses)), "an address is printable ASCII")
        require(len(str(self)) <= MAX_CHARS, f"a card has at most {MAX_CHARS} characters: name fewer addresses")

    @property
    def did(self) -> str:
        """The identity's DID."""
        return did_of(self.chain_id)

    @property
    def qr_text(self) -> str:
        """The card in upper case, for the compact mode of QR codes."""
        return str(self).upper()

    @classmethod
    def parse(cls, text: str) -> ContactCard:
        """Reads a card, in either case, with any white space in it.

        Raises:
            InvalidInputError: It is no card, was cut short or mistyped, or is of a newer version.
        """
        if text.strip().lower().startswith(WALYTIS):
            raise InvalidInputError(
                "a DID alone is no contact card: it does not say what the identity is now", hint=ARMOUR.hint
            )
        return _read(*ARMOUR.read(text))

    def __str__(self) -> str:
        return ARMOUR.write(_VERSION, _fields(self))

    def __repr__(self) -> str:
        chain, heads = self.chain_id.short, len(self.heads)
        return f"ContactCard(chain={chain}, epoch={self.epoch}, heads={heads}, name={self.name!r})"


def _fields(card: ContactCard) -> bytes:
    return b"".join((
        bytes((0 if card.node_key is None else _HAS_NODE,)),
        card.chain_id[len(DAG_CBOR_PREFIX) :],
        card.epoch.to_bytes(_EPOCH_BYTES, "big"),
        bytes((len(card.heads),)),
        *(head[len(DAG_CBOR_PREFIX) :] for head in card.heads),
        write_text(card.name),
        b"" if card.node_key is None else card.node_key + write_addresses(card.addresses, card.node_key),
    ))  # fmt: skip


def _read(version: int, data: bytes) -> ContactCard:
    if version > _VERSION:
        raise InvalidInputError(
            "the contact card needs a newer version of this program", hint="Update, then try again."
        )
    fields = Fields(ARMOUR, data)
    flags = fields.number()
    try:
        chain_id, epoch = _block_id(fields), fields.number(_EPOCH_BYTES)
        heads = tuple(_block_id(fields) for _ in range(fields.number()))
        name = fields.text()
        node_key = fields.take(NODE_KEY_BYTES) if flags & _HAS_NODE else None
        addresses = () if node_key is None else fields.addresses(node_key)
        card = ContactCard(
            chain_id=chain_id, heads=heads, epoch=epoch, node_key=node_key, addresses=addresses, name=name
        )
    except (InvalidInputError, ValueError) as error:
        raise ARMOUR.malformed() from error
    if version != _VERSION or _fields(card) != data:  # one form: also unknown flags, and trailing bytes
        raise ARMOUR.malformed()
    return card


def _block_id(fields: Fields) -> BlockId:
    return BlockId(DAG_CBOR_PREFIX + fields.take(_HASH_BYTES))
