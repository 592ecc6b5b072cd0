"""The questions that are asked of an MLflow server about models and versions.

Enters: names. Leaves: what the server says, page after page, checked to be about what was asked; every list has a bound.
Never remembers an answer.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, TypeVar

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from registry_client.limits import Limits
from registry_client.mlflow_answers import (
    DownloadUri,
    Model,
    ModelPage,
    OneModel,
    OneRun,
    OneVersion,
    Run,
    Version,
    VersionPage,
)
from registry_client.mlflow_rest import MlflowRest

PAGE_ENTRIES: Final = 1_000
READY: Final = "READY"

P = TypeVar("P", ModelPage, VersionPage)


class MlflowQuestions:
    """Questions to one server; each raises what `MlflowRest` raises. `page_entries` is how many models or versions an answer
    may hold, at most 1,000.
    """

    def __init__(self, rest: MlflowRest, limits: Limits, page_entries: int = PAGE_ENTRIES) -> None:
        self._rest = rest
        self._limits = limits
        self._page_entries = page_entries

    async def model_names(self) -> list[str]:
        """The names of all models; ModelRejected where there are more than `Limits.entries_max`."""
        names: list[str] = []
        async for page in self._pages("registered-models/search", {}, "models", ModelPage):
            names += [one.name for one in page.registered_models]
            self._check_count(names, "models")
        return names

    async def model(self, model: str) -> Model:
        """One model with its aliases; NotFound where there is none."""
        one = await self._rest.ask("registered-models/get", {"name": model}, f"model {model}", OneModel)
        if one.registered_model.name != model:
            raise RegistryUnavailable(f"{self._rest.server} answered for another model than {model}")
        return one.registered_model

    async def ready_versions(self, model: str) -> list[str]:
        """The versions of a model whose files are there; `model` must be a name that can stand in quotes."""
        versions: list[str] = []
        params = {"filter": f"name='{model}'"}
        async for page in self._pages("model-versions/search", params, f"versions of {model}", VersionPage):
            versions += [one.version for one in page.model_versions if one.status == READY and one.name == model]
            self._check_count(versions, f"versions of {model}")
        return versions

    async def version(self, model: str, version: str) -> Version:
        """One version; NotFound where there is none, or its files are not there yet."""
        params = {"name": model, "version": version}
        one = await self._rest.ask("model-versions/get", params, f"version {version} of {model}", OneVersion)
        said = one.model_version
        if (said.name, said.version) != (model, version):
            raise RegistryUnavailable(f"{self._rest.server} answered for another version than {version} of {model}")
        if said.status != READY:
            raise NotFound(f"version {version} of {model} is not ready: {said.status[:80]}")
        return said

    async def run(self, run_id: str) -> Run:
        """The run that logged a version; NotFound where there is none any more."""
        return (await self._rest.ask("runs/get", {"run_id": run_id}, f"run {run_id}", OneRun)).run

    async def address(self, model: str, version: str) -> str:
        """Where the files of a version are, in the server's own terms."""
        params = {"name": model, "version": version}
        question = f"address of version {version} of {model}"
        return (await self._rest.ask("model-versions/get-download-uri", params, question, DownloadUri)).artifact_uri

    async def _pages(self, path: str, params: Mapping[str, str], question: str, kind: type[P]) -> AsyncIterator[P]:
        asked = {**params, "max_results": str(self._page_entries)}
        tokens: set[str] = set()
        while True:
            page = await self._rest.ask(path, asked, question, kind)
            yield page
            token = page.next_page_token
            if not token:
                return
            if token in tokens or len(tokens) >= self._limits.entries_max:
                raise RegistryUnavailable(f"{self._rest.server} gives the pages of {question} in a circle")
            tokens.add(token)
            asked["page_token"] = token

    def _check_count(self, found: Sequence[str], what: str) -> None:
        if len(found) > self._limits.entries_max:
            raise ModelRejected(f"{self._rest.server} has more than {self._limits.entries_max} {what}")
