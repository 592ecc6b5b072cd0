"""Who of a consumer group reads which partitions: evenly many each, and where possible those whose state it has already.

Enters: what each member would like. Leaves: partitions by member. Partition p of all topics goes to one member together,
because a prediction and its labels meet there. Partitions beyond the law are nobody's. Moving a partition costs its new
owner a state made from the topics, so members keep what they have: first what they held until now, then what they still
have on disk; and what has to move goes to whoever has it on disk.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

_VERSION: Final = 0


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a member says as it joins: the partitions it held until now, and those whose state lies on its disk."""

    held: list[int] = []
    kept: list[int] = []


class LawAssignor:
    """Shares out the partitions that the law knows. `wishes` is asked whenever this member joins."""

    name = "pointsman-law"

    def __init__(self, partitions: int, wishes: Callable[[], Wishes]) -> None:
        self._partitions = partitions
        self._wishes = wishes

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this member sends as it joins."""
        return ConsumerProtocolMemberMetadata(_VERSION, list(topics), msgspec.json.encode(self._wishes()))

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """What each member gets; asked of one member, for all."""
        shares = share_out({member: _wishes_of(said.user_data) for member, said in members.items()}, self._partitions)
        assigned = {}
        for member, said in members.items():
            there = {topic: cluster.partitions_for_topic(topic) or set() for topic in said.subscription}
            rows = [(topic, [p for p in shares[member] if p in there[topic]]) for topic in sorted(there)]
            assigned[member] = ConsumerProtocolMemberAssignment(_VERSION, rows, b"")
        return assigned

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing is remembered here."""


def share_out(wishes: Mapping[str, Wishes], partitions: int) -> dict[str, list[int]]:
    """The partitions of each member: no member has two more than another.

    >>> share_out({"a": Wishes(held=[0, 1, 2, 3]), "b": Wishes(kept=[3])}, 5)
    {'a': [0, 1, 2], 'b': [3, 4]}
    """
    members = sorted(wishes)
    if not members:
        return {}
    least, spare = divmod(partitions, len(members))
    shares: dict[str, list[int]] = {member: [] for member in members}
    free = set(range(partitions))
    kept = {member: set(wishes[member].kept) for member in members}
    claims = []
    for member in members:  # who has to give some up keeps those that nobody else could go on with
        wanted: set[int] = set().union(*(kept[other] for other in members if other != member))
        claims += [(member, p) for p in sorted(wishes[member].held, key=lambda p: (p in wanted, p))]
    claims += [(member, partition) for member in members for partition in wishes[member].kept]
    for room in (least, least + 1):
        for member, partition in claims:
            full = len(shares[member]) >= room or (room > least and not spare)
            if partition in free and not full:
                free.remove(partition)
                shares[member].append(partition)
                spare -= room > least
    for partition in sorted(free):
        shares[min(members, key=lambda member: len(shares[member]))].append(partition)
    return {member: sorted(share) for member, share in shares.items()}


def _wishes_of(said: bytes) -> Wishes:
    """A member's wishes; none where it says nothing that can be understood."""
    try:
        return msgspec.json.decode(said or b"{}", type=Wishes)
    except (msgspec.MsgspecError, UnicodeError):
        return Wishes()
