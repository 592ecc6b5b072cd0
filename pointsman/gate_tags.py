"""A gate's result as tags of the version at an MLflow server, for people who look there and for pipelines.

Enters: a result, the registry's address and cache. Leaves: tags. The version is looked up anew: one that was deleted and
made again since would bear another one's result. Never reads a tag.
"""

from collections.abc import Mapping
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.gate import GateResult
from contracts.moment import format_moment
from registry_client.choice import open_registry, open_tags


def tags_of(result: GateResult) -> dict[str, str]:
    """The tags, by name; the outcome comes last, so that it never stands beside an older gate's id."""
    baseline = result.baseline
    return {
        "pointsman.gate_id": result.gate_id,
        "pointsman.gate_digest": result.candidate.digest,
        "pointsman.gate_baseline": "none" if baseline is None else f"{baseline.version}@{baseline.digest}",
        "pointsman.gate_policy_sha256": result.policy_sha256,
        "pointsman.gate_data_sha256": result.data_sha256 or "none",
        "pointsman.gate_evaluated_at": format_moment(result.evaluated_us),
        "pointsman.gate_who": result.who,
        "pointsman.gate_outcome": result.outcome,
    }


async def write_tags(address: str, cache: Path, environment: Mapping[str, str], result: GateResult) -> str:
    """Write the tags; says so. `cache` is the one that the gate's versions were fetched into.

    Raises InvalidInput where the version's files are no longer those that the gate saw, and what the server says.
    """
    model, version = result.model, result.candidate.version
    registry = open_registry(address, cache, environment)
    try:
        digest = (await registry.fetch(model, version)).digest
    finally:
        await registry.aclose()
    if digest != result.candidate.digest:
        raise InvalidInput(
            f"no tags are written: version {version} of {model} has other files now than the gate saw"
            f" ({digest[:12]}, not {result.candidate.digest[:12]}); run the gate again"
        )
    tags = open_tags(address, environment)
    try:
        await tags.write(model, version, tags_of(result))
    finally:
        await tags.aclose()
    return f"tags are written at {address}"
