"""A suite file -> what it asks and where its rows lie.

Enters: the path of a TOML file. Leaves: the suite, the file of its data, and the hashes of both. `InvalidInput` names the
file and the key. Never reads the rows, never judges.
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.errors import InvalidInput
from monitor.gate.policy import Suite, policy_sha256, suite_of

SUITE_BYTES_MAX: Final = 2**20


class SuiteFile(NamedTuple):
    """`data` is null where the suite names none; `data_sha256` is then empty."""

    suite: Suite
    data: Path | None
    data_sha256: str
    policy_sha256: str


def read_suite(path: Path) -> SuiteFile:
    """The suite of this file; its data lies beside it unless the path is absolute."""
    try:
        suite = suite_of(_tables(path))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    if not suite.data:
        return SuiteFile(suite, None, "", policy_sha256(suite))
    data = path.parent / suite.data
    return SuiteFile(suite, data, _sha256(data), policy_sha256(suite))


def _tables(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if len(content) > SUITE_BYTES_MAX:
            raise InvalidInput(f"is larger than {SUITE_BYTES_MAX} bytes: it is no suite")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"is not TOML: {error}") from None


def _sha256(data: Path) -> str:
    try:
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"the suite's data {data} cannot be read: {error.strerror}") from error
