"""What one model is at one moment: its plan, its loaded versions, its aliases; immutable, swapped as a whole.

Enters: a plan laid out for lookup and the runners of its versions. Leaves: who runs what. A request takes one `Serving`
and keeps it to its record, so that it is routed, run and logged under exactly one revision. Never changes.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from contracts.errors import NotFound, NotReady
from contracts.plan import VersionRef
from gateway.models.batching import Batcher
from gateway.models.inputs import Union
from gateway.models.sessions import Session
from gateway.traffic.routing import Points, Variant


class Runner(NamedTuple):
    """One loaded version: its session, the queue for answers, and the queue for shadow work."""

    label: str
    session: Session
    answers: Batcher
    shadows: Batcher

    @property
    def ref(self) -> VersionRef:
        """The version and digest that this runs."""
        return VersionRef(version=self.session.fetched.version, digest=self.session.fetched.digest)


class Serving(NamedTuple):
    """One model. `runners` holds every version behind the plan and every aliased one; `registered` are all version names
    of the registry, oldest to newest; `pinnable` maps version names and aliases to runners; `rejection` says why this worker
    rejects a version, empty where it does not.
    """

    points: Points
    runners: Mapping[VersionRef, Runner]
    union: Union
    aliases: Mapping[str, str]
    registered: tuple[str, ...]
    pinnable: Mapping[str, Runner]
    rejection: Callable[[str], str]

    def runner(self, variant: Variant) -> Runner:
        """The runner behind a variant; `NotReady` where its version could not be loaded when this worker started."""
        runner = self.runners.get(variant.ref)
        if runner is None:
            raise NotReady(
                f"version {variant.ref.version!r} of {self.points.plan.model!r} is not at ready state in this worker"
            )
        return runner

    def pinned(self, name: str) -> Runner:
        """The runner of a version or alias in a path; `NotFound` or `NotReady` says what to do."""
        runner = self.pinnable.get(name)
        if runner is not None:
            return runner
        model = self.points.plan.model
        if name in self.registered or name in self.aliases:
            rejection = self.rejection(self.aliases.get(name, name))
            todo = f"it is rejected: {rejection}" if rejection else "give it an alias or a place in the plan"
            raise NotReady(f"version {name!r} of {model!r} is not at ready state: {todo}")
        known = ", ".join([*self.registered, *self.aliases])
        raise NotFound(f"model {model!r} has no version or alias {name!r}: there are {known}")

    def sheds(self) -> bool:
        """Whether more is asked than the champion can answer, so that requests are refused unread."""
        return self.runner(self.points.champion).answers.sheds()

    def variant_of(self, ref: VersionRef) -> Variant:
        """The variant that a pinned version plays in the plan, or one named `pinned` where it plays none."""
        for variant in self.points.named.values():
            if variant.ref == ref and variant.role != "shadow":
                return variant
        return Variant("pinned", ref, "challenger", 0.0)
