"""Where and with what a benchmark ran: the machine, the interpreter, the packages, the commit.

Enters: nothing but the machine itself. Leaves: plain values for a results file, and a folder to keep it in. It never
measures anything.
"""

import importlib.metadata
import os
import platform
import re
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parent.parent
OUR_PACKAGES = ("pointsman", "numpy", "onnxruntime", "uvicorn", "uvloop", "httptools", "msgspec")


def machine() -> dict[str, Any]:
    """The machine and the interpreter; `load` is what other programs already did when this began."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "python_pgo": "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "load": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "packages": versions(OUR_PACKAGES),
    }


def described(of: dict[str, Any]) -> str:
    """The same in a sentence, for under a table."""
    pgo = "with PGO" if of["python_pgo"] else "without PGO, or without saying so"
    packages = ", ".join(f"{name} {version}" for name, version in of["packages"].items())
    return (
        f"{of['cpu']}, {of['cores']} cores, {of['memory_gb']} GB; Python {of['python']} built {pgo}; {packages}; "
        f"commit {of['commit']}; {of['at']}, load {of['load']} before the start."
    )


def cpu_model() -> str:
    """What the processor calls itself."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed versions of packages; those that are missing are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the checkout, marked where files were changed since."""
    hashed = git("rev-parse", "--short=10", "HEAD")
    return f"{hashed}-changed" if hashed and git("status", "--porcelain", "-uno") else hashed or "no-git"


def git(*words: str) -> str:
    """What git says about the checkout; nothing where it is no git checkout."""
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def results_folder() -> Path:
    """Where the results of this commit are kept unless somebody names another folder."""
    return CHECKOUT / "benchmarks" / "results" / commit()
