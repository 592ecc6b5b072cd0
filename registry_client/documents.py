"""Decodes the small JSON files of a registry: aliases and references. Pure: bytes in, values out, ModelRejected else."""

import hashlib
import json

import msgspec

from contracts.errors import InvalidRecord, ModelRejected
from contracts.reference import Reference
from contracts.wire import decode
from registry_client.names import is_name


def decode_aliases(content: bytes) -> dict[str, str]:
    """Alias to version. An alias of digits only would be read as a version; of one said twice nobody knows which holds."""
    try:
        aliases = msgspec.json.decode(content, type=dict[str, str])
        pairs: list[tuple[str, str]] = json.loads(content, object_pairs_hook=list)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelRejected(f"aliases.json does not map aliases to versions: {error}") from None
    for alias, version in pairs:
        if not is_name(alias) or alias.isdigit():
            raise ModelRejected(f"aliases.json has the alias {alias[:100]!r}: must be a name and not a number")
        if not is_name(version):
            raise ModelRejected(f"aliases.json points {alias!r} at {version[:100]!r}, which cannot name a version")
    if len(pairs) != len(aliases):
        raise ModelRejected(f"aliases.json has an alias twice: {[alias for alias, _ in pairs]}")
    return aliases


def decode_reference(content: bytes, model: str, version: str) -> Reference:
    """The reference of a version; its hash must be that of its content."""
    try:
        reference = decode(Reference, content)
    except InvalidRecord as error:
        raise ModelRejected(f"reference.json is {error}") from None
    if (reference.model, reference.version) != (model, version):
        raise ModelRejected(f"reference.json is that of {reference.model} version {reference.version}")
    # as it is written, not as it is typed here: fields that a later release adds must not change the hash of this one
    written = msgspec.json.decode(content)
    expected = hashlib.sha256(msgspec.json.encode(written | {"hash": ""}, order="sorted")).hexdigest()
    if reference.hash != expected:
        raise ModelRejected(f"reference.json has the hash {reference.hash!r}, its content {expected!r}: build it again")
    return reference
