"""Where reading begins: nothing that was written since then is passed over."""

import pytest

from contracts.errors import InvalidInput
from pointsman.explaining import positions_from, read_id
from prediction_log.position import Position
from prediction_log.spool.listing import SegmentRow


def rows(*since_us, log_id="a", step=10):
    """Segments made at these times, each with so many records."""
    return [
        SegmentRow(
            slot="worker-0", log_id=log_id, segment=number, state="written", level=None, bytes=1,
            last_seq=step * (number + 1), since_us=since,
        )
        for number, since in enumerate(since_us)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("from_us", "segment", "seq"),
    [(0, None, None), (100, None, None), (250, None, None), (350, 1, 10), (400, 2, 20), (10_000, 2, 20)],
)
def test_reading_begins_one_segment_before_the_last_that_was_made_by_then(from_us, segment, seq):
    found = positions_from(rows(100, 200, 300, 400), from_us)
    expected = {} if segment is None else {"a": Position(segment=segment, seq=seq)}
    assert found == expected


def test_where_the_seq_or_the_time_of_a_segment_is_unknown_more_is_read():
    damaged = rows(100, 200, 300)
    damaged[2] = SegmentRow(
        slot="worker-0", log_id="a", segment=2, state="written", level=None, bytes=1, last_seq=None, since_us=None
    )
    assert positions_from(damaged, 10_000) == {}


def test_an_id_says_when_it_was_made():
    asked = read_id("01907a6d-9000-7000-8000-000000000001#3")
    assert (asked.row, asked.made_us) == (3, 0x01907A6D9000 * 1000)
    assert asked.made.startswith("2024-07-03T")


@pytest.mark.parametrize(
    "text", ["", "x", "01907a6d-9000-4000-8000-000000000001", "01907a6d-9000-7000-8000-000000000001#-1"]
)
def test_what_no_reply_carried_is_refused(text):
    with pytest.raises(InvalidInput, match="prediction id"):
        read_id(text)
