"""Base58 with the Bitcoin alphabet, as peer ids and multibase (`z`) write bytes; leading zero bytes are kept as ``1``.

Its cost grows with the square of the length: whoever reads what strangers wrote bounds it before.
"""

from __future__ import annotations

from typing import Final

from walytis_core.errors import InvalidInputError

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {letter: digit for digit, letter in enumerate(_ALPHABET)}


def encode(raw: bytes) -> str:
    """Bytes as text.

    >>> encode(bytes(1) + b"walytis")
    '15XPhPmJ1rr'
    """
    number = int.from_bytes(raw, "big")
    letters: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(_ALPHABET[digit])
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + "".join(reversed(letters))


def decode(text: str) -> bytes:
    """The bytes that `encode` makes this text of.

    Raises:
        InvalidInputError: It is not base58.
    """
    number = 0
    for letter in text:
        digit = _DIGITS.get(letter)
        if digit is None:
            raise InvalidInputError("the text is not base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
