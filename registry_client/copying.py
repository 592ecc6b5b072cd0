"""Copies a version's files into a private folder and hashes them on the way: what is hashed is what is kept.

Enters: an open folder, the facts of its files, an empty private folder. Leaves: the sha256 of each file. A file that is
not what was listed, or changes while it is read, ends the copy with `RegistryUnavailable`: somebody is writing it.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from contracts.errors import RegistryUnavailable
from registry_client.safety import FileFacts, facts_of, open_regular

CHUNK_BYTES = 2**20

FileHash = tuple[str, int, str]
"""Path, size in bytes, sha256 in hex."""


def copy_files(source: int, files: Iterable[FileFacts], target: Path) -> list[FileHash]:
    """Copy `files` of the open folder `source` into `target`, durably; times of writing are kept."""
    hashes = []
    for facts in files:
        path = target / facts.path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "wb") as copy:
            sha256 = hashlib.sha256()
            for chunk in _chunks(source, facts):
                sha256.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
            os.utime(copy.fileno(), ns=(facts.mtime_ns, facts.mtime_ns))
        hashes.append((facts.path, facts.bytes, sha256.hexdigest()))
    return hashes


def hash_files(source: int, files: Iterable[FileFacts]) -> list[FileHash]:
    """The sha256 of each of `files` of the open folder `source`."""
    hashes = []
    for facts in files:
        sha256 = hashlib.sha256()
        for chunk in _chunks(source, facts):
            sha256.update(chunk)
        hashes.append((facts.path, facts.bytes, sha256.hexdigest()))
    return hashes


def digest_of(hashes: Iterable[FileHash]) -> str:
    """One digest for all files: the sha256, in hex, of the compact JSON list of [path, bytes, sha256] sorted by path."""
    return hashlib.sha256(msgspec.json.encode(sorted(hashes))).hexdigest()


def _chunks(source: int, expected: FileFacts) -> Iterator[bytes]:
    """The content of one file, never more than its listed size; a file that is another one by its end was in change."""
    try:
        descriptor = open_regular(source, expected.path)
    except FileNotFoundError:
        raise _changing(expected) from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        left = expected.bytes
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
        if left or facts_of(descriptor, expected.path) != expected:
            raise _changing(expected)


def _changing(file: FileFacts) -> RegistryUnavailable:
    return RegistryUnavailable(f"{file.path!r} changed while it was read: ask again when it is written")
