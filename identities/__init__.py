"""People and devices that keep their keys fresh: identities with several controllers, on the core chain.

Open a `Node`, then `Identities(node)`: create, join, recover and resolve identities.
"""

from identities.authorship import Author
from identities.contacts import ContactCard
from identities.holding import SeatInfo
from identities.identities import Identities
from identities.identity import Identity, IdentityStatus
from identities.keystore import Keystore, as_passphrase, open_keys
from identities.known import KnownIdentity, Verified
from identities.recovery import RecoveryCode
from identities.removal import RemovalPreview
from identities.renewal import RenewalPolicy
from identities.suites import COMPOSITE, ED25519

__all__ = [
    "COMPOSITE",
    "ED25519",
    "Author",
    "ContactCard",
    "Identities",
    "Identity",
    "IdentityStatus",
    "Keystore",
    "KnownIdentity",
    "RecoveryCode",
    "RemovalPreview",
    "RenewalPolicy",
    "SeatInfo",
    "Verified",
    "as_passphrase",
    "open_keys",
]
