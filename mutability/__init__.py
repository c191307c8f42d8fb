"""Objects that can be edited, deleted and restored on a chain that cannot: payloads, a check and a fold on the core."""

from mutability.documents import Documents
from mutability.mutable import Listed, Mutable
from mutability.payloads import CREATED, DELETED, EDITED, RESTORED, Change
from mutability.rules import ANYONE, AUTHOR, Rule
from mutability.versions import DeletedError, Hole, Version

__all__ = [
    "ANYONE", "AUTHOR", "CREATED", "DELETED", "EDITED", "RESTORED", "Change", "DeletedError",
    "Documents", "Hole", "Listed", "Mutable", "Rule", "Version",
]  # fmt: skip
