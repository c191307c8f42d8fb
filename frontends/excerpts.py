"""A version of an object in one line: how its content begins, or why there is none to show.

Invariants: what others wrote passes through `plain_text`; an excerpt costs the same however long the content is, and
reads nothing of what counts for nothing. Knows neither the terminal nor notebooks: both show the same.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Final, NamedTuple

from frontends.plain import plain_text, size_text
from mutability import Hole, Version
from walytis_core import UnavailableError, Void, Wait

EXCERPT_CHARS: Final = 400  # more never fits a line
_START_BYTES: Final = 4 * EXCERPT_CHARS
_NO_TEXT: Final = ("image/", "audio/", "video/", "font/")


class Excerpt(NamedTuple):
    """One line on a version. `is_content` tells the author's own words from what is said about them."""

    text: str
    is_content: bool


def excerpt(version: Version | Hole) -> Excerpt:
    """How the content of a version of an object begins, in one line; or why there is none to show."""
    if isinstance(version, Hole):
        return Excerpt("damaged here; it is fetched again from a peer", is_content=False)
    if (note := _note(version)) is not None:
        return Excerpt(note, is_content=False)
    kind = f"{size_text(size_of(version))}, {plain_text(version.media_type)}"
    try:
        with version.open() as stream:
            start = stream.read(_START_BYTES)
    except UnavailableError:
        return Excerpt(f"its content is not held here: {kind}", is_content=False)
    is_whole = len(start) == size_of(version)
    text = text_of(start, version.media_type, is_whole=is_whole)
    if not text:
        return Excerpt("empty" if text == "" else kind, is_content=False)
    words = plain_text(" ".join(text.split()))
    return Excerpt(words[:EXCERPT_CHARS] + "…" * (len(words) > EXCERPT_CHARS or not is_whole), is_content=True)


def _note(version: Version) -> str | None:
    """Why a version has no content that counts."""
    if isinstance(version.standing, Void):
        return f"void: {plain_text(version.standing.reason)}"
    if isinstance(version.standing, Wait):
        return "it waits for blocks of another chain"
    if version.source is None:
        return "deleted, and its contents dropped" if version.change.detail is True else "deleted"
    return None


def size_of(version: Version) -> int:
    """The length of a version's content in bytes; none where it deletes."""
    source = version.source
    if source is None:
        return 0
    return len(source.payload) if source.content is None else source.content.size


def text_of(start: bytes, media_type: str, *, is_whole: bool) -> str | None:
    """The text with which a content begins; None where it is none."""
    if media_type.lower().startswith(_NO_TEXT):
        return None
    try:
        return getincrementaldecoder("utf-8")().decode(start, is_whole)
    except UnicodeDecodeError:
        return None
