from __future__ import annotations

from pathlib import Path

import pytest
import typer

from frontends.directory import on_directory
from frontends.failures import FailedError
from frontends.telling import telling


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("`walytis run` goes on", "`walytis run --data-dir 'my data'` goes on"),
        (
            "`walytis log a`, `walytis list`",
            "`walytis log a --data-dir 'my data'`, `walytis list --data-dir 'my data'`",
        ),
        ("See `walytis show --help`.", "See `walytis show --help`."),
        ("`walytis demo` has its own", "`walytis demo` has its own"),
    ],
)
def test_a_command_in_a_hint_acts_on_the_same_directory(monkeypatch, text, named):
    assert on_directory(text, Path("my data")) == named
    assert on_directory(text, None) == text
    monkeypatch.setenv("WALYTIS_DATA_DIR", "my data")
    assert on_directory(text, Path("my data")) == text


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("no such thing", "No such thing."),
        ("data is in use", "data is in use."),
        ("./x is in use", "./x is in use."),
        ("mDNS needs it", "mDNS needs it."),
    ],
)
def test_a_sentence_begins_large_and_a_path_as_it_is(capsys, sentence, shown):
    with pytest.raises(typer.Exit), telling(as_json=False, data_dir=Path("data")):
        raise FailedError.usage(sentence)
    assert capsys.readouterr().err.splitlines()[0] == shown
