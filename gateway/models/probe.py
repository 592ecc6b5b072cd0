"""Loads a version in a child process first: what crashes, hangs or eats memory does it there, and not to the gateway.

Enters: the private folder of a version and limits. Leaves: its signature, or ModelRejected with the child's reason, or with
how it died. The child has an empty working directory, none of our environment, and lower priority than whoever serves.
"""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from contracts.errors import InvalidRecord, ModelRejected
from contracts.signature import Signature
from contracts.wire import decode, encode
from gateway.models.probe_task import SIGNATURE_BYTES_MAX, ProbeReport, ProbeTask

OUTPUT_BYTES_MAX: Final = SIGNATURE_BYTES_MAX + 64 * 2**10
KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a Python interpreter may need to start; all else, credentials above all, stays here."""
CAUSES: Final[dict[int, str]] = {
    signal.SIGXCPU: "it used more processor time than it may",
    signal.SIGKILL: "it was killed, most likely for memory",
    signal.SIGABRT: "it aborted",
    signal.SIGSEGV: "it crashed",
    signal.SIGBUS: "it crashed",
    signal.SIGILL: "it crashed",
    signal.SIGFPE: "it crashed",
}


async def probe_in_child(
    path: Path,
    *,
    memory_bytes_max: int,
    timeout_seconds: float,
    threads: int = 1,
    cpu_seconds_max: int | None = None,
) -> Signature | None:
    """Load, try and warm the version in `path`, as `gateway.models.sessions.load_session` does, in a process of its own.

    Returns what it is served by; None where that is longer than SIGNATURE_BYTES_MAX.

    Args:
        path: the private folder of a fetched version.
        memory_bytes_max: address space that loading and running it may add to the interpreter's own.
        timeout_seconds: from the start of the process to its report.
        threads: threads of one run.
        cpu_seconds_max: processor time of all threads that loading and running it may add to the interpreter's start; by
            default as much as they can use until the timeout.

    Raises:
        ModelRejected: it cannot be served; or the child died, ran out of time, or could not be understood.
    """
    task = ProbeTask(
        path=_absolute(path),
        memory_bytes_max=memory_bytes_max,
        cpu_seconds_max=cpu_seconds_max or int(timeout_seconds * threads) + 1,
        threads=threads,
    )
    with tempfile.TemporaryDirectory(prefix="probe-") as empty:
        child = await _start(task, empty)
        try:
            async with asyncio.timeout(timeout_seconds):
                said, complained = await asyncio.gather(_head(child.stdout), _head(child.stderr))
                await child.wait()
        except TimeoutError:
            raise ModelRejected(f"loading and trying it took longer than {timeout_seconds:g} seconds") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    return _judged(child.returncode, said, complained)


async def _start(task: ProbeTask, empty: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # or the working directory could hold a module that the interpreter takes for one of ours
        "-m",
        "gateway.models.probe_child",
        encode(task).decode(),
        cwd=empty,
        env=_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


def _judged(returncode: int | None, said: bytes, complained: bytes) -> Signature | None:
    if returncode is not None and returncode < 0:
        name = next((one.name for one in signal.Signals if one == -returncode), f"signal {-returncode}")
        raise ModelRejected(f"the process that tried it died of {name}: {CAUSES.get(-returncode, 'nobody knows why')}")
    try:
        report = decode(ProbeReport, said)
    except InvalidRecord:
        last = complained.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise ModelRejected(f"the process that tried it ended with code {returncode} and no report: {last}") from None
    if report.rejected is not None:
        raise ModelRejected(report.rejected)
    return report.signature


async def _head(stream: asyncio.StreamReader | None) -> bytes:
    """The first bytes of a stream; the rest is read to its end and dropped, so that the writer is not held up."""
    assert stream is not None, "it was asked for as a pipe"
    head = b""
    while chunk := await stream.read(OUTPUT_BYTES_MAX):
        head += chunk[: OUTPUT_BYTES_MAX - len(head)]
    return head


def _absolute(path: Path) -> str:
    """The child has another working directory."""
    return str(path.absolute())


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
