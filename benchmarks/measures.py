"""Every measure, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks import (
    appending,
    holding,
    identities,
    idle,
    ingesting,
    joining,
    kubo,
    live,
    objects,
    sessions,
    simulated,
)
from benchmarks.table import Measure

MEASURES: Final[Mapping[str, Measure]] = {
    "append": appending.one_by_one,
    "batches": appending.in_batches,
    "ingest": ingesting.few_and_many_authors,
    "join": joining.join,
    "latency": live.latency,
    "gossip": live.latency_of_gossip,
    "rates": live.rates,
    "kubo": kubo.beside_embedded,
    "kubo-blocks": kubo.blocks_by_cid,
    "reopen": holding.reopen,
    "long": ingesting.along_a_long_chain,
    "memory": holding.memory,
    "objects-edit": objects.edit,
    "objects-fold": objects.fold,
    "identities-device": identities.device,
    "identities-renewal": identities.renewal,
    "identities-fold": identities.fold,
    "identities-check": identities.check,
    "identities-records": identities.records,
    "identities-sessions": sessions.sessions,
    "identities-keystore": identities.keystore,
    "idle": idle.idle,
    "simulated": simulated.network,
}
