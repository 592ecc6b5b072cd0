"""The versions we have fetched, on our own disk: content-addressed, private, and all that serving needs.

Layout: `<root>/<digest>/` the files of a version; `<root>/known/<model>/<version>/digest.json` which digest a version had
when it was last fetched, and `reference.json` its last reference (`known-<registry>` where a cache serves a named registry);
`<root>/staging-*` copies in the making.
Several processes may share a cache: everything appears and disappears by a rename, and a copy in the making is locked by
its maker, so that what a dead process left behind can be told apart and is swept away; not while anybody begins a copy.
Full: the versions that were not used for longest make room (`Limits.cached_versions_max`).
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from contracts.errors import InvalidRecord, ModelRejected, RegistryUnavailable
from contracts.metadata import ModelMetadata
from contracts.wire import Contract, decode, encode
from registry_client.copying import copy_files, digest_of, hash_files
from registry_client.limits import Limits
from registry_client.names import is_digest, is_name
from registry_client.safety import FileFacts, list_files, open_folder
from registry_client.vetting import check_sizes, vet

STAGING = "staging-"
KNOWN = "known"


class Known(Contract, frozen=True, kw_only=True):
    """The digest that a version had when its files had these facts; no facts where the files were too fresh to trust
    that they had stopped changing. A registry that knows versions by something else than facts of files says in `origin`
    by what, and in `metadata` what it says of the version beside its files.
    """

    schema: Literal[1] = 1
    digest: str
    files: tuple[FileFacts, ...] = ()
    origin: str = ""
    metadata: ModelMetadata | None = None


class VersionCache:
    """All methods block on the disk; call them off the event loop. OSError passes through. `registry` keeps apart what is
    known of equal names in different registries.
    """

    def __init__(self, root: Path, limits: Limits, registry: str = "") -> None:
        self._root = root
        self._known_root = root / (f"{KNOWN}-{registry}" if registry else KNOWN)
        self._limits = limits
        self._intact: set[str] = set()  # digests this process has seen whole; those gone from disk leave when asked for

    def adopt(self, source: int, files: tuple[FileFacts, ...]) -> str:
        """Copy `files` of the open folder `source` and return their digest; what is rejected never gets in."""
        check_sizes({facts.path: facts.bytes for facts in files}, self._limits)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        with self._staging() as staging:
            copied = staging / "version"
            copied.mkdir(mode=0o700)
            digest = digest_of(copy_files(source, files, copied))
            self._keep(copied, digest)
        return digest

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty private folder for files that come one by one; what is not taken in by its end vanishes."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        with self._staging() as staging:
            folder = staging / "version"
            folder.mkdir(mode=0o700)
            yield folder

    def take_in(self, draft: Path) -> str:
        """Make what is in a draft a version, and return its digest; what is rejected never gets in."""
        folder = open_folder(draft)
        try:
            files = list_files(folder, self._limits)
            check_sizes({facts.path: facts.bytes for facts in files}, self._limits)
            digest = digest_of(hash_files(folder, files))
        finally:
            os.close(folder)
        self._keep(draft, digest)
        return digest

    def claim(self, model: str, version: str) -> int | None:
        """An open descriptor that holds the right to fetch a version, closed to let go; None while somebody else has it."""
        path = self._known(model, version, "fetching")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def recall(self, digest: str) -> Path | None:
        """The folder of a cached version, or None. Its files are hashed once per process: rot is removed, not served."""
        path = self._root / digest
        if not is_digest(digest) or not path.is_dir():
            self._intact.discard(digest)
            return None
        if digest not in self._intact:
            if self._digest_on_disk(path) != digest:
                self._discard(path)
                return None
            self._intact.add(digest)
        mark_used(path)
        return path

    def remember(self, model: str, version: str, known: Known) -> None:
        """Write down which digest a version has."""
        self._write(self._known(model, version), encode(known))

    def remembered(self, model: str, version: str) -> Known | None:
        """Which digest a version had when it was last fetched; None where that is not known."""
        content = _read(self._known(model, version))
        if content is None:
            return None
        try:
            return decode(Known, content)
        except InvalidRecord:
            return None  # what cannot be read is not known: the registry is asked again and it is written anew

    def all_remembered(self) -> dict[str, list[str]]:
        """Every model with its versions that are still in the cache, unordered."""
        found: dict[str, list[str]] = {}
        for path in self._known_root.glob("*/*/digest.json"):
            version, model = path.parent.name, path.parent.parent.name
            known = self.remembered(model, version)
            if known is not None and (self._root / known.digest).is_dir():
                found.setdefault(model, []).append(version)
        return found

    def remember_reference(self, model: str, version: str, content: bytes | None) -> None:
        """Keep the last reference of a version, or that it has none."""
        path = self._reference(model, version)
        if content is None:
            path.unlink(missing_ok=True)
        elif _read(path) != content:
            self._write(path, content)

    def remembered_reference(self, model: str, version: str) -> bytes | None:
        """The last reference of a version that was kept."""
        return _read(self._reference(model, version))

    def _keep(self, draft: Path, digest: str) -> None:
        vet(draft, self._limits)
        if self.recall(digest) is None:
            self._install(draft, digest)
        self._make_room(keep=digest)

    def _install(self, copied: Path, digest: str) -> None:
        for folder in (copied, *(path for path in copied.rglob("*") if path.is_dir())):
            _sync(folder)
        try:
            copied.rename(self._root / digest)
        except OSError:
            if self.recall(digest) is None:  # else another process was faster
                raise
        _sync(self._root)
        self._intact.add(digest)

    def _digest_on_disk(self, path: Path) -> str | None:
        folder = open_folder(path)
        try:
            return digest_of(hash_files(folder, list_files(folder, self._limits)))
        except (ModelRejected, RegistryUnavailable):
            return None  # links or changing files in our own folder: as good as rotten
        finally:
            os.close(folder)

    def _make_room(self, keep: str) -> None:
        others = [path for path in self._root.iterdir() if is_digest(path.name) and path.name != keep]
        others.sort(key=_used_ns, reverse=True)
        for path in others[self._limits.cached_versions_max - 1 :]:
            self._discard(path)

    def _discard(self, path: Path) -> None:
        self._intact.discard(path.name)
        with self._staging() as staging, suppress(FileNotFoundError):  # another process was faster
            path.rename(staging / path.name)

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._staging() as staging:
            written = staging / path.name
            with written.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            written.replace(path)
        _sync(path.parent)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A private folder that vanishes with everything left in it, even if this process dies."""
        staging, lock = self._locked_staging()
        try:
            yield staging
        finally:
            shutil.rmtree(staging)
            os.close(lock)

    def _locked_staging(self) -> tuple[Path, int]:
        with _locked(self._root, fcntl.LOCK_SH):  # a sweep would take the new folder for a dead one's
            staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=self._root))
            lock = open_folder(staging)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return staging, lock

    def _sweep(self) -> None:
        with _locked(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB) as nobody_begins:
            for path in self._root.glob(f"{STAGING}*") if nobody_begins else ():
                with suppress(FileNotFoundError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as its_maker_is_dead:
                    if its_maker_is_dead:
                        shutil.rmtree(path)

    def _known(self, model: str, version: str, document: str = "digest.json") -> Path:
        assert is_name(model), "names are checked where they come in"
        assert is_name(version), "names are checked where they come in"
        return self._known_root / model / version / document

    def _reference(self, model: str, version: str) -> Path:
        return self._known(model, version, "reference.json")


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Hold the lock of a folder; whether it was to be had, where `how` says not to wait for it."""
    descriptor = open_folder(folder)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def mark_used(path: Path) -> None:
    """Say that the version in this folder of a cache is in use now: it makes room after all that were used before. A folder
    that is gone is no trouble: its files are fetched again by who needs them.
    """
    with suppress(FileNotFoundError):
        os.utime(path)


def _used_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _sync(folder: Path) -> None:
    descriptor = open_folder(folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
