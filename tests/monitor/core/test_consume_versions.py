"""What the registry says of a version is asked again now and then; counts under different references never mix."""

import pytest

from contracts.errors import InvalidRecord, RegistryUnavailable
from monitor.counts.catalogue import Catalogue
from monitor.counts.generation import decode_generation, definition_of, encode_definition, generation_of
from monitor.counts.state import FILE_NAME
from monitor.pages.queries import open_reader


class Registry:
    """One version's reference, and how often it was asked for."""

    def __init__(self, reference=None, metadata=None):
        self.reference, self.metadata, self.asked, self.error = reference, metadata, 0, None

    def reference_of(self, model, version):
        self.asked += 1
        if self.error:
            raise self.error
        return self.reference

    def catalogue(self, **given):
        return Catalogue(self.reference_of, lambda *_: self.metadata, **given)


def test_a_reference_that_is_built_later_begins_a_new_generation(world, tmp_path):
    registry, entries, path = Registry(), [], tmp_path / FILE_NAME
    consumer = world.make_consumer(path, entries, registry.catalogue(refresh_us=100))
    for tick, reference_hash in enumerate(["", "r1", "r1", "r2"]):
        if reference_hash:
            registry.reference = world.make_reference("binary", reference_hash=reference_hash)
        entries.append(world.entry("a" * 32, tick + 1, world.make_prediction(world.uuid7(1, tick))))
        consumer.tick(tick * 100)
    consumer.close()

    reader = open_reader(path)
    rows = {
        group.reference_hash: int(reader.merged(group)[reader.generation(group).layout.sections["rows"].start])
        for group in reader.groups()
    }
    reader.close()
    assert rows == {"": 1, "r1": 2, "r2": 1}


def test_a_label_goes_to_the_generation_of_its_prediction(world, tmp_path):
    registry, path = Registry(world.make_reference("binary", reference_hash="old")), tmp_path / FILE_NAME
    entries = [world.entry("a" * 32, 1, world.make_prediction(world.uuid7(1, 1)))]
    consumer = world.make_consumer(path, entries, registry.catalogue(refresh_us=1))
    consumer.tick(0)
    consumer.close()

    registry.reference = world.make_reference("binary", reference_hash="new")
    entries.append(world.entry("a" * 32, 2, world.make_label(world.uuid7(1, 1), 1)))
    entries.append(world.entry("a" * 32, 3, world.make_prediction(world.uuid7(1, 2))))
    consumer.tick(10**9)
    consumer.close()

    reader = open_reader(path)
    labelled = {
        group.reference_hash: int(reader.merged(group)[reader.generation(group).layout.sections["labelled"].start])
        for group in reader.groups()
    }
    reader.close()
    assert labelled == {"old": 1, "new": 0}


def test_the_registry_is_asked_no_more_often_than_the_refresh_says(world):
    registry = Registry(world.make_reference("binary"))
    catalogue = registry.catalogue(refresh_us=1000)

    same = [catalogue.generation("m", "1", "d", now_us) for now_us in range(0, 3000, 100)]

    assert registry.asked == 3
    assert all(generation is same[0] for generation in same)


def test_the_last_word_counts_while_the_registry_is_away(world):
    registry = Registry(world.make_reference("binary"))
    catalogue = registry.catalogue(refresh_us=1)
    known = catalogue.generation("m", "1", "d", 0)
    registry.error = RegistryUnavailable("away")

    assert catalogue.generation("m", "1", "d", 10) is known
    with pytest.raises(RegistryUnavailable):
        catalogue.generation("m", "2", "d", 10)


def test_an_unusable_reference_is_counted_and_left_out(world, tmp_path):
    registry, path = Registry(), tmp_path / FILE_NAME
    registry.error = InvalidRecord("not a reference")
    entries = [world.entry("a" * 32, 1, world.make_prediction(world.uuid7(1, 1)))]

    world.run(world.make_consumer(path, entries, registry.catalogue()))

    assert world.read_counters(path) == {("reference_rejected", "m", "1", ""): 1}
    assert {key.reference_hash for key, _ in world.read_counts(path)} == {""}


def test_a_catalogue_holds_no_more_versions_than_it_may(world):
    registry = Registry(world.make_reference("binary"))
    catalogue = registry.catalogue(refresh_us=10**9, versions_max=3)
    for version in range(10):
        catalogue.generation("m", str(version), "d", 0)

    assert registry.asked == 10
    catalogue.generation("m", "9", "d", 0)
    assert registry.asked == 10
    catalogue.generation("m", "0", "d", 0)
    assert registry.asked == 11


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_generation_comes_back_from_its_definition_as_it_was(world, kind):
    made = generation_of("m", "1", "d", definition_of(world.make_reference(kind), None))

    again = decode_generation("m", "1", "d", encode_definition(made))

    assert again.fingerprint == made.fingerprint
    assert (again.layout, again.slices, again.features.names) == (made.layout, made.slices, made.features.names)


def test_the_references_slices_and_task_count_before_the_metadatas(world, metadata):
    assert definition_of(None, metadata).task == world.TASKS["binary"]
    both = definition_of(world.make_reference("regression"), metadata)
    assert both.task.kind == "regression"
    assert both.slices == world.make_reference("regression").slices


def test_a_clock_that_is_set_back_does_not_keep_an_old_word(world):
    registry = Registry()
    catalogue = registry.catalogue(refresh_us=1000)
    assert catalogue.generation("m", "1", "d", 10**9).definition.reference is None
    registry.reference = world.make_reference("binary")

    assert catalogue.generation("m", "1", "d", 5).definition.reference is not None
