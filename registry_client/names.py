"""Which names of models, versions and files are accepted, and the order of versions. Pure: looks at text only.

A name that passes is one path component and cannot climb, hide or be taken for an option.
"""

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
FILE_NAME: Final = re.compile(r"(?!\.)[ -\[\]-~]{1,255}\Z")
"""Printable ASCII: tensor files of exporters carry names such as `onnx::MatMul_1`; `/` cannot be in a file's name."""


DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


def is_name(text: str) -> bool:
    """Whether `text` may name a model, a version or an alias."""
    return NAME.match(text) is not None


def is_file_name(text: str) -> bool:
    """Whether `text` may name a file of a version."""
    return FILE_NAME.match(text) is not None and "/" not in text


def is_digest(text: str) -> bool:
    """Whether `text` can be a sha256 in hex."""
    return DIGEST.match(text) is not None


def plain_name(column: str) -> str:
    """The name that exporters give an input for a column of that name.

    >>> plain_name("home country")
    'home_country'
    """
    return re.sub(r"[^0-9A-Za-z_]", "_", column)


def version_order(version: str) -> tuple[int, int, str]:
    """The key that sorts versions from oldest to newest: numbers by value, then other names by text."""
    return (0, int(version), version) if version.isdigit() else (1, 0, version)
