"""What a monitor worker is called: in Kafka's group, in markers, in heartbeats."""

import re
import socket
import zlib
from pathlib import Path


def member_name(state_dir: Path) -> str:
    """Its host, and its state directory there, for one host may run several; the same after every start."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    return f"{host}-{zlib.crc32(str(state_dir.resolve()).encode()):08x}"
