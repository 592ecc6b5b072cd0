"""Asks `pointsman log verify` for the certificate of completeness, as anybody would: as a command.

Enters: a state directory. Leaves: the certificate as JSON and whether it says that nothing is missing.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from examples.flights.system import SystemFailed

VERIFY_SECONDS_MAX: Final = 120.0


async def verified(state_dir: Path, settings: Mapping[str, str]) -> tuple[dict[str, Any], bool]:
    """The certificate, and whether it finds nothing missing, the monitor's part included; `SystemFailed` without one."""
    command = [sys.executable, "-m", "pointsman", "log", "verify", "--json", "--state-dir", str(state_dir)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **settings}
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), VERIFY_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        raise SystemFailed(f"pointsman log verify took more than {VERIFY_SECONDS_MAX:.0f} s") from None
    try:
        certificate = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError:
        words = errors.decode("utf-8", "replace")[-2_000:]
        raise SystemFailed(f"pointsman log verify gave no certificate, code {process.returncode}:\n{words}") from None
    return certificate, process.returncode == 0 and certificate["counted"] is not None
