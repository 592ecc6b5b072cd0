"""Labels that come in are sound or refused one by one, with the reason."""

import json

import pytest

from contracts.errors import InvalidInput
from contracts.label import Label
from gateway.labels import LABELS_MAX, encode_summary, take_labels

NOW_US = 1_364_817_600_000_000
ID = "0193b2a0-7c3d-7e4f-8a5b-6c7d8e9f0a1b"


def take(*labels):
    return take_labels(json.dumps({"labels": labels}).encode(), NOW_US)


def reasons(*labels):
    return [refused.reason for refused in take(*labels).refused]


def test_a_full_label_is_taken_as_it_was_sent():
    taken = take(
        {
            "prediction_id": f"{ID}#2",
            "label": 1,
            "observed_at": "2013-04-01T12:00:00+02:00",
            "label_version": 3,
            "op": "upsert",
        }
    )

    assert taken.labels == [
        Label(prediction_id=f"{ID}#2", label=1, observed_us=1_364_810_400_000_000, received_us=NOW_US, label_version=3)
    ]
    assert taken.refused == []


@pytest.mark.parametrize("value", [0, 1, True, False, 0.25, "late", -3, 1e300])
def test_values_keep_their_type(value):
    (label,) = take({"prediction_id": ID, "label": value}).labels

    assert label.label == value
    assert type(label.label) is type(value)
    assert label.observed_us == NOW_US


def test_a_retraction_carries_no_label():
    (label,) = take({"prediction_id": ID, "op": "retract"}).labels

    assert (label.label, label.op) == (None, "retract")
    assert reasons({"prediction_id": ID, "op": "retract", "label": 1}) == [
        "label: 1 with op retract; a retraction carries no label"
    ]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"prediction_id": ID}, "label: missing or null"),
        ({"prediction_id": ID, "label": None}, "label: missing or null"),
        ({"prediction_id": ID, "label": [1]}, "Expected `bool | int | float | str | null`, got `array`"),
        ({"prediction_id": "x", "label": 1}, "prediction_id: 'x' is none that a reply carried"),
        ({"prediction_id": ID.upper(), "label": 1}, "is not in canonical form"),
        ({"prediction_id": f"{ID}#", "label": 1}, "after '#' comes a row number"),
        ({"prediction_id": f"{ID}#-1", "label": 1}, "after '#' comes a row number"),
        ({"prediction_id": ID, "label": 1, "observed_at": "yesterday"}, "observed_at: 'yesterday' is not RFC 3339"),
        ({"prediction_id": ID, "label": 1, "observed_at": "2013-04-01T12:00:00"}, "names no moment with an offset"),
        ({"prediction_id": ID, "label": 1, "label_version": -1}, "label_version: -1"),
        ({"prediction_id": ID, "label": 1, "op": "delete"}, "Invalid enum value 'delete'"),
        ({"prediction_id": ID, "lable": 1}, "unknown field `lable`"),
        ({"prediction_id": ID, "label": "x" * 2000}, "label: 2000 characters"),
    ],
)
def test_a_bad_label_is_refused_by_reason_and_its_neighbours_are_taken(sent, reason):
    taken = take({"prediction_id": ID, "label": 0}, sent, {"prediction_id": ID, "label": 1})

    assert [label.label for label in taken.labels] == [0, 1]
    assert [refused.index for refused in taken.refused] == [1]
    assert reason in taken.refused[0].reason
    assert json.loads(encode_summary(taken)) == {
        "accepted": 2,
        "refused": [{"index": 1, "reason": taken.refused[0].reason}],
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"labels": 1}', b'{"labels": []} x', b'{"lables": []}', b"[" * 100_000]
)
def test_a_request_that_is_none_is_refused_whole(body):
    with pytest.raises(InvalidInput, match="labels: "):
        take_labels(body, NOW_US)


def test_the_number_of_labels_is_bounded():
    with pytest.raises(InvalidInput, match=f"send at most {LABELS_MAX} at once"):
        take(*[{"prediction_id": ID, "label": 1}] * (LABELS_MAX + 1))
