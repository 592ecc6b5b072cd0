"""A server watched over time: aliases flip, go back and vanish, polls are spread, and what is gone is said once."""

import pytest

from contracts.errors import RegistryUnavailable
from tests.registry_client.lying_server import HTML, refused, said


def test_an_alias_that_flips_between_two_questions_is_two_true_answers(meet):
    async def scenario(server, registry):
        turns = iter("121")

        def flipping(_):
            return said({"registered_model": {"name": "m", "aliases": [{"alias": "champion", "version": next(turns)}]}})

        server.instead["registered-models/get"] = flipping
        assert [(await registry.pointers("m"))["champion"] for _ in range(3)] == ["1", "2", "1"]

    meet(scenario)


def test_two_champions_are_none_and_one_that_goes_backwards_is_one(meet):
    def champions(*versions):
        aliases = [{"alias": "champion", "version": version} for version in versions]
        return said({"registered_model": {"name": "m", "aliases": aliases}})

    async def scenario(server, registry):
        server.instead["registered-models/get"] = champions("1", "2")
        with pytest.raises(RegistryUnavailable, match="gives an alias of m twice"):
            await registry.pointers("m")
        for version in ("7", "3"):
            server.instead["registered-models/get"] = champions(version)
            assert await registry.pointers("m") == {"champion": version}

    meet(scenario)


def test_polls_are_spread_and_rarer_while_the_server_is_away(meet):
    async def scenario(server, registry):
        assert registry.poll_after(0) == 10
        assert registry.poll_after(3) == 3
        server.instead["registered-models/search"] = refused(500, "INTERNAL_ERROR", "x")
        waits = []
        for _ in range(8):
            with pytest.raises(RegistryUnavailable):
                await registry.models()
            waits.append(registry.poll_after(0))
        assert waits == [20, 40, 80, 160, 300, 300, 300, 300]
        server.instead.clear()
        await registry.models()
        assert registry.poll_after(0) == 10
        server.instead["registered-models/search"] = HTML
        for _ in range(2):
            with pytest.raises(RegistryUnavailable):
                await registry.models()
        assert registry.poll_after(0) == 40
        server.instead.clear()
        await registry.models()
        registry._draw = lambda: 0.0
        assert registry.poll_after(0) == 8
        registry._draw = lambda: 0.75
        assert registry.poll_after(0) == 11

    meet(scenario)


def test_what_is_gone_is_said_once(meet, caplog):
    async def scenario(server, registry):
        await registry.models()
        await registry.pointers("m")
        await registry.versions("m")
        server.model = {"name": "m", "aliases": []}
        server.instead["model-versions/search"] = said({})
        server.instead["registered-models/search"] = said({})
        for _ in range(2):
            assert await registry.models() == []
            assert await registry.pointers("m") == {}
            assert await registry.versions("m") == []

    meet(scenario)

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    for words in (
        "no model m any more",
        "alias champion of m, which was at version 1, is gone",
        "version 1 of m is gone",
    ):
        assert sum(words in record.message for record in caplog.records) == 1


def test_stages_of_old_are_pointers_that_are_warned_of_once(meet, caplog):
    async def scenario(server, registry):
        server.model |= {"latest_versions": [{"name": "m", "version": "1", "current_stage": "Production"}]}
        for _ in range(2):
            assert await registry.pointers("m") == {"champion": "1", "stage:Production": "1"}

    meet(scenario)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "m uses stages, which MLflow gave up" in caplog.records[0].message
