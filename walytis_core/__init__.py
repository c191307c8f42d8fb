"""A nonlinear DAG blockchain on IPFS pubsub: shared logs without servers.

Open a `Node`, make or join a `Chain`, append blocks and follow those of others.
"""

from walytis_core.block import Block, Content
from walytis_core.chain import Chain
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import (
    CallError,
    ClosedError,
    DeletedError,
    InUseError,
    InvalidInputError,
    JoinError,
    LocalError,
    LockedError,
    NotAllowedError,
    NotFoundError,
    Reason,
    RemoteError,
    StorageError,
    UnavailableError,
    WalytisError,
    WrongPassphraseError,
)
from walytis_core.exporting import ExportReport
from walytis_core.feed import Arrived, Feed, FeedEvent, Revised
from walytis_core.follower import Via
from walytis_core.invitation import Invitation
from walytis_core.invitation_record import InvitationRecord, InvitationUse
from walytis_core.judging import LayerView
from walytis_core.layer import Layer
from walytis_core.limits import Limits
from walytis_core.membership import Members
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.node import Node
from walytis_core.past import Past
from walytis_core.pending import Pending
from walytis_core.seals import ChainSecret
from walytis_core.signer import Ed25519Signer, Signer
from walytis_core.standing import Obeyed, Standing, Void, Wait
from walytis_core.status import ChainStatus, NodeStats, PeerInfo
from walytis_core.touches import Touch, Touched, Touches

__all__ = [
    "Arrived",
    "Block",
    "BlockId",
    "CallError",
    "Chain",
    "ChainSecret",
    "ChainStatus",
    "Cid",
    "ClosedError",
    "Content",
    "DeletedError",
    "Ed25519Signer",
    "ExportReport",
    "Feed",
    "FeedEvent",
    "InUseError",
    "InvalidInputError",
    "Invitation",
    "InvitationRecord",
    "InvitationUse",
    "JoinError",
    "Layer",
    "LayerView",
    "Libp2pNetwork",
    "Limits",
    "LocalError",
    "LockedError",
    "Members",
    "MemoryHub",
    "MemoryNetwork",
    "Node",
    "NodeStats",
    "NotAllowedError",
    "NotFoundError",
    "Obeyed",
    "Past",
    "PeerInfo",
    "Pending",
    "Reason",
    "RemoteError",
    "Revised",
    "Signer",
    "Standing",
    "StorageError",
    "Touch",
    "Touched",
    "Touches",
    "UnavailableError",
    "Via",
    "Void",
    "Wait",
    "WalytisError",
    "WrongPassphraseError",
]
