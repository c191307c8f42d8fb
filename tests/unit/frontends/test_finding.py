from __future__ import annotations

import pytest

from frontends.failures import FailedError
from frontends.finding import find_author, find_block, find_invitation, find_object, find_version
from frontends.forms import author_text
from mutability import Mutable
from walytis_core import Node, NotFoundError


@pytest.fixture(scope="module")
def chain():
    with Node.in_memory() as node:
        chain = node.create_chain("notes")
        chain.append_many([b"%d" % number for number in range(50)])
        yield chain


def test_a_block_is_found_by_its_id_or_the_end_of_it(chain):
    for block in chain.blocks():
        assert find_block(chain, str(block.id)) == block
        assert find_block(chain, str(block.id)[-8:]) == block


def test_who_finds_nothing_is_told_where_to_look(chain):
    """With the chain's name: the command can be typed as it stands."""
    told = {
        find_block: "`walytis log notes`",
        find_author: "`walytis log notes`",
        find_invitation: "`walytis invitations notes`",
    }
    for find, command in told.items():
        with pytest.raises(FailedError) as failed:
            find(chain, "0000000000")
        assert command in failed.value.hint


@pytest.mark.parametrize("text", ["", "abc", "00000000"])
def test_too_short_or_unknown_ends_are_refused(chain, text):
    with pytest.raises(FailedError):
        find_block(chain, text)


def test_an_unknown_id_is_not_found(chain):
    """C21: and the chain stays usable."""
    with pytest.raises(NotFoundError):
        find_block(chain, str(chain.id))
    assert len(list(chain.blocks(type=""))) == 50


def test_an_end_that_several_have_is_refused(chain, monkeypatch):
    monkeypatch.setattr("frontends.finding.MIN_ENDING", 1)
    common = max(
        "abcdefghijklmnopqrstuvwxyz234567", key=lambda end: sum(str(b.id).endswith(end) for b in chain.blocks())
    )
    with pytest.raises(FailedError) as failed:
        find_block(chain, common)
    assert failed.value.exit_code == 2


def test_an_object_and_its_versions_are_found_by_the_ends_of_their_ids(chain):
    notes = Mutable(chain)
    made, other = notes.create("milk"), notes.create("tea")
    edited = notes.edit(made, "milk, bread")
    for text in (str(made.id), str(made.id)[-8:]):
        assert find_object(notes, text) == made.object
        assert find_version(notes, made.object, text) == made.id
    assert find_version(notes, made.object, str(edited.id)[-8:]) == edited.id
    for text in (str(edited.id)[-8:], "abc", "00000000"):
        with pytest.raises(FailedError):
            find_object(notes, text)
    with pytest.raises(FailedError) as failed:
        find_version(notes, made.object, str(other.id)[-8:])
    assert f"`walytis object history notes {str(made.id)[-8:]}`" in failed.value.hint


def test_an_author_is_found_by_its_key_or_the_end_of_it(chain):
    assert find_author(chain, author_text(chain.author)) == chain.author
    assert find_author(chain, author_text(chain.author)[-8:]) == chain.author
    with pytest.raises(FailedError):
        find_author(chain, "zzzzzzzz")


def test_an_invitation_is_found_by_itself_or_the_beginning_of_its_id(chain):
    made = chain.invite()
    for text in (str(made), made.id.hex(), made.id.hex()[:8]):
        assert find_invitation(chain, text) == made.id
    with pytest.raises(FailedError):
        find_invitation(chain, "ffffffffffff" if not made.id.hex().startswith("ffff") else "000000000000")
