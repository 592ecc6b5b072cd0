"""A registry folder, a cache, and the means to fill them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.reference import Reference
from contracts.wire import encode, encode_canonical
from registry_client.folder import FolderRegistry


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
