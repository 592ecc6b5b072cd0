"""What an MLflow server answers: the documents that are asked for, and what each kind of refusal means to us. Pure.

Enters: status, headers and bytes of a reply. Leaves: a typed document; or one of our errors, which says what to do. Every
release and every proxy in front of one refuses in its own way, so a body is never taken for JSON before it is known to be.
"""

from typing import Final, NamedTuple, TypeVar

import msgspec

from contracts.errors import ModelRejected, NotFound, PointsmanError, RegistryUnavailable

T = TypeVar("T")

SHOWN_CHARS: Final = 200
HOST_REFUSED: Final = "Invalid Host header"
GOOD: Final = range(200, 300)
REDIRECTS: Final = range(300, 400)


class Reply(NamedTuple):
    """A reply whose body was read whole."""

    status: int
    content_type: str
    location: str
    body: bytes


class Tag(msgspec.Struct, frozen=True):
    """One tag of a model or version."""

    key: str
    value: str = ""


class Alias(msgspec.Struct, frozen=True):
    """One alias of a model."""

    alias: str
    version: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `creation_timestamp` is in milliseconds since the epoch; `source` tells re-created ones apart."""

    name: str
    version: str
    creation_timestamp: int = 0
    current_stage: str | None = None
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    status: str = "READY"
    tags: list[Tag] = []


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One registered model. Only `registered-models/get` tells its aliases."""

    name: str
    description: str | None = None
    tags: list[Tag] = []
    aliases: list[Alias] = []
    latest_versions: list[Version] = []


class ModelPage(msgspec.Struct, frozen=True):
    """A page of models; the last one has no token."""

    registered_models: list[Model] = []
    next_page_token: str | None = None


class OneModel(msgspec.Struct, frozen=True):
    """Of `registered-models/get`."""

    registered_model: Model


class VersionPage(msgspec.Struct, frozen=True):
    """A page of versions; the last one has no token."""

    model_versions: list[Version] = []
    next_page_token: str | None = None


class OneVersion(msgspec.Struct, frozen=True):
    """Of `model-versions/get`."""

    model_version: Version


class DownloadUri(msgspec.Struct, frozen=True):
    """Of `model-versions/get-download-uri`."""

    artifact_uri: str


class Entry(msgspec.Struct, frozen=True):
    """A file or folder in a listing; `file_size` in bytes."""

    path: str
    is_dir: bool = False
    file_size: int | None = None


class Listing(msgspec.Struct, frozen=True):
    """The entries of one folder; the last page has no token."""

    files: list[Entry] = []
    next_page_token: str | None = None


class RunInfo(msgspec.Struct, frozen=True):
    """Where a run keeps its files, and whether it is over."""

    artifact_uri: str = ""
    status: str = ""


class Metric(msgspec.Struct, frozen=True):
    """The last value of a metric; NaN and infinities come as texts."""

    key: str
    value: float | str | None = None


class RunData(msgspec.Struct, frozen=True):
    """What a run has logged; a param has the shape of a tag."""

    metrics: list[Metric] = []
    params: list[Tag] = []
    tags: list[Tag] = []


class Run(msgspec.Struct, frozen=True):
    """Of a run what is asked for."""

    info: RunInfo
    data: RunData = RunData()

    @property
    def is_over(self) -> bool:
        """Whether it logs nothing any more."""
        return self.info.status in {"FINISHED", "FAILED", "KILLED"}


class OneRun(msgspec.Struct, frozen=True):
    """Of `runs/get`."""

    run: Run


class Refusal(msgspec.Struct, frozen=True):
    """The body of an error, where MLflow itself refuses."""

    error_code: str = ""
    message: str = ""


def decode_answer(server: str, reply: Reply, kind: type[T]) -> T:
    """The document of a reply with a good status; RegistryUnavailable where it is none."""
    if "json" not in reply.content_type:
        raise RegistryUnavailable(
            f"{server} answered {_shown(reply.content_type) or 'something without a type'} where JSON is due: the address "
            "is not that of an MLflow server, or a proxy before it asks for a login"
        )
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryUnavailable(f"{server} did not answer as an MLflow server does: {error}") from None


def refusal_of(server: str, host: str, question: str, reply: Reply) -> PointsmanError | None:
    """What a reply other than a good one means; None for a good one. `host` is where we ask, `question` what for."""
    if reply.status in GOOD:
        return None
    return _moved(server, reply) or _denied(server, host, question, reply) or _refused(server, question, reply)


def _moved(server: str, reply: Reply) -> PointsmanError | None:
    if reply.status in REDIRECTS:
        return RegistryUnavailable(
            f"{server} redirects to {_shown(reply.location)!r}; they are not followed: set registry to the final address"
        )
    return None


def _refused(server: str, question: str, reply: Reply) -> PointsmanError:
    said = _refusal(reply)
    reason = f"{said.error_code} {_shown(said.message)}".strip() if said else _shown(_plain(reply))
    if reply.status == 404 and said is None:
        return RegistryUnavailable(
            f"{server} knows no route to {question} (404): check the path in registry; MLflow 2.22 or newer is asked for"
        )
    if said is not None and (said.error_code == "RESOURCE_DOES_NOT_EXIST" or "not found" in said.message.lower()):
        return NotFound(f"{server} has no {question}: {reason}")
    if reply.status == 400:
        return ModelRejected(f"{server} refuses to answer for {question}: {reason}")
    return RegistryUnavailable(
        f"{server} answered {reply.status} for {question}: {reason or 'no reason given'}{_advice(reply)}"
    )


def _advice(reply: Reply) -> str:
    if reply.status == 429:
        return "; it is asked too often: raise registry_poll_seconds"
    if reply.status == 503 and "disabled" in _plain(reply).lower():
        return "; start MLflow with --serve-artifacts"
    return ""


def _denied(server: str, host: str, question: str, reply: Reply) -> PointsmanError | None:
    if reply.status not in {401, 403}:
        return None
    if HOST_REFUSED in _plain(reply):
        return RegistryUnavailable(
            f"{server} refuses the host name {host!r}: start MLflow with --allowed-hosts {host}, the port is part of it"
        )
    if reply.status == 401:
        return RegistryUnavailable(
            f"{server} asks who we are (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, to a user who may read"
        )
    return RegistryUnavailable(
        f"{server} does not let us read {question} (403): give the user of MLFLOW_TRACKING_USERNAME or "
        "MLFLOW_TRACKING_TOKEN the permission READ"
    )


def _refusal(reply: Reply) -> Refusal | None:
    if "json" not in reply.content_type:
        return None
    try:
        said = msgspec.json.decode(reply.body, type=Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return said if said.error_code else None


def _plain(reply: Reply) -> str:
    return reply.body.decode("utf-8", errors="replace")


def _shown(text: str) -> str:
    """A stranger's text in one short, printable line."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:SHOWN_CHARS]).strip()
