"""docs/guides/errors.md has a section with cause and remedy for every error and every reason, and no others."""

from __future__ import annotations

import inspect
import re

import pytest

from tools.conformance import ROOT
from walytis_core import errors
from walytis_core.errors import Reason, WalytisError

PAGE = (ROOT / "docs" / "guides" / "errors.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[2] for match in re.finditer(r"^#{2,3} (\w+)\n(.*?)(?=^#|\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
}
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, WalytisError)]


@pytest.mark.parametrize("name", [cls.__name__ for cls in CLASSES] + [reason.name for reason in Reason])
def test_each_error_and_reason_has_cause_and_remedy(name: str):
    section = SECTIONS[name]
    assert re.search(r"^\*\*Cause:\*\* \S", section, flags=re.MULTILINE)
    assert re.search(r"^\*\*Remedy:\*\* \S", section, flags=re.MULTILINE)


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_found_by_the_text_that_status_shows(reason: Reason):
    assert SECTIONS[reason.name].startswith(f'"{reason.value}"\n')


def test_no_section_is_left_over():
    assert set(SECTIONS) == {cls.__name__ for cls in CLASSES} | {reason.name for reason in Reason}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_error_says_what_to_do_next(cls: type[WalytisError]):
    assert cls.hint.endswith(".")
    assert cls.__doc__
