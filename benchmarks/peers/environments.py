"""A virtual environment for each peer, made once and kept while its requirements stay the same.

Enters: a peer and a cache folder. Leaves: the path of a Python that has the peer installed, or a `NotInstalledError` with
pip's last words. It never installs into the project's own environment, and no install takes longer than its limit.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.installing import install_step, plain_environment
from benchmarks.peers.catalogue import Peer

INSTALL_SECONDS_MAX = 600.0


def environment(peer: Peer, cache: Path) -> Path:
    """The Python of the peer's environment, which is made if it is missing or was made for other requirements."""
    folder = cache.absolute() / peer.key
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = fingerprint(peer)
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    if folder.exists():
        shutil.rmtree(folder)
    cache.mkdir(parents=True, exist_ok=True)
    printed = cache.absolute() / f"{peer.key}.log"
    install_step([sys.executable, "-m", "venv", str(folder)], printed, INSTALL_SECONDS_MAX)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    install_step([*pip, "-r", str(peer.requirements)], printed, INSTALL_SECONDS_MAX)
    stamp.write_text(wanted)
    return python


def fingerprint(peer: Peer) -> str:
    """What an environment is made from: its requirements, and the Python under it."""
    text = f"{platform.python_version()} {sys.base_prefix}\n{peer.requirements.read_text()}"
    return hashlib.sha256(text.encode()).hexdigest()


def installed(python: Path) -> dict[str, str]:
    """Every package of an environment with its version."""
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=plain_environment(),
    ).stdout
    return {entry["name"].lower(): entry["version"] for entry in json.loads(listed)}
