"""Query parameters: what is asked is what was written, and every rejection names the parameter and the value."""

import pytest

from contracts.errors import InvalidInput
from monitor.pages.question import BUCKETS_US, Question, question_of


def test_no_parameter_asks_for_everything():
    assert question_of([]) == Question()


def test_every_parameter_lands_in_its_place():
    asked = question_of(
        [
            ("model", "m"),
            ("version", "2"),
            ("variant", "canary"),
            ("slice", "origin=EWR"),
            ("feature", "temp"),
            ("statistic", "psi"),
            ("from", "1970-01-01T00:00:01Z"),
            ("to", "1970-01-01T02:00:00+02:00".replace("02:00:00", "02:00:02")),
            ("bucket", "1h"),
        ]
    )
    assert asked == Question("m", "2", "canary", "origin=EWR", "temp", "psi", 1_000_000, 2_000_000, 3_600_000_000)


def test_an_empty_slice_is_all_traffic_and_no_slice_is_every_slice():
    assert question_of([("slice", "")]).slice == ""
    assert question_of([]).slice is None


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("modle", "m")], "'modle' is unknown"),
        ([("model", "a"), ("model", "b")], "'model' is given twice"),
        ([("from", "yesterday")], "from: 'yesterday'"),
        ([("from", "2013-04-01")], "from: '2013-04-01'"),
        ([("to", "2013-04-01T00:00:00")], "to: '2013-04-01T00:00:00'"),
        ([("from", "2013-04-01T00:00:00 02:00")], "from: "),
        ([("from", "2013-04-02T00:00:00Z"), ("to", "2013-04-01T00:00:00Z")], "is not before to"),
        ([("from", "2013-04-01T00:00:00Z"), ("to", "2013-04-01T00:00:00Z")], "is not before to"),
        ([("bucket", "3m")], "'3m' is none of 5m, 1h, 1d, 7d"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_name(pairs, reason):
    with pytest.raises(InvalidInput, match=reason):
        question_of(pairs)


def test_every_bucket_is_a_whole_number_of_panes():
    assert all(width % BUCKETS_US["5m"] == 0 for width in BUCKETS_US.values())
