"""What a record adds: statuses, slices, odd columns; nothing that a record holds stops the counting."""

import msgspec
import pytest

from contracts.metadata import ModelMetadata
from contracts.reference import Feature
from contracts.task import Slice, Task
from contracts.wire import encode
from monitor.counts import record_type
from monitor.counts.layout import STATUSES
from monitor.pages.queries import open_reader


@pytest.fixture
def count(world, tmp_path):
    """Count some records of binary versions 1 and 2, and give a reader of the state."""
    readers = []

    def counted(*records, references=None, metadata=None):
        path = tmp_path / str(len(readers)) / "monitor.sqlite"
        if references is None:
            references = {("m", version): world.make_reference("binary", version) for version in "12"}
        entries = [world.entry("a" * 32, i, record) for i, record in enumerate(records, 1)]
        world.run(world.make_consumer(path, entries, world.make_catalogue(references, metadata)))
        readers.append(open_reader(path))
        return readers[-1]

    yield counted
    for reader in readers:
        reader.close()


def section(reader, name, slice_name="all", group=0):
    group = reader.groups()[group]
    return reader.merged(group, slice_name)[reader.generation(group).layout.sections[name].cells].tolist()


def tallied(reader):
    return {key: value for key, value in reader.counters().items() if value}


@pytest.mark.parametrize("status", ["error", "timeout", "refused", "skipped"])
def test_a_record_that_is_not_ok_counts_in_statuses_only(world, count, status):
    reader = count(world.make_prediction(world.uuid7(1, 1), status=status, outputs={}))

    vector = reader.merged(reader.groups()[0])

    assert section(reader, "statuses") == [int(name == status) for name in STATUSES]
    assert vector.sum() == 1


def test_a_fallback_answer_is_ok_and_a_fallback(world, count):
    reader = count(world.make_prediction(world.uuid7(1, 1), fallback_from="canary"))

    assert section(reader, "statuses") == [1, 0, 0, 0, 0, 1]
    assert section(reader, "rows") == [1]


def test_a_fallback_that_was_not_the_answer_or_failed_is_no_fallback(world, count):
    reader = count(
        world.make_prediction(world.uuid7(1, 1), fallback_from="canary", answered=False),
        world.make_prediction(world.uuid7(1, 2), fallback_from="canary", status="error"),
    )

    assert section(reader, "statuses") == [1, 1, 0, 0, 0, 0]


def test_a_request_of_many_rows_counts_its_rows_and_once_its_status_in_every_slice_it_touches(world, count):
    features = {"x": [1, 0.5, 2], "c": ["a", 7, "a"]}
    record = world.make_prediction(
        world.uuid7(1, 1), rows=3, features=features, outputs=world.make_output([0.1, 0.2, 0.3], 1)
    )

    reader = count(record)

    assert {name: section(reader, "rows", name)[0] for name in reader.groups()[0].slices} == {
        "all": 3, "c=a": 2, "c=7": 1, "c=true": 0, "x=1": 1,
    }  # fmt: skip
    assert {name: section(reader, "statuses", name)[0] for name in reader.groups()[0].slices} == {
        "all": 1, "c=a": 1, "c=7": 1, "c=true": 0, "x=1": 1,
    }  # fmt: skip


def test_a_failed_record_counts_in_the_slices_of_its_features(world, count):
    reader = count(world.make_prediction(world.uuid7(1, 1), status="error", features={"x": [3], "c": ["a"]}))

    assert section(reader, "statuses", "c=a") == [0, 1, 0, 0, 0, 0]
    assert section(reader, "rows", "c=a") == [0]


def test_a_record_without_rows_counts_as_a_record(world, count):
    reader = count(world.make_prediction(world.uuid7(1, 1), rows=0, features={}, outputs={}))

    assert section(reader, "statuses") == [1, 0, 0, 0, 0, 0]
    assert section(reader, "rows") == [0]


def test_odd_columns_are_missing_values_with_a_tally(world, count):
    reader = count(
        world.make_prediction(world.uuid7(1, 1), features={"c": ["a"]}),
        world.make_prediction(world.uuid7(1, 2), features={"x": [1.0, 2.0], "c": ["a"]}),
        world.make_prediction(world.uuid7(1, 3), features={"x": ["1.0"], "c": [["a"]]}),
        world.make_prediction(world.uuid7(1, 4), outputs={}),
        world.make_prediction(world.uuid7(1, 5), outputs=world.make_output(["high"], 1)),
    )

    assert section(reader, "feature:x")[len(world.EDGES) + 1] == 3
    assert section(reader, "rows") == [5]
    assert tallied(reader) == {
        ("feature_absent", "m", "1", "x"): 1,
        ("feature_ragged", "m", "1", "x"): 1,
        ("feature_wrong_type", "m", "1", "x"): 1,
        ("feature_wrong_type", "m", "1", "c"): 1,
        ("prediction_unusable", "m", "1", ""): 2,
    }


def test_one_odd_record_changes_nothing_for_the_others(world, count):
    good = [world.make_prediction(world.uuid7(1, i), features={"x": [i / 7], "c": ["b"]}) for i in range(20)]
    odd = world.make_prediction(world.uuid7(2, 1), features={"x": []})

    alone, together = count(*good), count(*good, odd)

    for name in ("feature:x", "feature:c"):
        missing = section(together, name)
        missing[-3 if name == "feature:x" else -1] -= 1
        assert missing == section(alone, name)


def test_a_version_without_a_reference_counts_rows_statuses_and_what_its_metadata_says(world, count):
    metadata = {
        ("m", "1"): ModelMetadata(task=Task(kind="binary", output="p"), slices=(Slice(feature="c", values=("a",)),))
    }
    labels = [world.make_label(world.uuid7(1, 1), 1)]

    reader = count(world.make_prediction(world.uuid7(1, 1)), *labels, references={}, metadata=metadata)

    assert reader.groups()[0].slices == ("all", "c=a")
    assert reader.groups()[0].reference_hash == ""
    assert section(reader, "labelled", "c=a") == [1]
    assert sum(section(reader, "positives")) == 1


def test_a_version_that_nobody_describes_counts_rows_statuses_and_labels(world, count):
    records = [world.make_prediction(world.uuid7(1, 1)), world.make_label(world.uuid7(1, 1), "anything")]

    reader = count(*records, references={})

    assert [section(reader, name) for name in ("rows", "labelled")] == [[1], [1]]
    assert set(reader.generation(reader.groups()[0]).layout.sections) == {"statuses", "rows", "labelled"}


def test_a_multiclass_task_without_classes_is_no_task(world, count):
    metadata = {("m", "1"): ModelMetadata(task=Task(kind="multiclass", output="p"))}

    reader = count(world.make_prediction(world.uuid7(1, 1)), references={}, metadata=metadata)

    assert reader.generation(reader.groups()[0]).task is None
    assert section(reader, "rows") == [1]


def test_no_more_slices_are_counted_than_a_row_has_bits_for(world, count):
    metadata = {("m", "1"): ModelMetadata(slices=(Slice(feature="x", values=tuple(range(100))),))}
    records = [world.make_prediction(world.uuid7(1, i), features={"x": [i]}) for i in range(100)]

    reader = count(*records, references={}, metadata=metadata)

    assert reader.groups()[0].slices == ("all", *(f"x={i}" for i in range(63)))
    assert [section(reader, "rows", name)[0] for name in reader.groups()[0].slices] == [100] + [1] * 63


@pytest.mark.parametrize("name", ["", "größe", 'a"b', "back\\slash", "line\nbreak", "class", "f61", "x.y", "x" * 500])
def test_a_feature_may_have_any_name(world, count, name):
    bins = world.make_reference("binary").features[0].bins
    features = (Feature(name=name, bins=bins), Feature(name="other", bins=bins))
    reference = msgspec.structs.replace(world.make_reference("binary"), features=features, slices=())
    records = [
        world.make_prediction(world.uuid7(1, 1), features={name: [2.5], "other": [0.0], "unknown": [1]}),
        world.make_prediction(world.uuid7(1, 2), features={"other": [0.0]}),
        world.make_prediction(world.uuid7(1, 3), rows=2, features={name: [None, 7], "other": [0.0, 0.0]}),
    ]

    reader = count(*records, references={("m", "1"): reference})

    counted = section(reader, f"feature:{name}")
    assert {cell: n for cell, n in enumerate(counted) if n} == {3: 1, 4: 1, len(world.EDGES) + 1: 2}
    assert section(reader, "feature:other")[1] == 4


def test_a_version_of_a_single_feature_is_counted(world, count):
    reference = world.make_reference("binary")
    reference = msgspec.structs.replace(reference, features=reference.features[:1], slices=())

    reader = count(world.make_prediction(world.uuid7(1, 1)), references={("m", "1"): reference})

    assert section(reader, "feature:x")[2] == 1


def test_versions_of_different_features_share_one_log(world, count):
    bins = world.make_reference("binary").features[0].bins
    references = {
        ("m", version): msgspec.structs.replace(
            world.make_reference("binary", version),
            features=tuple(Feature(name=name, bins=bins) for name in names),
            slices=(),
        )
        for version, names in (("1", "abc"), ("2", "cde"))
    }
    records = [
        world.make_prediction(world.uuid7(1, i), version="12"[i % 2], features={name: [0.1] for name in "abcde"})
        for i in range(10)
    ]

    reader = count(*records, references=references)

    for group in range(2):
        names = "cde" if group else "abc"
        assert [section(reader, f"feature:{name}", group=group)[2] for name in names] == [5] * 3


def test_a_decoder_that_is_full_starts_over_and_still_reads_everything(world, monkeypatch):
    monkeypatch.setattr(record_type, "NAMES_MAX", 3)
    decoder = record_type.RecordDecoder()
    payload = encode(world.make_prediction(world.uuid7(1, 1), features={"a": [1], "b": [2], "c": [3]}))

    for names, is_new in (("ab", True), ("a", False), ("ac", True), ("abc", False), ("d", True), ("a", True)):
        assert decoder.learn(names) is is_new
        features = decoder.decode(payload).features
        assert [getattr(features, record_type.field_of(name)) for name in names if name != "d"] == [
            [" abc".index(name)] for name in names if name != "d"
        ]


def test_variants_and_versions_are_counted_apart(world, count):
    reader = count(
        world.make_prediction(world.uuid7(1, 1)),
        world.make_prediction(world.uuid7(1, 1), version="2", variant="shadow-2", answered=False),
        world.make_prediction(world.uuid7(1, 2), version="2", variant="champion"),
    )

    assert [(g.version, g.variant) for g in reader.groups()] == [
        ("1", "champion"),
        ("2", "champion"),
        ("2", "shadow-2"),
    ]
    assert [section(reader, "rows", group=i) for i in range(3)] == [[1]] * 3
