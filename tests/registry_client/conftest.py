"""A registry folder, a cache, the means to fill them, and an MLflow server that plays badly beside its client."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.reference import Reference
from contracts.wire import encode, encode_canonical
from registry_client.cache import VersionCache
from registry_client.folder import FolderRegistry
from registry_client.limits import Limits
from registry_client.mlflow import MlflowRegistry
from registry_client.mlflow_rest import Access, MlflowRest
from tests.registry_client.lying_server import MLMODEL, LyingServer


@pytest.fixture
def root(shelf: Any) -> Path:
    """The registry's folder, empty."""
    return shelf.root


@pytest.fixture
def cache(shelf: Any) -> Path:
    """Where the cache will be; nothing is there yet."""
    return shelf.cache


@pytest.fixture
def registry(shelf: Any) -> FolderRegistry:
    """The registry over `root`."""
    return shelf.registry


@pytest.fixture
def write(shelf: Any, graphs: Any) -> Callable[..., Path]:
    """Writes a version with a good graph where none is given; see `Shelf.write`."""
    return lambda name, version, graph=None, **more: shelf.write(name, version, graph or graphs.mlp(), **more)


@pytest.fixture
def reference() -> Callable[[str, str], bytes]:
    """The bytes of a reference whose hash is right."""

    def reference(model: str, version: str, rows: int = 1) -> bytes:
        plain = Reference(model=model, version=version, rows=rows, task=None, features=(), prediction=None)
        return encode(msgspec.structs.replace(plain, hash=hashlib.sha256(encode_canonical(plain)).hexdigest()))

    return reference


@pytest.fixture
def rewrite() -> Callable[[Path, bytes], None]:
    """Replaces a file's content by rename, as a careful writer does."""

    def rewrite(path: Path, content: bytes) -> None:
        other = path.with_name(f".{path.name}")
        other.write_bytes(content)
        other.replace(path)

    return rewrite


@pytest.fixture
def open_below() -> Callable[[Path], list[str]]:
    """The files and folders below a folder that this process has open; what else it has open comes and goes by itself."""

    def open_below(folder: Path) -> list[str]:
        found = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the one that listed them
                found.append(str(descriptor.readlink()))
        return sorted(path for path in found if path.startswith(str(folder)))

    return open_below


@pytest.fixture
def clock_of_files(tmp_path: Path) -> Callable[[], None]:
    """Returns when the file system's clock has ticked: what is written then has another time than what was before."""

    def clock_of_files() -> None:
        path = tmp_path / "tick"
        path.touch()
        first = path.stat().st_ctime_ns
        while path.stat().st_ctime_ns == first:
            path.touch()
        path.unlink()

    return clock_of_files


@pytest.fixture
def files(graphs: Any) -> dict[str, bytes]:
    """The files of version 1 of `m` at the server that `meet` starts."""
    return {"MLmodel": MLMODEL, "net.onnx": graphs.mlp().SerializeToString()}


@pytest.fixture
def meet(tmp_path: Path, files: dict[str, bytes]) -> Callable[..., Any]:
    """Runs a scenario `(server, registry)` with a server that has version 1 of `m`."""

    def meet(scenario: Callable[..., Any], limits: Limits | None = None, **seconds: float) -> Any:
        async def run() -> Any:
            bounds = limits or Limits()
            ticks = iter(range(0, 10**9, 100))
            async with LyingServer(dict(files)) as server:
                rest = MlflowRest(Access(url=server.url, headers={}), bounds, **seconds)
                registry = MlflowRegistry(
                    rest,
                    VersionCache(tmp_path / "cache", bounds, "liar"),
                    bounds,
                    clock=lambda: float(next(ticks)),
                    draw=lambda: 0.5,
                )
                try:
                    async with asyncio.timeout(60):
                        return await scenario(server, registry)
                finally:
                    await registry.aclose()

        return asyncio.run(run())

    return meet


@pytest.fixture
def rejection(meet: Callable[..., Any]) -> Callable[..., str]:
    """The error that asking raises: `rejection(wish, kind, "models" or "fetch")`."""

    def rejection(wish: Callable[[LyingServer], None], kind: type[Exception], ask: str = "fetch", **more: Any) -> str:
        async def scenario(server: LyingServer, registry: MlflowRegistry) -> str:
            wish(server)
            with pytest.raises(kind) as caught:
                await (
                    registry.fetch("m", "1") if ask == "fetch" else getattr(registry, ask)(*["m"] * (ask != "models"))
                )
            return str(caught.value)

        return str(meet(scenario, **more))

    return rejection
