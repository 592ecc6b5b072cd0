"""Files of labels: the same rows from every format, and a rejection that names the line and the column."""

import json
from datetime import UTC, datetime

import pytest

from contracts.errors import InvalidInput
from pointsman.label_file import count_rows, read_labels

ROWS = [
    {"prediction_id": "a", "label": 1},
    {"prediction_id": "b#3", "label": 0.5, "observed_at": "2013-04-01T12:00:00Z", "label_version": 2},
    {"prediction_id": "c", "label": None, "op": "retract"},
    {"prediction_id": "d", "label": "late"},
    {"prediction_id": "e", "label": True},
]


def rows_of(path):
    return list(read_labels(path))


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_labels_are_read_as_json_writes_them_and_else_as_text(tmp_path):
    path = written(
        tmp_path,
        "labels.csv",
        "prediction_id,label,observed_at,label_version,op\n"
        "a,1,,,\nb#3,0.5,2013-04-01T12:00:00Z,2,\nc,,,,retract\nd,late,,,\ne,true,,,\n",
    )
    assert rows_of(path) == ROWS


def test_a_csv_label_that_must_stay_text_is_quoted_as_json(tmp_path):
    path = written(tmp_path, "labels.csv", 'prediction_id,label\na,"""1"""\nb,[1]\nc,007\n')
    assert [row["label"] for row in rows_of(path)] == ["1", "[1]", "007"]


def test_json_lines_give_the_same_rows_and_skip_empty_lines(tmp_path):
    path = written(tmp_path, "labels.jsonl", "\n\n".join(json.dumps(row) for row in ROWS) + "\n")
    assert rows_of(path) == ROWS


def test_parquet_keeps_integers_beside_missing_values_integers(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "labels.parquet"
    frame = pandas.DataFrame(
        {
            "prediction_id": ["a", "b", "c"],
            "label": pandas.array([1, 0, None], dtype="Int64"),
            "observed_at": pandas.to_datetime(["2013-04-01T12:00:00Z", None, "2013-04-02T12:00:00Z"], utc=True),
            "op": [None, None, "retract"],
        }
    )
    frame.to_parquet(path)
    rows = rows_of(path)
    assert [(row["label"], type(row["label"])) for row in rows] == [(1, int), (0, int), (None, type(None))]
    assert rows[0]["observed_at"] == "2013-04-01T12:00:00+00:00"
    assert "observed_at" not in rows[1]
    assert count_rows(path) == 3


def test_a_parquet_time_without_a_zone_is_refused_not_guessed(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "labels.parquet"
    frame = pandas.DataFrame({"prediction_id": ["a"], "label": [1], "observed_at": [datetime(2013, 4, 1)]})  # noqa: DTZ001
    frame.to_parquet(path)
    with pytest.raises(InvalidInput, match=r"labels.parquet:1: .*no time zone"):
        rows_of(path)
    frame["observed_at"] = [datetime(2013, 4, 1, tzinfo=UTC)]
    frame.to_parquet(path)
    assert len(rows_of(path)) == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labels.txt", "a,1\n", "must end in .csv"),
        ("labels.csv", "prediction_id,lable\na,1\n", "labels.csv:2: column 'lable' is unknown"),
        ("labels.csv", "label\n1\n", "labels.csv:2: column 'prediction_id' is missing"),
        ("labels.csv", "prediction_id,label\na,1\n,0\n", "labels.csv:3: column 'prediction_id' is missing or empty"),
        ("labels.csv", "prediction_id,label\na,1,2\n", "labels.csv:2: more cells"),
        ("labels.csv", 'prediction_id,label\na,"1\n', "labels.csv:.*not CSV"),
        ("labels.jsonl", '{"prediction_id": "a"}\n{"prediction_id"\n', "labels.jsonl:2: not JSON"),
        ("labels.csv", "prediction_id,label,label\na,1,2\n", "names a column twice"),
        ("labels.jsonl", '{"prediction_id": "a", "label": NaN}\n', "labels.jsonl:1: not JSON"),
        ("labels.jsonl", "[1]\n", "labels.jsonl:1: one JSON object a line"),
        ("labels.jsonl", '{"prediction_id": "a", "label": 1, "x": 2}\n', "labels.jsonl:1: column 'x' is unknown"),
        ("labels.parquet", "no parquet", "labels.parquet: not Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_by_line_and_column(tmp_path, name, text, reason):
    with pytest.raises(InvalidInput, match=reason):
        rows_of(written(tmp_path, name, text))


def test_bytes_that_are_no_text_are_refused_by_name(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"prediction_id,label\n\xff\xfe,1\n")
    with pytest.raises(InvalidInput, match=r"labels.csv: not UTF-8"):
        rows_of(path)


def test_rows_are_counted_before_they_are_read(tmp_path):
    assert count_rows(written(tmp_path, "labels.csv", "prediction_id,label\na,1\nb,0\n")) == 2
    assert count_rows(written(tmp_path, "labels.jsonl", '{"prediction_id":"a"}\n')) == 1
    assert count_rows(written(tmp_path, "empty.csv", "")) == 0
