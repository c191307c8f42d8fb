"""What content is: media types (RFC 6838), as layers put them beside content."""

from __future__ import annotations

import re
from typing import Final

from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits

_NAME: Final = r"[A-Za-z0-9][\w!#$&^.+-]*"
_FORM: Final = re.compile(rf"{_NAME}/{_NAME}(;[ -~]*)?", re.ASCII)


def is_media_type(text: object) -> bool:
    """Whether this is a media type, with or without parameters, of at most `Limits.max_media_type_chars`.

    >>> is_media_type("text/plain; charset=utf-8"), is_media_type("text")
    (True, False)
    """
    return isinstance(text, str) and len(text) <= Limits.max_media_type_chars and _FORM.fullmatch(text) is not None


def require_media_type(text: str) -> str:
    """The media type, if it is one. Raises `InvalidInputError`."""
    if not is_media_type(text):
        raise InvalidInputError("that is no media type", hint="Give one like text/plain; at most 100 characters.")
    return text
