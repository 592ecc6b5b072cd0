"""The store of a fleet where only a network and a server can go wrong: outages, silence, lost replies, lost data, rubbish."""

import asyncio
import random
import time
import uuid

import pytest

from contracts.errors import StoreUnavailable
from contracts.plan import Change, VersionRef
from contracts.standing import HISTORY, STORE, plan_key
from gateway.fleet.redis_link import RedisLink, check_url, shown
from gateway.plan_store.redis import RedisPlanStore
from gateway.traffic import shifts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient_links")]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def opened():
    """Stores over any URL, closed after the test."""
    stores = []

    def open_store(url):
        stores.append(RedisPlanStore(url, lambda: uuid.uuid4().hex, random.Random(7).random))
        return stores[-1]

    yield open_store
    for one in stores:
        await one.aclose()


@pytest.fixture
def store(opened, redis_server):
    return opened(redis_server.url)


@pytest.fixture
async def server(redis_server):
    """The server itself, for what a store never does."""
    link = RedisLink(redis_server.url, seconds_max=600.0)
    yield link
    await link.aclose()


@pytest.fixture
def proxy(make_proxy, redis_server):
    return make_proxy(redis_server.port)


def first(model="m", salt="salt"):
    plan = shifts.start(model, VersionRef(version="1", digest="d1"), salt=salt)
    return Change(model=model, revision=1, at_us=1, who="ada", verb="start", reason="", before=None, after=plan)


def following(plan, share=0.1):
    after = shifts.canary(plan, VersionRef(version="2", digest="d2"), share)
    return Change(
        model=plan.model, revision=after.revision, at_us=2, who="x", verb="v", reason="", before=plan, after=after
    )


async def until(true, seconds=100.0):
    """Ask until the answer is yes, or is no error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := await true():
                return answer
        except StoreUnavailable:
            pass
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


async def refused(ask):
    try:
        await ask()
    except StoreUnavailable as error:
        return str(error)
    return ""


async def test_another_process_s_change_wakes_whoever_waits(store, opened, redis_server, monkeypatch):
    """It is called out: nobody looks for it, and no wait comes to its end."""
    monkeypatch.setattr("gateway.plan_store.redis.POLL_SECONDS", 1e6)
    other = opened(redis_server.url)
    await store.write(latest := first())
    await store.generation()
    await other.generation()
    for number in range(40):
        before = await store.generation()
        waiting = asyncio.create_task(store.changed(1e6))
        await asyncio.sleep(0)
        await other.write(latest := following(latest.after, (number + 1) / 100))
        await asyncio.wait_for(waiting, 100)
        assert await store.generation() != before


async def test_asking_for_the_generation_costs_no_round_trip(opened, proxy):
    store = opened(f"redis://{proxy.address}/0")
    await store.generation()
    passed = proxy.passed
    for _ in range(2000):
        await store.generation()

    assert proxy.passed - passed < 1000, "a look in the meantime, not 2,000"


async def test_a_change_that_nobody_called_out_is_seen_all_the_same(store, server):
    await store.write(first())
    before = await store.generation()
    await server.call("HINCRBY", STORE, "generation", 1)

    assert await until(lambda: _differs(store, before))


async def _differs(store, before):
    return await store.generation() != before


async def test_an_outage_is_said_and_its_end_is_news(store, redis_server):
    await store.write(one := first())
    before = await store.generation()
    redis_server.kill()

    for ask in (lambda: store.read("m"), lambda: store.write(following(one.after)), lambda: store.history(None, 1)):
        assert "nobody answers there" in await refused(ask)
    assert "whether revision 2 of 'm' was stored is not known" in await refused(
        lambda: store.write(following(one.after))
    )
    assert await until(lambda: refused(store.generation))
    redis_server.start(keep=True)
    await store.write(two := following(one.after))

    assert await until(lambda: _differs(store, before))
    assert await store.read("m") == two.after
    assert await store.history("m", 10) == [two, one]


async def test_a_start_without_the_server_is_no_different(opened, redis_server):
    redis_server.kill()
    store = opened(redis_server.url)
    assert "nobody answers there" in await refused(store.generation)
    assert "nobody answers there" in await refused(lambda: store.read("m"))
    redis_server.start(keep=True)
    await until(store.generation)

    assert await store.read("m") is None


async def test_a_server_that_is_silent_is_not_waited_for_and_never_answers_the_next_question(
    store, opened, redis_server
):
    await store.write(a := first("a"))
    await store.write(b := first("b", "other"))
    hasty = opened(redis_server.url)
    hasty._link = RedisLink(redis_server.url, seconds_max=1.0)
    assert await until(lambda: hasty.read("a")) == a.after
    redis_server.pause()
    asked = [asyncio.create_task(refused(lambda: hasty.read("a"))) for _ in range(3)]
    assert all("does not answer in time" in said for said in await asyncio.gather(*asked))
    redis_server.go_on()

    for _ in range(5):
        assert await until(lambda: hasty.read("b")) == b.after
        assert await until(lambda: hasty.read("a")) == a.after


async def test_callers_that_give_up_leave_no_reply_for_others(store):
    """A reply that nobody fetched must not be handed to the next command of its connection."""
    plans = {}
    for name in "abcdefgh":
        await store.write(change := first(name, f"salt-{name}"))
        plans[name] = change.after
    giving_up = random.Random(3)
    for _ in range(30):
        asking = [asyncio.create_task(store.read(name)) for name in plans]
        await asyncio.sleep(giving_up.random() / 1000)
        for task in giving_up.sample(asking, 4):
            task.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        for name, plan in zip(plans, found, strict=True):
            assert plan == plans[name] or isinstance(plan, asyncio.CancelledError)


async def test_a_change_whose_reply_was_lost_is_made_once_and_said_to_be_made(opened, proxy, server):
    store = opened(f"redis://{proxy.address}/0")
    await store.write(one := first())
    with proxy.being(lost_replies=True):
        writing = asyncio.create_task(store.write(two := following(one.after)))
        await until(lambda: _at(server, b"2"))
    proxy.cut()
    await writing

    assert await store.read("m") == two.after
    assert await store.history("m", 10) == [two, one]


async def _at(server, revision):
    return await server.call("HGET", plan_key("m"), "revision") == revision


async def test_an_emptied_server_is_news_and_holds_nothing(store, server):
    await store.write(first())
    before = await store.generation()
    await server.call("FLUSHALL")

    assert await until(lambda: _differs(store, before))
    assert await store.read("m") is None
    assert await store.history("m", 5) == []


async def test_rubbish_in_the_server_makes_the_store_unavailable_not_wrong(store, server):
    await store.write(first())
    await server.call("HSET", plan_key("m"), "plan", "{}")
    assert "holds what is no plan" in await refused(lambda: store.read("m"))
    await store.write(other := first("other"))
    await server.call("HSET", plan_key("m"), "plan", await server.call("HGET", plan_key("other"), "plan"))
    assert "the plan of 'other' under the name of 'm'" in await refused(lambda: store.read("m"))
    await server.call("XADD", HISTORY, "*", "change", "?")
    assert "holds what is no plan" in await refused(lambda: store.history(None, 5))
    await server.call("SET", plan_key("n"), "a text")
    assert "WRONGTYPE" in await refused(lambda: store.write(first("n")))
    await server.call("HSET", STORE, "generation", "many")
    assert await until(lambda: refused(store.generation))
    assert await store.read("other") == other.after


async def test_a_store_of_another_release_is_refused(store, server):
    await server.call("HSET", STORE, "format", "2")

    assert "has format 2, this Pointsman reads 1" in await refused(lambda: store.write(first()))
    assert "has format 2, this Pointsman reads 1" in await refused(store.generation)
    assert await server.call("EXISTS", plan_key("m")) == 0


async def test_a_replica_takes_no_change_and_says_what_it_is(store, server):
    await store.write(one := first())
    await server.call("REPLICAOF", "127.0.0.1", "1")
    assert "it is a replica" in await refused(lambda: store.write(following(one.after)))
    await server.call("REPLICAOF", "NO", "ONE")
    await store.write(following(one.after))


async def test_a_password_is_asked_for_and_never_shown(opened, server, redis_server):
    await server.call("CONFIG", "SET", "requirepass", "secret")
    right = redis_server.url.replace("redis://", "redis://:secret@")
    wrong = redis_server.url.replace("redis://", "redis://:hunter2@")

    assert "hunter2" not in (said := await refused(lambda: opened(wrong).read("m")))
    assert "refuses this user or password" in said
    assert await opened(right).read("m") is None


async def test_databases_of_one_server_do_not_wake_each_other(opened, redis_server):
    one, two = opened(redis_server.url), opened(redis_server.url.removesuffix("/0") + "/1")
    await one.generation()
    before = await two.generation()
    await one.write(first())
    await one.generation()

    assert await two.read("m") is None
    assert await two.generation() == before


def test_a_url_that_leads_nowhere_is_refused_without_its_password():
    from contracts.errors import InvalidSettings

    torn = (
        "redis://:secret/part@h:1/0",
        "redis://:secret?part@h:1/0",
        "redis://:secret#part@h:1/0",
        "redis://:a/secret@h:1/0",
    )
    for url in ("localhost:6379", "http://h", "redis://:secret@h:port/0", "redis://:secret@[h:1/0", *torn):
        with pytest.raises(InvalidSettings) as caught:
            check_url(url)
        assert "secret" not in str(caught.value)
    check_url("redis://:secret@localhost:6379/3")
    check_url("rediss://user:secret@redis.example:6380/0?ssl_cert_reqs=required")
    assert shown("redis://:secret@h:1/3") == "redis://h:1/3"
    assert shown("redis://:1/secret@h:1/3") == "redis://h:1/3"
    assert shown("redis://h:1/3?password=secret@part") == "redis://h:1/3"
    assert shown("unix:///run/redis.sock?db=3") == "unix:///run/redis.sock"
