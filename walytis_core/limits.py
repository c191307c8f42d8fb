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
    max_media_type_chars = 100  # the longest that are registered have some 80
    max_int = (1 << 53) - 1  # what JSON and every DAG-CBOR reader holds exactly
    max_time_ms = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: the last that datetime can show
    max_writers = 1024  # multikeys in a genesis or admit payload: 1024 * 37 bytes is above the inline limit already

    # --- content (docs/spec/content.md) ---
    leaf_bytes = 256 * 1024  # the raw leaf of UnixFS files, as IPFS tools cut them
    max_leaf_links = 174  # children of a UnixFS node, as IPFS tools cut them
    max_label_chars = 64  # of the label of readers beside an object; a layer has a few
    part_bytes = 128 * 1024  # a leaf travels in two parts: a frame must hold one

    # --- CAR files (docs/spec/car.md) ---
    max_section_bytes = 2 << 20  # a leaf is 256 KiB; IPFS tools send no block above 2 MiB

    # --- wire (docs/spec/sync.md) ---
    max_frame_bytes = 256 * 1024
    target_frame_bytes = 96 * 1024  # blocks per frame: large enough to amortise, small enough to flow
    max_blocks_per_frame = 256  # one ingest transaction
    credit_frames = 4  # block frames under way per direction; more would let a slow reader fill buffers
    quick_credit_s = 0.02  # a peer that confirms news so soon has the next wait for that: nobody notices the delay
    max_gossip_bytes = 128 * 1024
    max_ids_per_message = 1024  # ids in a want, an announce or a probe
    max_entries_per_message = 2048  # frontier entries in one message: 2048 * 80 bytes fit a frame
    max_frontier_authors = 1 << 17  # what one peer's frontier may make us hold
    frontier_buckets = 256
    bucket_above_authors = 64  # a smaller frontier is sent whole; the hashes of all buckets are 4 KiB
    max_message_depth = 4
    peers_per_message = 16  # introductions; more follow as streams open
    introductions_per_minute = 8  # taken from one peer: as many as a node has neighbours; more could only be made up
    hearsay_addresses = 3  # of one peer, told by others: kept beside those it told itself, which are tried first
    hearsay_dials_per_minute = 8  # to peers that were only ever told of: a liar may not aim us at others
    addresses_per_peer = 8  # a host has few; a liar is given no more to make us dial
    max_address_chars = 256  # the longest names of hosts, and a peer id
    secrets_at_once = 8  # of the members of an identity: the one in use, and those of the overlap
    joins_per_peer = 4  # handshakes under way: each may cost key agreement and a disk write
    authors_per_use = 4  # keys one node may have admitted by one use: a retry may bring a fresh one

    # --- budgets (docs/threat-model.md) ---
    parked_blocks_per_peer = 4096
    parked_bytes_per_peer = 8 << 20
    parked_bytes_per_node = 32 << 20
    parked_bytes_reserved = 1 << 20  # what each chain has beyond that, so that one chain's crowd starves no other
    parked_lacks_per_peer = 8192  # ids that one peer's parked blocks lack; honest ones lack one or two each
    parked_lacks_per_chain = 65536
    sweep_s = 60.0  # parked blocks are forgotten after two to three sweeps
    refused_memory = 1024  # refused, well-signed blocks remembered to prove forks
    neighbours = 8  # open sync streams per chain
    announced_per_peer = 1024  # ids that one peer's announcements may have us ask for at a time
    probes_per_pull = 64  # probes that answering one pull may cost
    pull_turn_s = 3.0  # how often a pull under way is looked at: an honest peer answers at once
    pull_idle_turns = 6  # looks without anything new, after which a pull is over
    pull_turn_blocks = 16  # new blocks per look, below which a pull passes its turn to another peer that is due
    pull_good_blocks = 256  # new blocks per look of a pull that is worth a long turn
    pull_looks = 3  # the turn of any other, while another peer is due: who dribbles has 9 s
    pull_good_looks = 40  # the turn of a good one: 2 min of a long join; who is cut off still sends what is under way
    pull_interval_s = 0.2  # between two answers to one peer's pulls; a pull that comes sooner is answered then
    pull_interval_per_author_s = 0.001  # and more for each author compared: an answer costs some 20 us for each
    pull_interval_max_s = 10.0
    asked_per_sender = 256  # ids lacking below one peer's parked blocks that are asked for at a time
    asked_at_once = 4096  # and below everybody's
    repaired_at_once = 256  # damaged blocks asked for at a time
    max_streams_per_peer = 64
    sessions_per_chain = 64  # open sync streams, those that others opened included
    handshake_timeout_s = 10.0
    idle_peers_remembered = 256
    fetch_wait_s = 10.0  # for a block by CID, from peers that need not have it

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
