"""One step of an install, bounded in time: a command that may fail, and whose last error is worth telling.

Enters: a command and where to keep what it prints. Leaves: nothing, or a `NotInstalledError` that says why. It never runs on
after its limit, and never lets a command see the environment variables that point at the project's own Python.
"""

import os
import signal
import subprocess
from pathlib import Path

from benchmarks.served import last_line


class NotInstalledError(Exception):
    """Something could not be installed; the message is the last error that was printed."""


def install_step(command: list[str], printed: Path, seconds_max: float) -> None:
    """Run a step of an install to its end or to its limit."""
    with printed.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=plain_environment(), start_new_session=True
        )
        try:
            code = process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise NotInstalledError(f"not done after {seconds_max:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        raise NotInstalledError(reason(printed))


def reason(printed: Path) -> str:
    """The last line that calls itself an error, or else the last line."""
    lines = [line.strip() for line in printed.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return errors[-1][:200] if errors else last_line(printed)


def plain_environment() -> dict[str, str]:
    """This process's environment without what would point a peer's Python at ours."""
    return {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}
    }
