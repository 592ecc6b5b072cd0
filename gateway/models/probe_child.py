"""The child process of `gateway.models.probe`: sets its own limits, loads one version, reports in one line of JSON, and
ends.

Enters: a task as the only argument. Leaves: a report on stdout. A version that takes more than the limits ends this
process or fails in it; nothing else is here to be hurt. Writes no file.
"""

import math
import os
import resource
import sys
import time
from pathlib import Path

from contracts.errors import ModelRejected
from contracts.wire import decode, encode
from gateway.models.probe_task import SIGNATURE_BYTES_MAX, ProbeReport, ProbeTask
from gateway.models.sessions import TRIAL_ROWS, load
from registry_client.vetting import read_metadata

OPEN_FILES_MAX = 256


def main() -> None:
    """Read the task, try the version, report."""
    task = decode(ProbeTask, sys.argv[1].encode())
    _set_limits(task)
    sys.stdout.buffer.write(encode(_report(task)))
    sys.stdout.flush()
    # a graph that got this far must not hold up the end: its destructors may wait for what it started
    os._exit(0)


def _report(task: ProbeTask) -> ProbeReport:
    path = Path(task.path)
    try:
        loaded = load(path, read_metadata(path), threads=task.threads, rows=TRIAL_ROWS, clock=time.perf_counter_ns)
    except ModelRejected as error:
        return ProbeReport(rejected=str(error))
    except MemoryError:
        return ProbeReport(rejected=f"needs more than {task.memory_bytes_max} bytes of memory to load and answer")
    signature = loaded.trial.signature
    return ProbeReport(rejected=None, signature=signature if len(encode(signature)) <= SIGNATURE_BYTES_MAX else None)


def _set_limits(task: ProbeTask) -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    # what starting took is the interpreter's own, as with memory below: on a slow machine it may be seconds
    seconds = math.ceil(time.process_time()) + task.cpu_seconds_max
    # a second between the limits: at the soft one comes SIGXCPU, which says why; at the hard one SIGKILL
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if sys.platform == "linux":  # elsewhere the kernel does not hold address space to a limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        own = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + task.memory_bytes_max,) * 2)


if __name__ == "__main__":
    main()
