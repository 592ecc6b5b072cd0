"""A registry that is a plain folder, in the layout Triton users have.

    <root>/<model>/aliases.json                 {"champion": "2"}
    <root>/<model>/<version>/model.onnx         the graph; its external data beside it
                             model.json         contracts.metadata.ModelMetadata
                             input_example.json a request that the version can answer
                             reference.json     contracts.reference.Reference

Entries whose names are no names of models or versions, and versions without a `model.onnx`, are passed over: write a
version under a hidden name such as `.3` and rename it, and it appears whole. Never writes to the registry.
"""

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from contracts.reference import Reference
from registry_client.cache import Known, VersionCache
from registry_client.documents import decode_aliases, decode_reference
from registry_client.limits import Limits
from registry_client.names import is_name, version_order
from registry_client.registry import FetchedVersion
from registry_client.safety import FileFacts, list_files, list_names, open_folder, read_document
from registry_client.vetting import GRAPH, read_metadata

ALIASES = "aliases.json"
REFERENCE = "reference.json"
POLL_SECONDS = 2.0
FRESH_NS = 2 * 10**9
"""A file touched less than this before it was read may be written again within one tick of the file system's clock and
show no trace of it: such a file is read once more the next time."""

K = TypeVar("K")
V = TypeVar("V")


class Seen(NamedTuple):
    """What came of a version's files when they had these facts: where they are cached, or why they were rejected."""

    files: tuple[FileFacts, ...]
    outcome: FetchedVersion | str


class FolderRegistry:
    """A `RegistryClient` over the folder `root`; copies live in `cache`, which several processes may share.

    Polling is cheap: files are read again only when their facts (size, times, inode) have changed. While the folder is
    away, `fetch` and `reference` answer from the cache and the rest raises `RegistryUnavailable`. `clock` gives
    nanoseconds since the epoch.
    """

    def __init__(
        self,
        root: Path,
        cache: Path,
        limits: Limits | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._limits = limits or Limits()
        self._cache = VersionCache(cache, self._limits)
        self._clock = clock
        self._seen: dict[tuple[str, str], Seen] = {}  # at most entries_max; the oldest makes room
        self._references: dict[tuple[str, str], tuple[bytes, Reference]] = {}  # likewise

    async def models(self) -> list[str]:
        """The names of all models, sorted."""
        return await asyncio.to_thread(self._models)

    async def pointers(self, model: str) -> dict[str, str]:
        """The aliases of a model: alias to version. The version need not exist."""
        return await asyncio.to_thread(self._pointers, model)

    async def versions(self, model: str) -> list[str]:
        """The versions of a model from oldest to newest: numbers in numeric order, then other names in text order."""
        return await asyncio.to_thread(self._versions, model)

    async def fetch(self, model: str, version: str, digest: str | None = None) -> FetchedVersion:
        """The files of a version; see `RegistryClient.fetch`."""
        return await asyncio.to_thread(self._fetch, model, version, digest)

    async def reference(self, model: str, version: str) -> Reference | None:
        """The reference of a version, None where it has none; the last known one while the registry is away.

        Raises ModelRejected where `reference.json` is not the reference of this version.
        """
        return await asyncio.to_thread(self._reference, model, version)

    def poll_after(self, seconds: float) -> float:
        """In how many seconds to look again where `seconds` are wished, 0 for 2."""
        return seconds or POLL_SECONDS

    async def aclose(self) -> None:
        """Let go of nothing: a folder is opened for each question."""

    async def remembered(self) -> dict[str, list[str]]:
        """The models and their versions, oldest to newest, that the cache could serve if the folder were gone."""
        found = await asyncio.to_thread(self._cache.all_remembered)
        return {model: sorted(versions, key=version_order) for model, versions in sorted(found.items())}

    def _models(self) -> list[str]:
        with self._opened() as root:
            names = list_names(root, self._limits.entries_max)
            return [name for name in names if is_name(name) and _may_be_folder(root, name)]

    def _pointers(self, model: str) -> dict[str, str]:
        with self._opened(model) as folder:
            document = read_document(folder, ALIASES, self._limits.document_bytes_max)
            return {} if document is None else decode_aliases(document)

    def _versions(self, model: str) -> list[str]:
        with self._opened(model) as folder:
            names = list_names(folder, self._limits.entries_max)
            return sorted((name for name in names if is_name(name) and _has_graph(folder, name)), key=version_order)

    def _fetch(self, model: str, version: str, digest: str | None) -> FetchedVersion:
        _check_names((model, version))
        if digest is not None:
            with _told((model, version)):
                pinned = self._cached(model, version, digest)
            if pinned is not None:
                return pinned
        try:
            fetched = self._fetch_present(model, version)
        except (RegistryUnavailable, NotFound):
            last = self._last_known(model, version)
            if last is None:
                raise
            fetched = last
        if digest not in {None, fetched.digest}:
            raise ModelRejected(
                f"{model} version {version}: digest {digest} is asked for, but its files have {fetched.digest} and the "
                "cache does not hold the others: put them back, or register what is there as a new version"
            )
        return fetched

    def _fetch_present(self, model: str, version: str) -> FetchedVersion:
        with self._opened(model, version) as folder:
            asked_ns = self._clock()
            files = list_files(folder, self._limits, leave_out=frozenset({REFERENCE}))
            settled = all(abs(asked_ns - facts.ctime_ns) > FRESH_NS for facts in files)
            seen = self._seen.get((model, version))
            if seen is None or seen.files != files or not self._still_holds(seen.outcome):
                outcome = self._take_in(model, version, folder, files, settled=settled)
                seen = Seen(files if settled else (), outcome)
                _put(self._seen, (model, version), seen, self._limits.entries_max)
            if isinstance(seen.outcome, str):
                raise ModelRejected(seen.outcome)
            return seen.outcome

    def _take_in(
        self, model: str, version: str, folder: int, files: tuple[FileFacts, ...], *, settled: bool
    ) -> FetchedVersion | str:
        """Bring files into the cache unless this or another process did so before; the reason if they are rejected."""
        try:
            known = self._cache.remembered(model, version)
            if known is not None and known.files == files:
                fetched = self._cached(model, version, known.digest)
                if fetched is not None:
                    return fetched
            digest = self._cache.adopt(folder, files)
            self._cache.remember(model, version, Known(digest=digest, files=files if settled else ()))
            fetched = self._cached(model, version, digest)
        except ModelRejected as error:
            return str(error)
        if fetched is None:
            raise RegistryUnavailable("was pushed out of the cache by other versions at once: try again")
        return fetched

    def _still_holds(self, outcome: FetchedVersion | str) -> bool:
        return isinstance(outcome, str) or self._cache.recall(outcome.digest) is not None

    def _last_known(self, model: str, version: str) -> FetchedVersion | None:
        with _told((model, version)):
            known = self._cache.remembered(model, version)
            return None if known is None else self._cached(model, version, known.digest)

    def _cached(self, model: str, version: str, digest: str) -> FetchedVersion | None:
        path = self._cache.recall(digest)
        if path is None:
            return None
        return FetchedVersion(
            model=model,
            version=version,
            digest=digest,
            path=path,
            metadata=read_metadata(path),
            created_us=(path / GRAPH).stat().st_mtime_ns // 1000,
        )

    def _reference(self, model: str, version: str) -> Reference | None:
        _check_names((model, version))
        try:
            with self._opened(model, version) as folder:
                content = read_document(folder, REFERENCE, self._limits.document_bytes_max)
        except (RegistryUnavailable, NotFound):
            content = self._cache.remembered_reference(model, version)
            if content is None:
                raise
        known = self._references.get((model, version))
        if known is not None and known[0] == content:
            return known[1]
        with _told((model, version)):
            reference = None if content is None else decode_reference(content, model, version)
            self._cache.remember_reference(model, version, content)
        if content is None or reference is None:
            self._references.pop((model, version), None)
            return None
        _put(self._references, (model, version), (content, reference), self._limits.entries_max)
        return reference

    @contextmanager
    def _opened(self, *names: str) -> Iterator[int]:
        """A descriptor of the root, of a model's folder, or of a version's."""
        _check_names(names)
        with ExitStack() as opened, _told(names):
            folder = self._open_root()
            opened.callback(os.close, folder)
            for depth, name in enumerate(names):
                try:
                    folder = open_folder(name, folder)
                except FileNotFoundError:
                    raise NotFound(f"the registry has no {_named(names[: depth + 1])}") from None
                opened.callback(os.close, folder)
            yield folder

    def _open_root(self) -> int:
        try:
            return open_folder(self._root)
        except OSError as error:
            raise RegistryUnavailable(f"the registry folder {self._root} cannot be read: {error.strerror}") from error


@contextmanager
def _told(names: tuple[str, ...]) -> Iterator[None]:
    """Errors in words that name the version, and trouble of either disk as `RegistryUnavailable`."""
    try:
        yield
    except ModelRejected as error:
        raise ModelRejected(f"{_named(names)}: {error}") from None
    except RegistryUnavailable as error:
        raise RegistryUnavailable(f"{_named(names)}: {error}") from error
    except OSError as error:
        raise RegistryUnavailable(f"{_named(names)} cannot be read or cached: {error.strerror}") from error


def _named(names: tuple[str, ...]) -> str:
    return " version ".join(names) or "registry"


def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not is_name(name):
            raise NotFound(f"{name[:80]!r} names nothing: a name is 1 to 128 letters, digits or '._-', no '._-' first")


def _may_be_folder(parent: int, name: str) -> bool:
    """Links count: they are refused aloud when they are fetched, not passed over."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _has_graph(model: int, version: str) -> bool:
    try:
        os.stat(f"{version}/{GRAPH}", dir_fd=model, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return True  # told aloud when it is fetched
    return True


def _put(known: dict[K, V], key: K, value: V, entries_max: int) -> None:
    known[key] = value
    while len(known) > entries_max:
        del known[next(iter(known))]
