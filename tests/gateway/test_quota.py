"""A client's bucket: a second's worth at once, then the rate; clients do not share."""

import pytest

from contracts.errors import QuotaExceeded
from gateway.quota import CLIENTS_MAX, Quota

SECOND = 10**9


def taken(quota, client, now_ns, times):
    """How many of so many requests are let in."""
    let_in = 0
    for _ in range(times):
        try:
            quota.take(client, now_ns)
        except QuotaExceeded:
            continue
        let_in += 1
    return let_in


def test_a_burst_of_a_second_and_then_the_rate():
    quota = Quota(10)
    assert taken(quota, "a", 0, 50) == 10
    assert taken(quota, "a", SECOND // 2, 50) == 5
    assert taken(quota, "a", 100 * SECOND, 50) == 10, "rest is not saved up"


def test_who_asks_too_early_is_told_when_to_come_and_pays_nothing_for_asking():
    quota = Quota(2)
    assert taken(quota, "a", 0, 2) == 2
    with pytest.raises(QuotaExceeded, match=r"a may send 2 requests a second .*: send the next in 0\.5 s"):
        quota.take("a", 0)
    assert taken(quota, "a", SECOND // 4, 100) == 0
    assert taken(quota, "a", SECOND // 2, 100) == 1


def test_less_than_one_a_second_lets_one_in_at_a_time():
    quota = Quota(0.5)
    assert taken(quota, "a", 0, 5) == 1
    assert taken(quota, "a", SECOND, 5) == 0
    assert taken(quota, "a", 2 * SECOND, 5) == 1


def test_clients_do_not_share_and_their_number_is_bounded():
    quota = Quota(1)
    assert [taken(quota, name, 0, 3) for name in "abc"] == [1, 1, 1]
    for number in range(2 * CLIENTS_MAX):
        quota.take(f"other {number}", 0)
    assert len(quota._buckets) == CLIENTS_MAX
    assert taken(quota, "a", 0, 3) == 1, "forgotten, so it begins anew"
