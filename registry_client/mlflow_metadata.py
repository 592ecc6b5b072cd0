"""What MLflow says of a version beside its files: description and tags, as the metadata that `model.json` would hold. Pure.

Enters: a version and its model as MLflow tells them, and what the files themselves say. Leaves: metadata. Tags can be
changed at any time and by many, so they are no part of a version's digest, and what the files say comes first.
"""

from typing import Final

import msgspec

from contracts.errors import InvalidRecord, ModelRejected
from contracts.metadata import ModelMetadata
from contracts.task import Task
from contracts.wire import decode
from registry_client.mlflow_answers import Model, Tag, Version

OWNER_TAG: Final = "owner"
TASK_TAG: Final = "pointsman.task"
INTERNAL: Final = "mlflow."


def metadata_said(version: Version, model: Model) -> ModelMetadata:
    """The metadata in descriptions and tags; those of the version before those of its model.

    Raises ModelRejected where the tag `pointsman.task` does not hold the JSON of a task.
    """
    tags = {**_tags(model.tags), **_tags(version.tags)}
    return ModelMetadata(
        description=version.description or model.description or "",
        owner=tags.pop(OWNER_TAG, ""),
        task=_task(tags.pop(TASK_TAG, "")),
        tags=tags,
    )


def merged(files: ModelMetadata, said: ModelMetadata | None) -> ModelMetadata:
    """What the files say, and where they say nothing what MLflow says."""
    if said is None:
        return files
    return msgspec.structs.replace(
        files,
        description=files.description or said.description,
        owner=files.owner or said.owner,
        task=files.task or said.task,
        tags={**said.tags, **files.tags},
    )


def _tags(tags: list[Tag]) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags if not tag.key.startswith(INTERNAL)}


def _task(text: str) -> Task | None:
    if not text:
        return None
    try:
        return decode(Task, text.encode())
    except InvalidRecord as error:
        raise ModelRejected(f"its tag {TASK_TAG} is {error}") from None
