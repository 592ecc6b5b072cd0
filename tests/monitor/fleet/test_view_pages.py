"""The pages say the same whether one monitor counted everything or a fleet did; a fleet's also say who counts what."""

import asyncio
import random

import httpx
import pytest

from contracts.errors import NotReady
from contracts.settings import Settings
from monitor.counts.catalogue import Catalogue
from monitor.fleet.view_store import open_view
from monitor.fleet.worker import FleetMonitor
from monitor.measures.policy import MonitorPolicy
from monitor.pages.answers import Answers
from monitor.pages.http import MonitorHttp
from monitor.pages.metrics import exposition
from monitor.pages.question import Question
from monitor.pages.report import page
from tests.monitor.core import conftest as world
from tests.monitor.fleet.exchange_world import ListTopic, Worker, dealt, history, references, view_of

PARTITIONS = 3


def later_reference(version):
    """What a version is counted by after its reference was built again."""
    return world.make_reference("binary", version, reference_hash=f"later-{version}")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Answers of one monitor alone, and of a fleet; half of the records are counted by a later reference."""
    folder = tmp_path_factory.mktemp("pages")
    records = history(random.Random(41), n=150, days=2)
    half = len(records) // 2
    later = {key: later_reference(key[1]) for key in references()}
    topic = ListTopic(PARTITIONS)
    for p, entries in enumerate(dealt(records, PARTITIONS)):
        early = sum(entry.seq <= half // 2 for entry in entries)
        for refs, amount in ((references(), early), (later, len(entries))):
            worker = Worker(folder / str(p), entries, refs)
            worker.count(amount)
            topic.publish(p, worker.directory, owner=f"worker-{p}")
    (entries,) = dealt(records, 1)
    early = sum(entry.seq <= half // 2 for entry in entries)
    for refs, amount in ((references(), early), (later, len(entries))):
        Worker(folder / "alone", entries, refs).count(amount)
    view = view_of(folder / "view.sqlite", topic)
    store = open_view(view, PARTITIONS)
    store.write_ends("topic", dict.fromkeys(range(PARTITIONS), (0, 0)))
    store.close()

    def now_us():
        return world.T0 + 10 * world.DAY_US

    alone = Answers(folder / "alone" / "monitor.sqlite", folder / "spool", MonitorPolicy(), now_us)
    fleet = Answers(view, None, MonitorPolicy(), now_us)
    yield alone, fleet
    alone.close()
    fleet.close()


@pytest.mark.parametrize("bucket", [None, "5m", "1d"])
def test_rows_are_the_same(both, bucket):
    question = Question(bucket_us={None: None, "5m": world.PANE_US, "1d": world.DAY_US}[bucket], slice="")
    alone, fleet = both

    assert fleet.rows(question) == alone.rows(question)
    assert len(alone.rows(question)) > 50


def test_models_and_reports_are_the_same(both):
    alone, fleet = both

    assert fleet.models() == alone.models()
    assert page(fleet.content(Question(model="m"))) == page(alone.content(Question(model="m")))


def test_metrics_are_the_same_but_for_how_far_each_is(both):
    def statistics(answers):
        lines = exposition(answers.snapshot()).decode().splitlines()
        return [
            line for line in lines if "pointsman_monitor_" not in line or "_labels" in line or "_statistics" in line
        ]

    alone, fleet = both

    assert statistics(fleet) == statistics(alone)
    assert 'pointsman_monitor_partition_whole{partition="2"} 1.0' in exposition(fleet.snapshot()).decode()


def test_the_status_names_every_partition_and_its_owner(both):
    _, fleet = both
    app = MonitorHttp(fleet, lambda: None, lambda: 0.0).app()

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
            return (await client.get("/status")).json()

    status = asyncio.run(ask())

    assert [one["owner"] for one in status["partitions"]] == ["worker-0", "worker-1", "worker-2"]
    assert all(one["whole"] and one["updated"] for one in status["partitions"])
    assert status["lag_records"] == 0
    assert status["logs"] == []


def test_before_the_summaries_were_read_once_nothing_is_answered(tmp_path):
    open_view(tmp_path / "view.sqlite", PARTITIONS).close()
    answers = Answers(tmp_path / "view.sqlite", None, MonitorPolicy(), lambda: 0)

    with pytest.raises(NotReady):
        answers.models()
    answers.close()


def test_readiness_says_what_keeps_the_view_from_following(tmp_path):
    settings = Settings(state_dir=tmp_path, kafka="127.0.0.1:9")
    worker = FleetMonitor(settings, Catalogue(lambda *_: None, lambda *_: None), lambda: 0)
    worker._trouble = None  # the topics are there
    worker._view.trouble = "view: database or disk is full; see to the disk"
    assert worker.not_ready() == worker._view.trouble
    worker._view.trouble = None
    assert "are being read" in worker.not_ready()
