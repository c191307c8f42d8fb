"""Words that others wrote, and sizes, as any screen may show them: no terminal's command, and no text turned round."""

from __future__ import annotations


def plain_text(text: str) -> str:
    """Text that others wrote, safe for a terminal: what is not printable becomes a middle dot."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def size_text(size: int) -> str:
    """A number of bytes for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{int(amount)} B" if unit == "B" else f"{amount:.1f} {unit}"
