"""The monitor over HTTP, on a history counted by the real monitor: what is asked is answered, what is wrong is refused."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from contracts.errors import Overloaded, PointsmanError, StoreUnavailable
from contracts.statistic import Statistic
from contracts.wire import decode, encode
from monitor.pages.http import STATUS_OF, status_of
from monitor.pages.queries import StateReader
from monitor.pages.windows import WINDOWS_MAX


@pytest.fixture
def client(world, answers, clock):
    with world.browse(answers, clock) as client:
        yield client


def rows_of(client, **asked):
    response = client.get("/summaries", params=asked)
    assert response.status_code == 200, response.text
    return response.json()["rows"]


def values(rows, name):
    return {row[name] for row in rows}


def test_every_row_is_a_statistic_with_exactly_the_documented_fields(client):
    rows = rows_of(client)
    assert rows
    for row in rows:
        assert list(row) == [
            *("model", "version", "variant", "slice", "from", "to"),
            *("feature", "statistic", "value", "low", "high", "n", "status"),
        ]
        assert encode(decode(Statistic, json.dumps(row).encode()))


def test_the_statistics_that_are_promised_are_there(client):
    promised = {
        "psi",
        "ks",
        "js",
        "missing_rate",
        "unseen_rate",
        "auc",
        "precision",
        "recall",
        "log_loss",
        "brier",
        "ece",
    }
    assert promised | {"label_coverage", "predictions", "error_rate"} <= values(rows_of(client), "statistic")


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "flight-delay", "version": "2"},
        {"variant": "champion"},
        {"slice": "origin=EWR"},
        {"feature": "distance"},
        {"statistic": "psi", "variant": "shadow-3", "slice": "origin=JFK", "feature": "hour"},
    ],
)
def test_a_name_keeps_exactly_the_rows_that_have_it(client, asked):
    everything = rows_of(client)
    wanted = [row for row in everything if all(row[name] == value for name, value in asked.items())]
    assert wanted
    assert rows_of(client, **asked) == wanted


def test_asking_for_one_statistic_gives_the_same_rows_as_asking_for_all(client):
    who = {"variant": "champion", "slice": ""}
    everything = rows_of(client, **who)
    for statistic in sorted(values(everything, "statistic")):
        own = [row for row in everything if row["statistic"] == statistic]
        assert rows_of(client, statistic=statistic, **who) == own


def test_the_empty_slice_and_the_slice_all_are_all_traffic(client):
    assert values(rows_of(client, slice=""), "slice") == {""}
    assert rows_of(client, slice="all") == rows_of(client, slice="")


def test_the_champion_comes_first(client):
    assert rows_of(client)[0]["variant"] == "champion"


def test_what_nobody_has_is_an_empty_answer_not_an_error(client):
    for asked in ({"model": "no-such"}, {"version": "99"}, {"slice": "origin=nowhere"}, {"statistic": "no_such"}):
        assert rows_of(client, **asked) == []


def predictions(client, **asked):
    return sum(row["value"] for row in rows_of(client, statistic="predictions", slice="", **asked))


def test_a_period_holds_its_panes_and_periods_that_meet_add_up(client, world):
    middle = "2013-05-01T00:00:00Z"
    before, after = predictions(client, to=middle), predictions(client, **{"from": middle})
    assert before > 0
    assert after > 0
    assert before + after == predictions(client) == world.DAYS * world.PER_DAY * 2


def test_a_period_is_told_in_whole_panes_rounded_outwards(client):
    asked = {"from": "2013-04-10T12:01:00+00:00", "to": "2013-04-10T12:07:00Z"}
    rows = rows_of(client, **asked)
    assert {(row["from"], row["to"]) for row in rows} == {("2013-04-10T12:00:00Z", "2013-04-10T12:10:00Z")}


def test_buckets_cut_the_period_and_lose_nothing(client):
    rows = rows_of(client, bucket="1d", statistic="predictions", slice="", variant="champion")
    assert [row["from"] for row in rows] == sorted({row["from"] for row in rows})
    assert sum(row["value"] for row in rows) == predictions(client, variant="champion")
    assert rows[1]["to"] == rows[2]["from"]


def test_a_bucket_is_no_longer_than_the_period(client):
    asked = {"from": "2013-04-10T12:00:00Z", "to": "2013-04-10T18:00:00Z", "bucket": "1d"}
    assert {(row["from"], row["to"]) for row in rows_of(client, **asked)} == {(asked["from"], asked["to"])}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/summaries?modle=x", "'modle' is unknown"),
        ("/summaries?from=yesterday", "from: 'yesterday'"),
        ("/summaries?from=2013-04-01T00:00:00", "names no moment with an offset"),
        ("/summaries?model=a&model=b", "given twice"),
        ("/summaries?bucket=2m", "'2m' is none of"),
        ("/report", "'model' is missing"),
        ("/report?model=flight-delay&statistic=psi", "'statistic' is unknown"),
        ("/summaries?bucket=5m", f"more than {WINDOWS_MAX} "),
    ],
)
def test_a_wrong_question_is_400_and_says_what_is_wrong(client, path, reason):
    response = client.get(path)
    assert response.status_code == 400
    assert reason in response.json()["error"]


def test_a_report_on_an_unknown_model_is_404_and_names_those_there_are(client):
    response = client.get("/report", params={"model": "no-such"})
    assert response.status_code == 404
    assert "there are flight-delay" in response.json()["error"]


def test_unknown_paths_and_methods_are_json_errors(client):
    for response, status in ((client.get("/nowhere"), 404), (client.post("/summaries"), 405)):
        assert response.status_code == status
        assert set(response.json()) == {"error"}


def test_the_index_leads_to_the_report_and_the_report_is_one_page(client):
    index = client.get("/")
    assert 'href="report?model=flight-delay"' in index.text
    report = client.get("/report?model=flight-delay")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    assert report.text.startswith("<!doctype html>")


def test_status_tells_how_far_the_log_is_counted(client, world):
    standing = client.get("/status").json()
    records = len(world.make_history())
    assert standing["counted_records"] == records
    assert standing["lag_records"] == 0
    assert standing["caught_up"] is True
    assert [log["counted"] for log in standing["logs"]] == [[[1, records]]]
    assert standing["findings"] == []
    assert {group["variant"] for group in standing["groups"]} == {"champion", "canary-2", "shadow-3"}
    received = next(row for row in standing["counters"] if row["name"] == "labels_received")
    assert received["value"] == world.DAYS * (world.PER_DAY - world.PER_DAY // 10)


def test_health_follows_the_counting(world, answers, clock):
    trouble = ["the registry is away", None]
    with world.browse(answers, clock, lambda: trouble[0]) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/ready").json() == {"ready": False, "error": "the registry is away"}
        trouble.pop(0)
        assert client.get("/health/ready").json() == {"ready": True}


def test_before_anything_was_counted_the_monitor_answers_with_nothing(tmp_path, world, clock):
    answers = world.make_answers(tmp_path)
    with world.browse(answers, clock) as client:
        assert client.get("/summaries").status_code == 503
        world.count_log(tmp_path, {})
        assert client.get("/summaries").json() == {"rows": []}
        assert "No prediction has been read yet" in client.get("/").text
        assert client.get("/status").json()["counted_records"] == 0
        assert client.get("/metrics").status_code == 200
    answers.close()


def test_an_answer_is_kept_for_a_moment_and_then_follows_the_counts(tmp_path, world, references, clock):
    answers = world.make_answers(tmp_path)
    asyncio.run(world.write_log(tmp_path / "spool", world.make_history(days=2)))
    world.count_log(tmp_path, references)
    with world.browse(answers, clock) as client:
        before = predictions(client)
        asyncio.run(world.write_log(tmp_path / "spool", world.make_history(days=1)))
        world.count_log(tmp_path, references)
        assert predictions(client) == before
        clock.now = 60.0
        assert predictions(client) > before
    answers.close()


def test_a_scrape_and_a_question_of_one_moment_do_not_break_each_other(answers, monkeypatch):
    reading, go_on, pages = threading.Event(), threading.Event(), StateReader._pages

    def held_up(reader, *given):
        reading.set()
        go_on.wait()
        return pages(reader, *given)

    monkeypatch.setattr(StateReader, "_pages", held_up)
    with ThreadPoolExecutor(2) as threads:
        scrape = threads.submit(answers.snapshot)
        reading.wait()
        question = threads.submit(answers.models)
        wait([question], 0.5)  # long enough to fail, if it does
        go_on.set()
        assert scrape.result().windows["all"]
        assert question.result()


def test_counts_that_were_moved_away_are_not_answered_from_any_more(tmp_path, world, references):
    answers = world.make_answers(tmp_path)
    asyncio.run(world.write_log(tmp_path / "spool", world.make_history(days=1)))
    world.count_log(tmp_path, references)
    ((_, before),) = answers.models()
    away = tmp_path / "away"
    away.mkdir()
    for path in list(tmp_path.glob("monitor.sqlite*")):
        path.rename(away / path.name)
    with pytest.raises(StoreUnavailable):
        answers.models()
    asyncio.run(world.write_log(tmp_path / "spool", world.make_history(days=2)))
    world.count_log(tmp_path, references)
    ((_, after),) = answers.models()
    answers.close()

    assert after == 3 * before


def test_a_bug_of_ours_is_a_json_500(world, answers, clock, monkeypatch):
    def broken(_question):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(answers, "rows", broken)
    with world.browse(answers, clock, raise_app_exceptions=False) as client:
        response = client.get("/summaries")
    assert response.status_code == 500
    assert "ZeroDivisionError" in response.json()["error"]


def test_every_error_of_the_tree_has_a_status():
    def tree(kind):
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    kinds = [kind for kind in tree(PointsmanError) if kind.__module__ == PointsmanError.__module__]
    assert all(status_of(kind("why")) in STATUS_OF.values() for kind in kinds)
    assert status_of(Overloaded("why")) == 503
