"""The story is carried out when event time has come, with its reasons; a step that is refused ends the replay."""

import asyncio
import json

import httpx
import pytest

from contracts.plan import Plan, VersionRef
from contracts.wire import decode, encode
from examples.flights.replay import ReplayFailed
from examples.flights.steering import Steering
from examples.flights.story import STORY
from gateway.traffic import shifts

REFS = {version: VersionRef(version=version, digest=version * 64) for version in "123"}


class Admin:
    """The admin API over the real verbs of `gateway.traffic.shifts`, without a network."""

    def __init__(self):
        self.plan = shifts.start("flight-delay", REFS["1"], "salt")
        self.asked = []
        self.behind = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=encode(self.plan), headers={"etag": f'"{self.plan.revision}"'})
        if request.method == "PUT":
            assert request.headers["if-match"] == f'"{self.plan.revision}"'
            self.plan = shifts.rewrite(self.plan, decode(Plan, request.content))
            return self.moved()
        body, verb = json.loads(request.content), request.url.path.rpartition("/")[2]
        self.asked.append((verb, body["reason"], body["who"]))
        self.plan = self.shifted(verb, body)
        return self.moved()

    def moved(self):
        reply = {"plan": {"revision": self.plan.revision}, "errors": self.behind, "converged": "1/1 in 5 ms"}
        return httpx.Response(200, json=reply)

    def shifted(self, verb, body) -> Plan:
        if verb in {"canary", "shadow"}:
            shift = {"canary": shifts.canary, "shadow": shifts.shadow}[verb]
            return shift(self.plan, REFS[body["version"]], float(body["share"].rstrip("%")) / 100)
        return shifts.promote(self.plan, body["name"]) if verb == "promote" else shifts.rollback(self.plan)


def told(admin, moments, evidence=lambda: ""):
    async def run():
        async with httpx.AsyncClient(transport=httpx.MockTransport(admin), base_url="http://admin") as client:
            steering = Steering(STORY, client, evidence)
            for moment in moments:
                await steering.arrived_at(moment)
            return steering.done

    return asyncio.run(run())


def test_a_known_salt_makes_the_demo_repeatable():
    admin = Admin()

    async def run():
        async with httpx.AsyncClient(transport=httpx.MockTransport(admin), base_url="http://admin") as client:
            await Steering(STORY, client, lambda: "").salt("demo-7")

    asyncio.run(run())
    assert (admin.plan.salt, admin.plan.revision, admin.plan.champion) == ("demo-7", 2, REFS["1"])


def test_the_story_is_in_order_and_holds_a_shift_and_a_rollback():
    assert [step.at_us for step in STORY] == sorted(step.at_us for step in STORY)
    assert [step.verb for step in STORY] == ["shadow", "canary", "canary", "promote", "rollback"]


def test_before_the_first_flight_2_is_a_canary_and_3_a_shadow():
    admin = Admin()
    told(admin, [STORY[0].at_us])
    assert {c.name: round(c.share, 6) for c in admin.plan.challengers} == {"shadow-3": 1.0, "canary-2": 0.1}
    assert admin.plan.champion == REFS["1"]


def test_after_the_year_the_first_champion_is_back():
    admin = Admin()
    done = told(admin, [step.at_us for step in STORY])
    assert admin.plan.champion == REFS["1"]
    assert [step.revision for step in done] == [2, 3, 4, 5, 6]


def test_steps_that_were_passed_over_are_caught_up_in_order():
    admin = Admin()
    told(admin, [STORY[-1].at_us])
    assert [verb for verb, _, _ in admin.asked] == [step.verb for step in STORY]


def test_no_step_comes_early_or_twice():
    admin = Admin()
    told(admin, [STORY[0].at_us, STORY[0].at_us, STORY[2].at_us - 1])
    assert len(admin.asked) == 2


def test_the_reason_names_the_evidence_of_the_moment():
    admin = Admin()
    told(admin, [STORY[0].at_us], lambda: "AUC champion 0.63")
    assert all(reason.endswith("; AUC champion 0.63") and who == "pointsman demo" for _, reason, who in admin.asked)


def test_a_worker_that_stays_behind_ends_the_replay():
    admin = Admin()
    admin.behind = {"worker-0": "cannot load"}
    with pytest.raises(ReplayFailed, match="cannot load"):
        told(admin, [STORY[0].at_us])


def test_a_refused_step_ends_the_replay_with_its_words():
    with pytest.raises(ReplayFailed, match=r"409.*moved on"):
        told(lambda _: httpx.Response(409, json={"error": "the plan moved on"}), [STORY[0].at_us])
