"""How much a registry may ask of us: the bound of every file, list and cache of this room."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is over a bound is rejected with a message that names the bound; only the cache makes room by itself.

    `graph_bytes_max` is protobuf's own limit of one message; larger models keep their weights in files of external data.
    `cached_versions_max` versions stay on disk, so the cache takes at most that times `version_bytes_max`.
    """

    version_bytes_max: int = 16 * 2**30
    graph_bytes_max: int = 2**31 - 1
    document_bytes_max: int = 16 * 2**20
    files_max: int = 1_000
    depth_max: int = 8
    entries_max: int = 10_000
    cached_versions_max: int = 64
