"""Every limit, in one table, with its reason.

What a peer can make this node hold, fetch, compute or send is bounded by a number that stands here and nowhere
else. Format limits are part of `docs/spec/`; changing one is a new format version.
"""

from __future__ import annotations


class Limits:
    """The limits of blocks, messages, sessions and budgets. Sizes are bytes unless the name says otherwise."""

    # --- format (docs/spec/block.md) ---
    max_block_bytes = 64 * 1024  # one block fits any frame and any gossip message with room to spare
    max_payload_bytes = 32 * 1024  # inline; longer content is a UnixFS file
    max_content_bytes = 1 << 40  # far above any real file; keeps size arithmetic in 2^53
    max_parents = 64  # 64 links are 2.6 KiB; more heads are merged by later blocks
    max_topics = 16  # labels, not content
    max_topic_bytes = 256
    max_type_bytes = 128
    max_ext_bytes = 1024  # room for an extension, not for a second payload
    max_int = (1 << 53) - 1  # what JSON and every DAG-CBOR reader holds exactly
    max_time_ms = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: the last that datetime can show
    max_writers = 1024  # multikeys in a genesis or admit payload: 1024 * 37 bytes is above the inline limit already

    # --- content (docs/spec/content.md) ---
    leaf_bytes = 256 * 1024  # the raw leaf of UnixFS files, as IPFS tools cut them
    max_leaf_links = 174  # children of a UnixFS node, as IPFS tools cut them
    part_bytes = 128 * 1024  # a leaf travels in two parts: a frame must hold one

    # --- wire (docs/spec/sync.md) ---
    max_frame_bytes = 256 * 1024
    target_frame_bytes = 96 * 1024  # blocks per frame: large enough to amortise, small enough to flow
    max_blocks_per_frame = 256  # one ingest transaction
    credit_frames = 4  # block frames under way per direction; more would let a slow reader fill buffers
    max_gossip_bytes = 128 * 1024
    max_ids_per_message = 1024  # ids in a want, an announce or a probe
    max_entries_per_message = 2048  # frontier entries in one message: 2048 * 80 bytes fit a frame
    max_frontier_authors = 1 << 17  # what one peer's frontier may make us hold
    frontier_buckets = 256
    bucket_above_authors = 64  # a smaller frontier is sent whole; the hashes of all buckets are 4 KiB
    max_message_depth = 4
    peers_per_message = 16  # introductions; more follow as streams open
    addresses_per_peer = 8  # a host has few; a liar is given no more to make us dial
    max_address_chars = 256  # the longest names of hosts, and a peer id
    joins_per_peer = 4  # handshakes under way: each may cost key agreement and a disk write

    # --- budgets (docs/threat-model.md) ---
    parked_blocks_per_peer = 4096
    parked_bytes_per_peer = 8 << 20
    parked_bytes_per_node = 32 << 20
    sweep_s = 60.0  # parked blocks are forgotten after two to three sweeps
    refused_memory = 1024  # refused, well-signed blocks remembered to prove forks
    neighbours = 8  # open sync streams per chain
    announced_per_peer = 1024  # ids that one peer's announcements may have us ask for at a time
    probes_per_pull = 64  # probes that answering one pull may cost
    pull_turn_s = 3.0  # how often a pull under way is looked at: an honest peer answers at once
    pull_idle_turns = 6  # looks without anything new, after which a pull is over
    pull_turn_blocks = 16  # new blocks per look, below which a pull passes its turn to another peer that is due
    max_streams_per_peer = 64
    sessions_per_chain = 64  # open sync streams, those that others opened included
    handshake_timeout_s = 10.0
    idle_peers_remembered = 256

    # --- timers ---
    trickle_min_s = 0.5
    trickle_max_s = 600.0
    trickle_k = 2  # consistent digests heard that suppress our own
    trickle_never_suppressed = 8  # one interval in so many is always sent
    check_delay_s = 0.25  # a digest that differs is given this long to become equal by what is under way
    ask_delay_s = 0.05  # missing parents are mostly under way; asking at once would fetch them twice
    holdoff_min_s = 1.0
    holdoff_max_s = 600.0
    holdoff_equal_s = 30.0  # the most for a peer that says it holds the same: an echo must not be free
