from __future__ import annotations

import errno
import inspect

import pytest

from frontends.failures import BUG, EXIT_CODES, FailedError
from walytis_core import errors
from walytis_core.errors import InvalidInputError, Reason, RemoteError, WalytisError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, WalytisError)]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not WalytisError])
def test_each_error_of_the_library_has_its_familys_exit_code(cls):
    error = cls(Reason.BAD_SEAL) if cls is RemoteError else cls("it did not work")
    failure = FailedError.of(error)
    family = next(kind.__name__ for kind in cls.__mro__ if kind.__bases__ == (WalytisError,))
    assert failure.exit_code == EXIT_CODES["UsageError" if cls is InvalidInputError else family]
    assert failure.exit_code not in {0, BUG}
    assert (str(failure), failure.hint) == (str(error), error.hint)


def test_exit_codes_tell_families_apart():
    families = {name: code for name, code in EXIT_CODES.items() if name != "InvalidInputError"}  # which is usage
    assert len(set(families.values())) == len(families)


def test_anything_else_is_a_bug():
    assert FailedError.of(ZeroDivisionError("oh")).exit_code == BUG


def test_a_failure_survives_the_socket():
    failure = FailedError.of(errors.InUseError("it is in use"))
    again = FailedError.from_json(failure.to_json())
    assert again.to_json() == failure.to_json()
    assert again.name == "InUseError"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/srv/x"), "cannot use /srv/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(error, says):
    failed = FailedError.of(error)
    assert (failed.name, failed.exit_code, str(failed)) == ("StorageError", 6, says)
    assert failed.hint
