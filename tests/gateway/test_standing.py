"""A burst may wait, a queue may not stand."""

from gateway.models.standing import INTERVAL_NS, RUNS_AHEAD, Standing

RUN_NS = 10_000_000
LONG_NS = RUNS_AHEAD * RUN_NS + 1


def test_a_queue_stands_when_it_was_longer_than_is_of_use_for_an_interval():
    standing = Standing()
    assert not standing.seen(0, LONG_NS, RUN_NS)
    assert not standing.seen(INTERVAL_NS - 1, 100 * LONG_NS, RUN_NS), "a burst, however large"
    assert standing.seen(INTERVAL_NS, LONG_NS, RUN_NS)
    assert standing.seen(9 * INTERVAL_NS, LONG_NS, RUN_NS)


def test_one_moment_without_a_needless_wait_ends_it():
    standing = Standing()
    standing.seen(0, LONG_NS, RUN_NS)
    assert standing.seen(INTERVAL_NS, LONG_NS, RUN_NS)
    assert not standing.seen(INTERVAL_NS + 1, LONG_NS - 1, RUN_NS)
    assert not standing.seen(INTERVAL_NS + 2, LONG_NS, RUN_NS)
    assert not standing.seen(2 * INTERVAL_NS + 1, LONG_NS, RUN_NS)
    assert standing.seen(2 * INTERVAL_NS + 2, LONG_NS, RUN_NS)
