"""What a plan wants a version to have passed: the policy, and unless any will do the data, of the gates that count.

A suite that asks less has another hash. So whoever may run a gate cannot choose the exam.
"""

import re
from typing import Final

from contracts.errors import InvalidInput
from contracts.wire import Contract

SHA256: Final = re.compile(r"[0-9a-f]{64}")
SUITE_CHARS_MAX: Final = 300


class GatePin(Contract, frozen=True, kw_only=True):
    """Both hashes are those of `contracts.gate.GateResult`; where `data_sha256` is null any rows will do. `suite` is where
    the file lay for whoever pinned it: it stands in messages, and decides nothing.
    """

    policy_sha256: str
    data_sha256: str | None = None
    suite: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no hash or no name of a file; `InvalidInput` names the part."""
        for name, value in (("policy_sha256", self.policy_sha256), ("data_sha256", self.data_sha256)):
            if value is not None and not SHA256.fullmatch(value):
                raise InvalidInput(
                    f"{name}: {value[:80]!r} is not 64 lower-case hexadecimal digits, as `pointsman gate --json` prints them"
                )
        if len(self.suite) > SUITE_CHARS_MAX or not self.suite.isprintable():
            raise InvalidInput(
                f"suite: {self.suite[:80]!r} is no name of a file to show: at most {SUITE_CHARS_MAX} printable characters"
            )

    @property
    def in_words(self) -> str:
        """The pin as people read it, each hash by its first 12 digits."""
        suite = f" ({self.suite})" if self.suite else ""
        data = "" if self.data_sha256 is None else f" on data {self.data_sha256[:12]}"
        return f"policy {self.policy_sha256[:12]}{suite}{data}"
