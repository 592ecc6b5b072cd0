"""Partitions are shared out evenly, and stay where their state is."""

from aiokafka.cluster import ClusterMetadata
from hypothesis import given
from hypothesis import strategies as st

from prediction_log.kafka.assignment import LawAssignor, Wishes, share_out

PARTITIONS = st.integers(0, 40)
LISTS = st.lists(st.integers(-3, 60), max_size=50)
WISHES = st.builds(Wishes, held=LISTS, kept=LISTS)


@given(st.dictionaries(st.text(min_size=1, max_size=3), WISHES, min_size=1, max_size=9), PARTITIONS)
def test_every_partition_has_one_owner_and_nobody_two_more_than_another(wishes, partitions):
    shares = share_out(wishes, partitions)

    assert shares.keys() == wishes.keys()
    assert sorted(partition for share in shares.values() for partition in share) == list(range(partitions))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 9), PARTITIONS)
def test_a_group_that_does_not_change_moves_nothing(members, partitions):
    shares = share_out({f"m{number}": Wishes() for number in range(members)}, partitions)

    assert share_out({name: Wishes(held=share) for name, share in shares.items()}, partitions) == shares


@given(st.integers(1, 8), PARTITIONS)
def test_a_member_that_leaves_moves_only_its_own(members, partitions):
    shares = share_out({f"m{number}": Wishes() for number in range(members + 1)}, partitions)
    gone = shares.pop("m0")

    after = share_out({name: Wishes(held=share) for name, share in shares.items()}, partitions)

    moved = {p for name, share in shares.items() for p in share if p not in after[name]}
    assert len(moved) <= 1 if partitions % members else moved == set()
    assert set().union(*after.values()) == set(gone).union(*shares.values())


def test_what_a_member_holds_goes_before_what_another_has_on_disk():
    shares = share_out({"a": Wishes(kept=[0, 1]), "b": Wishes(held=[0, 1])}, 4)

    assert shares == {"a": [2, 3], "b": [0, 1]}


def test_a_member_that_comes_again_gets_what_lies_on_its_disk():
    shares = share_out({"a": Wishes(held=[0, 1, 2, 3]), "b": Wishes(kept=[1, 2])}, 4)

    assert shares == {"a": [0, 3], "b": [1, 2]}


def test_nobody_gets_partitions_beyond_the_law_and_words_that_are_none_are_no_wishes():
    assignor = LawAssignor(2, lambda: Wishes(held=[1]))
    cluster = ClusterMetadata()
    cluster._partitions = {"t": dict.fromkeys(range(3))}
    said = assignor.metadata(["t"])
    garbled = assignor.metadata(["t"])
    garbled.user_data = b"\xff"

    assigned = assignor.assign(cluster, {"a": garbled, "b": said})

    assert {name: one.assignment for name, one in assigned.items()} == {"a": [("t", [0])], "b": [("t", [1])]}
