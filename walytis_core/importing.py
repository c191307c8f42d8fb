"""Taking a chain from a CAR file (docs/spec/car.md), by the way that the blocks of peers take.

The file is read three times: all of it is hashed, decoded and verified; then judged as a whole (`bundle.py`); only then blocks go to
the engine, parents first. Invariants: nothing is written before the whole file was found right, and what fails then takes a chain
that was added for it away again; what is taken was verified, whatever happens to the file meanwhile. Memory: see `bundle.py`.
"""

from __future__ import annotations

import shlex
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from walytis_core import car
from walytis_core.block import Block
from walytis_core.bundle import Bundle
from walytis_core.chain import Chain
from walytis_core.cid import DAG_CBOR_PREFIX, Cid
from walytis_core.errors import InvalidInputError, NotAllowedError, NotFoundError, StorageError, WalytisError
from walytis_core.events import Came, Received
from walytis_core.messages import ForkProof, Why
from walytis_core.policy import EVERYONE
from walytis_core.portions import portions
from walytis_core.registry import OwnKey, Registry
from walytis_core.screening import Screened, screen_identified
from walytis_core.signer import Signer
from walytis_core.store.port import Query

Tell = Callable[[int, int], None]
"""Told how many of how many bytes are done."""

_SENDER: Final = "file"
"""Whom blocks of a file come from: no peer has this id."""
_SCREENERS: Final = 2
_PORTION: Final = 256
_PORTION_BYTES: Final = 4 << 20
_PORTIONS: Final = 2 * _SCREENERS
"""Read and not yet screened, at most."""
_BATCH: Final = 512
_BATCH_BYTES: Final = 4 << 20
_IDLE_ROUNDS: Final = 3
"""Rounds without a new member after which what is left is needed by nothing: it takes up to three to reach a branch of an author
that forked, as it takes up to three pulls (`ahead.py`)."""
_READ_SHARE, _JUDGED_SHARE = 0.5, 0.6
"""How much of the whole is done when all is read, and when all is judged."""


class Import:
    """An import.

    Args:
        registry: Knows the chains that are held, and takes in others.
        require_open: Raises `ClosedError` once the node has ended.
        path: The file.
        name: What a new chain is called here; None for the file's name, or one like it.
        tell: Told how far it is.
        signer: Writes a new chain; None for a fresh key.
    """

    def __init__(
        self,
        registry: Registry,
        require_open: Callable[[], None],
        path: Path,
        name: str | None,
        tell: Tell | None,
        signer: Signer | None,
    ) -> None:
        self._registry = registry
        self._require_open = require_open
        self._path = path
        self._name = name
        self._signer = signer
        self._tell = tell or (lambda _done, _total: None)
        self._size = 0

    def run(self) -> Chain:
        """Imports; gives the chain. See `Node.import_chain`."""
        with _opened(self._path) as stream:
            self._size = stream.seek(0, 2)
            stream.seek(0)
            bundle = self._read(stream)
            self._target(bundle)  # what cannot be taken is said before all of it is judged
            bundle.settle(lambda done, total: self._progress(_READ_SHARE, _JUDGED_SHARE, done, total))
            with self._registry.importing(self._require_open):
                held = self._target(bundle)
                if held is None:
                    return self._take_in(bundle)
                self._take(held, bundle)
                return held

    def _progress(self, start: float, end: float, done: int, total: int) -> None:
        """Says how far it is; here whoever waits may give up, by raising, and here it is seen that the node has ended."""
        self._require_open()
        self._tell(int(self._size * (start + (end - start) * done / max(total, 1))), self._size)

    # --- reading -------------------------------------------------------------------------------------------------

    def _read(self, stream: BinaryIO) -> Bundle:
        """Reads the file once: everything is hashed, and blocks are verified, in threads beside this one."""
        reader = car.Reader(stream)
        bundle = Bundle(stream, reader.roots)
        under_way: deque[Future[_Portion]] = deque()
        with ThreadPoolExecutor(_SCREENERS, thread_name_prefix="walytis-import") as screeners:
            try:
                for sections in portions(reader, _length, _PORTION, _PORTION_BYTES):
                    under_way.append(screeners.submit(_screen, sections))
                    if len(under_way) == _PORTIONS:
                        under_way.popleft().result().fill(bundle)
                    self._progress(0.0, _READ_SHARE, reader.offset, self._size)
                while under_way:
                    under_way.popleft().result().fill(bundle)
            finally:
                screeners.shutdown(cancel_futures=True)
        return bundle

    def _target(self, bundle: Bundle) -> Chain | None:
        """The chain that is held already, or None. Raises where the file cannot be taken whatever else is in it."""
        genesis = bundle.genesis
        held = self._held(genesis.id)
        if held is not None:
            if self._name not in {None, held.name}:
                message = f"this chain is held here already, as {held.name}"
                rename = f"walytis rename {shlex.quote(held.name)} {shlex.quote(str(self._name))}"
                hint = f"Leave the name out; `{rename}` changes it, in Python `Node.rename`."
                raise InvalidInputError(message, hint=hint)
            return held
        if genesis.policy.readers != EVERYONE:
            raise NotAllowedError(
                "not everyone may read this chain, and a file does not hold its secret",
                hint="Join it first, with an invitation; then importing the file brings its blocks.",
            )
        if self._name is not None:
            self._registry.require_new_name(self._name)
        return None

    def _held(self, id: Cid) -> Chain | None:
        try:
            return self._registry.find(id)
        except NotFoundError:
            return None

    # --- taking --------------------------------------------------------------------------------------------------

    def _take_in(self, bundle: Bundle) -> Chain:
        """Adds the chain, with a key of its own that has written nothing: so this node can fork nobody, itself least.

        What fails takes it away again, unless somebody has written to it meanwhile.
        """
        number = bundle.order[0]  # the genesis
        stem = "".join(letter for letter in self._path.stem if letter.isprintable())
        chain = self._registry.take_in(bundle.read(number), self._name, stem, OwnKey.of(self._signer))
        try:
            self._take(chain, bundle)
        except BaseException:
            with suppress(WalytisError):  # the node has ended, or the disk refuses: what is here is a part, and valid
                if not self._is_written_to(chain, bundle):
                    self._registry.delete(chain)
            raise
        return chain

    def _is_written_to(self, chain: Chain, bundle: Bundle) -> bool:
        """Whether this node has appended to the chain since it was added."""
        query = Query(author=chain.author)
        while rows := chain.tables.query(query, newest_first=False, limit=_BATCH):
            if any(row.id not in bundle for row in rows):
                return True
            query = query._replace(since=rows[-1].number)
        return False

    def _take(self, chain: Chain, bundle: Bundle) -> None:
        """Takes what is new, in rounds: a branch of an author that forked may be taken only once its turn comes."""
        idle = 0
        left: Sequence[int] = bundle.order
        while left and idle < _IDLE_ROUNDS:
            before = len(left)
            left = [
                number for batch in self._batches(bundle, left) for number in self._take_batch(chain, bundle, batch)
            ]
            idle = idle + 1 if len(left) == before else 0
        known = chain.equivocations()
        for proof in bundle.proofs():
            if proof.author not in known or known[proof.author].seq > proof.seq:
                chain.engine.handle(Received(_SENDER, ForkProof(proof.first, proof.second)))
        self._progress(1.0, 1.0, 1, 1)
        self._registry.find(chain.id)  # raises where it was deleted meanwhile

    def _batches(self, bundle: Bundle, numbers: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        size = 0
        for done, number in enumerate(numbers):
            batch.append(number)
            size += bundle.size_of(number)
            if len(batch) == _BATCH or size >= _BATCH_BYTES:
                yield batch
                self._progress(_JUDGED_SHARE, 1.0, done, len(numbers))
                batch, size = [], 0
        if batch:
            yield batch

    def _take_batch(self, chain: Chain, bundle: Bundle, numbers: list[int]) -> list[int]:
        """Takes some blocks, each after its content; gives those that are still no members."""
        engine, tables = chain.engine, chain.tables
        known = engine.known([bundle.id_of(number) for number in numbers])
        new: list[Block] = []
        for number in numbers:
            is_new = bundle.id_of(number) not in known
            if not is_new and not bundle.has_content(number):
                continue
            block = bundle.read(number)
            for cid, data in bundle.pieces_of(block):
                if not tables.has_side([cid]):
                    engine.keep(cid, data)
            if is_new:
                new.append(block)
        if not new:
            return []
        engine.handle(Came(_SENDER, Why.PULLED, Screened(tuple(new)), gossip=True))
        taken = engine.known([block.id for block in new])
        return [number for number in numbers if bundle.id_of(number) not in known | taken]


# --- screening ---------------------------------------------------------------------------------------------------


class _Portion(NamedTuple):
    """Sections whose bytes match their CIDs, in the order of the file, and the genuine blocks among them."""

    sections: Sequence[car.Section]
    blocks: dict[Cid, Block]

    def fill(self, bundle: Bundle) -> None:
        for section in self.sections:
            block = self.blocks.get(section.cid)
            if block is None:
                bundle.add_piece(section)
            else:
                bundle.add_block(block, section.offset)


def _length(section: car.Section) -> int:
    return len(section.data)


def _screen(sections: Sequence[car.Section]) -> _Portion:
    for section in sections:
        if Cid.of(section.data, bytes(section.cid[:4])) != section.cid:
            raise car.wrong("the bytes of a section do not match its CID", section.offset)
    encoded = {section.cid: section.data for section in sections if section.cid[:4] == DAG_CBOR_PREFIX}
    screened = screen_identified(encoded, lambda _ids: set())
    if screened.refused:
        reasons = dict(screened.refused)
        first = next(section for section in sections if section.cid in reasons)
        raise car.wrong(f"{first.cid.short} is no block of a chain ({reasons[first.cid].value})", first.offset)
    return _Portion(sections, {block.id: block for block in screened.blocks})


# --- the file ----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInputError(f"{path} is no file", hint="Name a CAR file: it is read more than once.")
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint="Check the path.") from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror}", hint="Check the path, and who may read."
        ) from error
