"""The limits fit together."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from walytis_core import limits
from walytis_core.limits import Limits


def test_what_must_fit_into_what():
    """C36: a block fits a frame and a gossip message, frames of blocks fit, a part of content fits."""
    assert Limits.max_payload_bytes < Limits.max_block_bytes < Limits.max_gossip_bytes < Limits.max_frame_bytes
    assert Limits.target_frame_bytes + Limits.max_block_bytes < Limits.max_frame_bytes
    assert Limits.part_bytes < Limits.max_frame_bytes
    assert 2 * Limits.part_bytes == Limits.leaf_bytes
    assert Limits.max_ids_per_message * 36 < Limits.max_frame_bytes
    assert Limits.max_entries_per_message * 86 < Limits.max_frame_bytes
    assert 2 * Limits.max_block_bytes < Limits.max_frame_bytes  # a proof
    assert Limits.max_blocks_per_frame <= Limits.parked_blocks_per_peer
    assert Limits.max_block_bytes <= Limits.parked_bytes_per_peer <= Limits.parked_bytes_per_node


def test_a_block_holds_the_most_of_everything():
    """C04: payload, parents, topics, type and ext at their greatest fit one block."""
    parts = Limits.max_payload_bytes + Limits.max_parents * 41 + Limits.max_topics * (Limits.max_topic_bytes + 3)
    assert parts + Limits.max_type_bytes + Limits.max_ext_bytes + 400 < Limits.max_block_bytes


def test_times():
    """C35: hold-offs and the quiet channel grow from seconds to minutes."""
    assert 0 < Limits.trickle_min_s < Limits.trickle_max_s
    assert 0 < Limits.holdoff_min_s < Limits.holdoff_equal_s < Limits.holdoff_max_s
    assert Limits.max_int == 2**53 - 1


def test_each_limit_is_used():
    """Whatever stands in the table is looked up somewhere."""
    names = {
        name for name, value in vars(Limits).items() if not name.startswith("_") and isinstance(value, (int, float))
    }
    root = Path(inspect.getfile(limits)).parent
    used = {
        node.attr
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Limits"
    }
    assert names - used == set()
    assert used - names == set()
