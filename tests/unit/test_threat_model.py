"""The threat model shows the limits that the code has, and names lines of conformance that exist."""

from __future__ import annotations

import re

from tools import limits_table
from tools.conformance import LINES, read_lines
from walytis_core import Limits
from walytis_core.network.memory import INBOX_MESSAGES

PAGE = limits_table.PAGE.read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_code() -> None:
    assert limits_table.rewritten(PAGE) == PAGE, "run: python -m tools.limits_table"


def test_the_tables_read_the_code_right() -> None:
    found = {limit.name: limit.value for limit in limits_table.read_limits()}
    assert found == {name: getattr(Limits, name) for name in found}
    assert {"max_frame_bytes", "parked_bytes_per_node", "holdoff_max_s"} <= found.keys()
    assert "max_block_bytes" not in found, "limits of the format are in docs/spec/"
    elsewhere = {limit.name: limit.value for limit in limits_table.read_elsewhere()}
    assert elsewhere["INBOX_MESSAGES"] == INBOX_MESSAGES


def test_each_shows_its_unit() -> None:
    def shown(name: str, value: float) -> str:
        return limits_table.shown(limits_table.Limit("", name, value, ""))

    assert [shown("a_bytes", 3 << 20), shown("b_BYTES", 96 << 10), shown("c_bytes", 100)] == [
        "3 MiB",
        "96 KiB",
        "100 B",
    ]
    assert [shown("wait_s", 0.5), shown("WAIT_S", 60), shown("peers", 4096)] == ["0.5 s", "60 s", "4 096"]


def test_the_worst_case_is_worked_out_from_them() -> None:
    values = {limit.name: limit.value for limit in [*limits_table.read_limits(), *limits_table.read_elsewhere()]}
    streams = values["MAX_ACCEPTED"] * values["max_streams_per_peer"]
    assert streams * (values["WINDOW_BYTES"] + values["max_frame_bytes"]) == 3 << 30, "correct the worst case"
    assert values["INBOX_MESSAGES"] * values["max_gossip_bytes"] == values["parked_bytes_per_node"] == 32 << 20
    assert (values["max_frontier_authors"], values["sessions_per_chain"]) == (1 << 17, 64), "correct the worst case"


def test_the_lines_it_names_exist_and_are_due() -> None:
    due = {line.id for line in read_lines(LINES.read_text(encoding="utf-8")) if not line.whole}
    named = set(re.findall(r"\bC\d\d\b", PAGE))
    assert named
    assert named <= due
