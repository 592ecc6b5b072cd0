"""What MLflow says of a version beside its files: description, tags and its run, as the metadata of a `model.json`. Pure.

Enters: a version, its model and its run as MLflow tells them, and what the files themselves say. Leaves: metadata. Tags can
be changed at any time and by many, so they are no part of a version's digest, and what the files say comes first. What is
longer than `model.json` may have it is cut.
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from contracts.errors import InvalidRecord, ModelRejected
from contracts.metadata import FACT_CHARS_MAX, PARAM_CHARS_MAX, PARAMS_MAX, TEXT_CHARS_MAX, ModelMetadata
from contracts.task import Task
from contracts.wire import decode
from registry_client.mlflow_answers import Metric, Model, Run, Tag, Version

OWNER_TAG: Final = "owner"
TASK_TAG: Final = "pointsman.task"
INTENDED_USE_TAG: Final = "intended_use"
LIMITS_TAG: Final = "limits"
DATA_VERSION_TAG: Final = "data_version"
GIT_COMMIT_TAG: Final = "mlflow.source.git.commit"
INTERNAL: Final = "mlflow."
METRICS_MAX: Final = 1_000


def metadata_said(version: Version, model: Model, run: Run | None) -> ModelMetadata:
    """The metadata in descriptions and tags, those of the version before those of its model, and in what its run logged.

    Raises ModelRejected where the tag `pointsman.task` does not hold the JSON of a task.
    """
    tags = {**_tags(model.tags), **_tags(version.tags)}
    logged = {tag.key: tag.value for tag in run.data.tags} if run else {}
    data_version = tags.pop(DATA_VERSION_TAG, "") or logged.get(DATA_VERSION_TAG, "")
    return ModelMetadata(
        intended_use=tags.pop(INTENDED_USE_TAG, "")[:TEXT_CHARS_MAX],
        limits=tags.pop(LIMITS_TAG, "")[:TEXT_CHARS_MAX],
        run_id=(version.run_id or "")[:FACT_CHARS_MAX],
        git_commit=logged.get(GIT_COMMIT_TAG, "")[:FACT_CHARS_MAX],
        data_version=data_version[:FACT_CHARS_MAX],
        params=_params(run.data.params) if run else {},
        metrics=_metrics(run.data.metrics) if run else {},
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
        intended_use=files.intended_use or said.intended_use,
        limits=files.limits or said.limits,
        task=files.task or said.task,
        run_id=files.run_id or said.run_id,
        git_commit=files.git_commit or said.git_commit,
        data_version=files.data_version or said.data_version,
        params=files.params or said.params,
        tags={**said.tags, **files.tags},
        metrics=files.metrics or said.metrics,
    )


def _tags(tags: list[Tag]) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags if not tag.key.startswith(INTERNAL)}


def _params(logged: list[Tag]) -> dict[str, str]:
    return {one.key[:FACT_CHARS_MAX]: one.value[:PARAM_CHARS_MAX] for one in logged[:PARAMS_MAX]}


def _metrics(logged: Iterable[Metric]) -> dict[str, float]:
    """The last values, where they are numbers."""
    found = {one.key: one.value for one in logged if isinstance(one.value, float) and math.isfinite(one.value)}
    return dict(list(found.items())[:METRICS_MAX])


def _task(text: str) -> Task | None:
    if not text:
        return None
    try:
        return decode(Task, text.encode())
    except InvalidRecord as error:
        raise ModelRejected(f"its tag {TASK_TAG} is {error}") from None
