"""Card -> sections on the version itself: what it is, what it is for, how it was made, what it takes and gives. Pure."""

from contracts.card import Card, CardReference
from contracts.metadata import ModelMetadata
from contracts.signature import Signature, TensorSpec
from contracts.task import Task
from gateway.cards.section import NONE, Grid, Section, Word, figure, gaps_of, moment, said

FREE = -1


def identity(card: Card) -> Section:
    """Which bytes these are."""
    files = card.files
    digest = NONE if card.digest is None else card.digest
    whose = "digest" if files is not None or card.digest is None else "digest, as a plan pins it"
    facts = [("model", Word(card.model)), ("version", Word(card.version)), (whose, Word(digest))]
    if files is not None:
        facts += [
            ("model.onnx written", moment(files.created_us)),
            ("files", Word(f"{files.files:,} of {files.bytes:,} bytes together")),
        ]
    facts += [("registry aliases", Word(", ".join(card.aliases) or "none"))] if card.aliases is not None else []
    return Section("Identity", tuple(facts), gaps=gaps_of(card, "files", "aliases"))


def purpose(card: Card) -> Section:
    """What it is for, by those who made it."""
    if card.files is None:
        return Section("Purpose", gaps=("not known: the files are not known",))
    metadata = card.files.metadata
    facts = (
        ("description", said(metadata.description)),
        ("owner", said(metadata.owner)),
        ("intended use", said(metadata.intended_use)),
        ("limits", said(metadata.limits)),
        ("task", said(_task(metadata.task))),
        ("slices", said("; ".join(f"{cut.feature}: {_listed(cut.values)}" for cut in metadata.slices))),
    )
    return Section("Purpose", facts)


def making(card: Card) -> Section:
    """How it was made: run, code, data, parameters, figures, tags."""
    if card.files is None:
        return Section("Training", gaps=("not known: the files are not known",))
    metadata = card.files.metadata
    facts = (
        ("run", said(metadata.run_id)),
        ("git commit", said(metadata.git_commit)),
        ("data version", said(metadata.data_version)),
    )
    return Section("Training", facts, _told(metadata))


def signature(card: Card) -> Section:
    """What it takes and gives."""
    grid = None if card.signature is None else _tensors(card.signature)
    return Section("Inputs and outputs", grid=grid, gaps=gaps_of(card, "signature"))


def reference(card: Card) -> Section:
    """The baseline that it is measured against."""
    found = card.reference
    if found is None:
        return Section("Reference", gaps=gaps_of(card, "reference"))
    facts = (
        ("rows", Word(f"{found.rows:,}")),
        ("labelled", Word(f"{found.labelled:,}, of them {found.positives:,} positive")),
        ("features", Word(f"{found.features:,}")),
        ("built", Word("not recorded", "soft")),
        ("hash", Word(found.hash)),
    )
    return Section("Reference", facts, _performance(found), gaps_of(card, "reference"))


def _told(metadata: ModelMetadata) -> Grid | None:
    rows = [
        *((Word("parameter"), Word(name), said(value)) for name, value in sorted(metadata.params.items())),
        *((Word("metric"), Word(name), figure(value)) for name, value in sorted(metadata.metrics.items())),
        *((Word("tag"), Word(name), said(value)) for name, value in sorted(metadata.tags.items())),
    ]
    return Grid(("kind", "name", "value"), tuple(rows)) if rows else None


def _task(task: Task | None) -> str:
    if task is None:
        return ""
    words = [task.kind, f"read from output {task.output}"]
    if task.classes:
        words.append(f"classes {_listed(task.classes)}")
    if task.kind == "binary":
        positive = task.classes[task.positive] if task.positive < len(task.classes) else task.positive
        words.append(f"positive is {positive} from {task.threshold:g}")
    return ", ".join(words)


def _listed(values: tuple[str | int | bool, ...]) -> str:
    return ", ".join(map(str, values))


def _tensors(found: Signature) -> Grid:
    rows = [_tensor("input", spec) for spec in found.inputs] + [_tensor("output", spec) for spec in found.outputs]
    return Grid(("", "name", "datatype", "shape", "features", "null"), tuple(rows))


def _tensor(role: str, spec: TensorSpec) -> tuple[Word, ...]:
    shape = ", ".join("any" if size == FREE else str(size) for size in spec.shape)
    null = "" if not spec.nullable else "allowed" if spec.null_value is None else f"allowed, as {spec.null_value}"
    return (
        Word(role),
        Word(spec.name),
        Word(spec.datatype),
        Word(f"[{shape}]"),
        Word(", ".join(spec.features)),
        Word(null),
    )


def _performance(found: CardReference) -> Grid | None:
    """One row for everything and one for each slice."""
    figures = {"all": found.performance, **dict(sorted(found.slices.items()))}
    names = tuple(dict.fromkeys(name for row in figures.values() for name in row))
    if not names:
        return None
    rows = tuple((Word(cut), *(figure(row.get(name)) for name in names)) for cut, row in figures.items())
    return Grid(("slice", *names), rows, frozenset(range(1, len(names) + 1)))
