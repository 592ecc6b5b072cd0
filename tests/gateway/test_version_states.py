"""What is remembered of attempts to load versions: for how long, what of it, and how much at most."""

import asyncio

import pytest

from contracts.errors import ModelRejected, RegistryUnavailable
from gateway.models.version_states import REASON_CHARS_MAX, STATES_MAX, VersionStates


@pytest.fixture
def states():
    ticks = iter(range(1, 10**6))
    return VersionStates(lambda: next(ticks))


def rejected(states, version, reason, model="m"):
    with pytest.raises(ModelRejected), states.trying(model, version):
        raise ModelRejected(reason)


def told(states, model="m"):
    return {version: (state.state, state.reason, state.since_us) for version, state in states.of(model).items()}


def test_an_attempt_is_seen_while_it_lasts_and_leaves_nothing_where_it_succeeds(states):
    with states.trying("m", "1"):
        assert told(states) == {"1": ("loading", "", 1)}
        with states.trying("m", "1"):
            assert told(states) == {"1": ("loading", "", 1)}
    assert (told(states), states.all()) == ({}, {})


def test_a_rejection_stands_through_further_attempts_until_one_succeeds(states):
    rejected(states, "1", "no graph")
    assert told(states) == {"1": ("rejected", "no graph", 2)}
    with states.trying("m", "1"):
        assert told(states) == {"1": ("rejected", "no graph", 2)}
    assert told(states) == {}
    assert states.rejection("m", "1") == ""


def test_the_same_reason_again_keeps_its_time_and_another_has_its_own(states):
    rejected(states, "1", "no graph")
    rejected(states, "1", "no graph")
    assert told(states) == {"1": ("rejected", "no graph", 2)}
    rejected(states, "1", "NaN")
    assert told(states) == {"1": ("rejected", "NaN", 3)}


@pytest.mark.parametrize("error", [RegistryUnavailable("away"), asyncio.CancelledError(), MemoryError()])
def test_an_attempt_that_finds_nothing_out_changes_nothing(states, error):
    rejected(states, "1", "no graph")
    for version in ("1", "2"):
        with pytest.raises(type(error)), states.trying("m", version):
            raise error
    assert told(states) == {"1": ("rejected", "no graph", 2)}


def test_files_that_can_be_fetched_prove_nothing(states):
    with pytest.raises(ModelRejected), states.fetching("m", "1"):
        raise ModelRejected("no graph")
    with states.fetching("m", "1"):
        pass
    assert told(states) == {"1": ("rejected", "no graph", 1)}


def test_an_attempt_within_an_attempt_is_told_once(states):
    with pytest.raises(ModelRejected), states.trying("m", "1"), states.trying("m", "1"):
        raise ModelRejected("no graph")
    assert told(states) == {"1": ("rejected", "no graph", 2)}


@pytest.mark.parametrize(
    "said",
    ["m version 1: no graph", "version 1 of 'm' cannot be served: no graph", "no graph"],
)
def test_a_reason_does_not_repeat_what_stands_beside_it(states, said):
    rejected(states, "1", said)
    assert states.rejection("m", "1") == "no graph"


def test_models_and_versions_are_kept_apart(states):
    rejected(states, "1", "a")
    rejected(states, "2", "b")
    rejected(states, "1", "c", model="other")
    assert {model: [state.reason for state in found] for model, found in states.all().items()} == {
        "m": ["a", "b"],
        "other": ["c"],
    }
    assert states.rejection("other", "2") == ""


def test_memory_is_bounded_in_versions_and_in_words(states):
    for version in range(STATES_MAX + 3):
        rejected(states, str(version), "long " * 1000)
    kept = states.of("m")
    assert list(kept) == [str(version) for version in range(3, STATES_MAX + 3)]
    assert {len(state.reason) for state in kept.values()} == {REASON_CHARS_MAX}
