from __future__ import annotations

import base64
import json

import pytest

from frontends.forms import author_text, block_form, chain_form, invitation_form, links_form, plain
from walytis_core import Node


@pytest.fixture
def chain():
    with Node.in_memory() as node:
        yield node.create_chain("notes")


@pytest.mark.parametrize("payload", [b"", b"text", "päper".encode(), b"\xff\x00", bytes(40_000)])
def test_a_block_is_json_and_its_content_comes_back(chain, payload):
    form = json.loads(json.dumps(block_form(chain.append(payload, topics=["t"], type="x/y"))))
    assert form["size"] == len(payload)
    assert (form["topics"], form["type"], form["chain"]) == (["t"], "x/y", str(chain.id))
    if len(payload) > 32 * 1024:
        assert "payload" not in form
        assert form["link"].startswith("b")
    elif form["encoding"] == "utf-8":
        assert form["payload"].encode() == payload
    else:
        assert base64.b64decode(form["payload"]) == payload


def test_an_author_is_written_as_did_key_writes_it(chain):
    assert author_text(bytes.fromhex("ed01") + bytes(32)).startswith("z6M")


def test_every_report_is_json_without_secrets(chain):
    chain.append(b"x")
    reports = [chain_form(chain), plain(chain.status()), plain(chain.verify())]
    block = next(iter(chain.blocks()))
    assert json.loads(json.dumps([*reports, links_form(block)]))


def test_an_invitations_form_does_not_hold_its_seed():
    with Node.in_memory() as node:
        chain = node.create_chain("notes")
        seed = chain.invite().seed
        (record,) = chain.invitations()
        text = json.dumps(invitation_form(record))
        assert seed
        assert seed.hex() not in text
        assert base64.b64encode(seed).decode() not in text
