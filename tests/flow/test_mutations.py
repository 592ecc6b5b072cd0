"""The tests would notice: safeguards are switched off one by one, and the test that guards each turns red. All: `make mutate`."""

import pytest

from tests.flow.mutations import MUTATIONS, noticed

SLOW = {"cursor_moves_before_acknowledgement"}
"""Noticed only when what should come does not come: half a minute."""
QUICK = [one for one in MUTATIONS if one.name not in SLOW]


@pytest.mark.parametrize("mutation", QUICK, ids=[one.name for one in QUICK])
def test_a_safeguard_that_is_switched_off_turns_a_test_red(kafka, mutation):
    objection, said = noticed(mutation, kafka.address)

    assert objection is not None, said[-4000:]
