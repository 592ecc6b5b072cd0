"""Which versions this process is loading, and which it had to reject, why and since when.

Enters: what became of each attempt to fetch, load or try a version. Leaves: what others are told of it. A rejection stands
until the version is loaded after all: it is what the last attempt found. Never fetches or loads anything.

Bound: STATES_MAX versions; the oldest rejection makes room, and would only be found again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from contracts.errors import ModelRejected
from contracts.version_state import VersionState

STATES_MAX: Final = 256
REASON_CHARS_MAX: Final = 500


class VersionStates:
    """Of one process. `now_us` gives microseconds since the epoch."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._states: dict[tuple[str, str], VersionState] = {}

    @contextmanager
    def trying(self, model: str, version: str) -> Iterator[None]:
        """An attempt that is meant to end with the version loaded, or proven to be loadable."""
        before = self._states.get((model, version))
        if before is None:
            self._put(model, VersionState(version=version, state="loading", since_us=self._now_us()))
        try:
            yield
        except ModelRejected as error:
            self._reject(model, version, str(error))
            raise
        except BaseException:
            # nobody knows yet: what was found before, if anything, still is what was found last
            if before is None:
                self._states.pop((model, version), None)
            raise
        else:
            self._states.pop((model, version), None)

    @contextmanager
    def fetching(self, model: str, version: str) -> Iterator[None]:
        """An attempt that may find a version bad, but not that it is good."""
        try:
            yield
        except ModelRejected as error:
            self._reject(model, version, str(error))
            raise

    def of(self, model: str) -> dict[str, VersionState]:
        """What there is to say of a model's versions, by version."""
        return {state.version: state for (name, _), state in self._states.items() if name == model}

    def rejection(self, model: str, version: str) -> str:
        """Why a version is rejected; empty where it is not."""
        state = self._states.get((model, version))
        return state.reason if state is not None and state.state == "rejected" else ""

    def all(self) -> dict[str, tuple[VersionState, ...]]:
        """What there is to say of every model's versions."""
        return {model: tuple(self.of(model).values()) for model in sorted({name for name, _ in self._states})}

    def _reject(self, model: str, version: str, said: str) -> None:
        reason = _short(model, version, said)
        before = self._states.get((model, version))
        if before is None or before.reason != reason:
            # a second attempt that finds the same tells nothing new, least of all another time
            self._put(model, VersionState(version=version, state="rejected", reason=reason, since_us=self._now_us()))

    def _put(self, model: str, state: VersionState) -> None:
        self._states.pop((model, state.version), None)
        self._states[model, state.version] = state
        while len(self._states) > STATES_MAX:
            del self._states[next(iter(self._states))]


def _short(model: str, version: str, said: str) -> str:
    """The reason without the name of the version, which stands beside it anyway."""
    for name in (f"{model} version {version}: ", f"version {version} of {model!r} cannot be served: "):
        said = said.removeprefix(name)
    return said[:REASON_CHARS_MAX]
