"""What `pointsman traffic require-gate` asks for: which suite a gate has to be of.

Enters: the options of the command line. Leaves: the body of the verb; a wrong command line is said before anybody is asked.
Never asks the admin API, and hashes a suite by the code that a gate does.
"""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typer

from contracts.errors import InvalidInput
from contracts.gate_pin import SUITE_CHARS_MAX, GatePin


class Named(NamedTuple):
    """The options: a suite by its file or by its hashes, or that any will do."""

    suite: Path | None
    any_data: bool
    policy_sha256: str | None
    data_sha256: str | None
    any_suite: bool


def required_by(named: Named, *, required: bool) -> dict[str, Any]:
    """The body that says it.

    Raises `typer.BadParameter` where the options are at odds or hold no hash, `InvalidInput` where the suite cannot be read
    or can never be passed.
    """
    _check(named, required=required)
    if named.suite is not None:
        pin = _pin_of(named.suite, any_data=named.any_data)
    elif named.policy_sha256 is not None:
        pin = _hashed(named.policy_sha256, named.data_sha256)
    else:
        return {"required": required, "unpin": named.any_suite}
    return {"required": required, "pin": msgspec.to_builtins(pin)}


def _check(named: Named, *, required: bool) -> None:
    suite, any_data, policy, data, any_suite = named
    if sum((suite is not None, policy is not None, any_suite)) > 1:
        raise typer.BadParameter("--suite, --policy-sha256 and --any-suite say different things: name one of them")
    if not required and (suite is not None or policy is not None):
        raise typer.BadParameter("off requires no gate, so there is nothing to name a suite for")
    if any_data and suite is None:
        raise typer.BadParameter("--any-data goes with --suite FILE")
    if data is not None and policy is None:
        raise typer.BadParameter("--data-sha256 goes with --policy-sha256; --suite FILE names its data itself")


def _pin_of(path: Path, *, any_data: bool) -> GatePin:
    from pointsman.gate_suite import read_suite  # noqa: PLC0415  the monitor's policy, for this alone

    file = read_suite(path)
    if file.suite.asks_nothing:
        raise InvalidInput(f"{path} asks nothing: an empty policy never passes, so no version could get traffic")
    data = None if any_data else file.data_sha256 or None
    shown = str(path) if len(str(path)) <= SUITE_CHARS_MAX else path.name
    return GatePin(policy_sha256=file.policy_sha256, data_sha256=data, suite=shown)


def _hashed(policy: str, data: str | None) -> GatePin:
    try:
        return GatePin(policy_sha256=policy, data_sha256=data)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
