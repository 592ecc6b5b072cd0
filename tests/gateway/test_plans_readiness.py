"""What a worker says of versions that it cannot serve, not yet or not at all, while it serves the others."""

import asyncio

import pytest
from msgspec.structs import replace

from contracts.errors import NotFound, NotReady
from gateway.models.sessions import load_session
from tests.gateway.plan_host import looked, settled, state


def test_an_alias_that_cannot_be_served_is_no_reason_not_to_serve_the_others(host):
    host.put("4", b"no model")
    host.alias(champion="1", broken="4", stable="2", lost="99")

    async def run():
        models = host.worker()
        await models.start()
        serving = models.serving("m")
        assert serving.pinned("stable").ref.version == "2"
        assert serving.pinned("1").ref.version == "1"
        for name in ("broken", "4"):
            with pytest.raises(
                NotReady, match=f"version '{name}' of 'm' is not at ready state: it is rejected: onnxruntime"
            ):
                serving.pinned(name)
        for name in ("lost", "3"):
            with pytest.raises(NotReady, match=f"version '{name}' of 'm' is not at ready state: give it an alias"):
                serving.pinned(name)
        with pytest.raises(NotFound, match="model 'm' has no version or alias 'nope': there are 1, 2, 3, 4, "):
            serving.pinned("nope")
        with pytest.raises(NotFound, match="Request for unknown model: 'other' is not found"):
            models.serving("other")
        return models.index(), models.states()

    index, states = asyncio.run(run())
    (four,) = states["m"]

    rows = [(row["version"], row["state"]) for row in index]
    assert rows == [("1", "READY"), ("2", "READY"), ("3", "UNAVAILABLE"), ("4", "UNAVAILABLE")]
    assert four.reason.startswith("onnxruntime cannot load it")
    assert [row["reason"] for row in index[2:]] == ["not in use", f"rejected: {four.reason}"]
    assert (four.version, four.state, four.since_us) == ("4", "rejected", 1_000_000)


def test_an_alias_of_a_version_that_never_ends_holds_up_neither_the_start_nor_a_shift(host):
    host.put("4", host.graphs.loop(2**62).SerializeToString())
    host.alias(champion="1", endless="4")

    async def load(fetched):
        return await load_session(fetched, seconds_max=0.2 if fetched.version == "4" else None)

    async def run():
        models = host.worker()
        models._loaded._load = load
        await models.start()
        before = state(models)
        two = await host.ref("2")
        await host.shift(lambda plan: replace(plan, revision=2, champion=two))
        await settled(models)
        return before, state(models), models.states()

    before, after, states = asyncio.run(run())

    assert before == (1, "1", ["1"])
    assert after == (2, "2", ["1", "2"]), "version 1 has the alias champion"
    (four,) = states["m"]
    assert four.reason == "loading and trying it took longer than 0.2 seconds"


def test_a_version_that_is_being_loaded_says_so_and_a_rejection_goes_when_it_loads(host):
    host.put("2", b"no model")
    host.alias(champion="1", next="2")

    async def run():
        models, loading = host.worker(), asyncio.Event()
        load = models._loaded._load

        async def slowly(fetched):
            await loading.wait()
            return await load(fetched)

        await models.start()
        models._loaded._load = slowly
        host.put("2")
        three = await host.ref("3")
        await host.shift(lambda plan: replace(plan, revision=2, warm=(three,)))
        await models.plan_tick()
        while len(models.states()["m"]) < 2 and models._following:
            await asyncio.sleep(0.001)
        during = models.index(), {state.version: state.state for state in models.states()["m"]}
        loading.set()
        await asyncio.wait(list(models._following.values()))
        return during, models.index(), models.states()

    (index, states), after, gone = asyncio.run(run())

    assert states == {"2": "rejected", "3": "loading"}
    assert [(row["state"], row["reason"][:9]) for row in index] == [
        ("READY", ""),
        ("UNAVAILABLE", "rejected:"),
        ("LOADING", ""),
    ]
    assert [row["state"] for row in after] == ["READY"] * 3
    assert gone == {}


def test_a_model_whose_champion_cannot_be_loaded_says_why_and_is_tried_again(host):
    host.put("3", b"no model")

    async def run():
        models = host.worker()
        await models.start()
        with pytest.raises(NotReady) as caught:
            models.serving("m")
        reason = str(caught.value)
        host.put("3")
        await asyncio.sleep(0)
        await looked(models)
        return reason, state(models)

    reason, served = asyncio.run(run())

    assert reason.startswith("model 'm' is not at ready state: ")
    assert served == (1, "3", ["3"])


def test_a_model_whose_aliases_cannot_be_read_says_why_until_they_can(host):
    (host.folder / "aliases.json").write_text('{"1": "2"}')

    async def run():
        models = host.worker()
        await models.start()
        with pytest.raises(NotReady) as caught:
            models.serving("m")
        not_ready = models.not_ready()
        host.alias(champion="2")
        await looked(models)
        return str(caught.value), not_ready, state(models)[:2], models.errors, models.not_ready()

    said, not_ready, served, errors, ready = asyncio.run(run())

    assert "model 'm' is not at ready state: m: aliases.json has the alias '1'" in said
    assert not_ready.startswith("m: m: aliases.json has the alias '1'")
    assert (served, errors, ready) == ((1, "2"), {}, None)
