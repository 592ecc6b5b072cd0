"""The alias file of a folder registry is edited under live traffic, once for each policy: what is served, and what is kept."""

import asyncio
import json

import httpx
import msgspec
import pytest

from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

MODEL = "flight-delay"


def audited(state):
    """Audit records that are alias moves or promotions, in the order of each log."""
    reader, found = SpoolReader(state / "spool", {}), []
    while entries := reader.poll(10_000):
        found += [msgspec.json.decode(entry.payload) for entry in entries if entry.kind is Kind.AUDIT]
    return [r for r in found if "alias_move" in r], [r for r in found if "promotion_id" in r]


class Registry:
    """Moves the alias as a pipeline does, and asks Pointsman what came of it; `traffic` are its clients meanwhile."""

    def __init__(self, root, running, traffic, until):
        self.file, self.running, self.traffic, self.until = root / MODEL / "aliases.json", running, traffic, until

    def alias(self, **aliases):
        draft = self.file.with_name(".aliases")
        draft.write_text(json.dumps(aliases))
        draft.rename(self.file)

    def get(self, what):
        return httpx.get(f"{self.running.admin}/admin/models/{MODEL}/{what}", timeout=60).json()

    def post(self, what, **body):
        reply = httpx.post(f"{self.running.admin}/admin/models/{MODEL}/{what}", json=body, timeout=120)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def champion(self):
        return self.get("plan")["champion"]["version"]

    def moves(self):
        return [
            (m["before"] and m["before"]["version"], m["after"] and m["after"]["version"])
            for m in self.get("promotions")["moves"]
        ]

    def seen(self, *moves):
        self.until(lambda: self.moves() == list(moves), seconds=60, what=f"the moves {moves}")

    def converged(self):
        return self.until(self._all_follow, seconds=60, what="convergence")

    def served(self, version):
        self.until(
            lambda: version in {one for _, _, one in self.traffic.answers}, what=f"an answer of version {version}"
        )

    def _all_follow(self):
        revision = self.get("plan")["revision"]
        workers = httpx.get(f"{self.running.admin}/admin/workers", timeout=60).json()["workers"]
        return len(workers) == 2 and all(worker["applied"].get(MODEL) == revision for worker in workers)


def follow(desk):
    desk.alias(champion="2")
    desk.until(lambda: desk.champion() == "2", seconds=60, what="the shift")
    desk.seen(("1", "2"))
    desk.served("2")
    desk.post("rollback", who="ada", wait_ms=60_000)
    desk.alias(champion="2", blue="1")
    desk.seen((None, "1"), ("1", "2"))
    desk.converged()
    return "1", [(None, "1"), ("1", "2")], []


def request(desk):
    desk.alias(champion="2")
    desk.seen(("1", "2"))
    [waiting] = desk.until(lambda: desk.get("promotions")["promotions"], what="the promotion")
    assert (waiting["state"], waiting["candidate"]["version"], desk.champion()) == ("pending", "2", "1")
    moved = desk.post(f"promotions/{waiting['promotion_id']}/approve", who="ada", reason="seen", wait_ms=60_000)
    assert moved["converged"].startswith("2/2")
    desk.served("2")
    return "2", [("1", "2")], ["approved", "pending"]


def ignore(desk):
    desk.alias(champion="2")
    desk.seen(("1", "2"))
    desk.alias()
    desk.seen(("2", None), ("1", "2"))
    desk.converged()
    return "1", [("1", "2"), ("2", None)], []


@pytest.mark.parametrize("play", [follow, request, ignore], ids=lambda play: play.__name__)
def test_an_alias_moves_under_live_traffic(start, registry, load, until, play):
    running = start("up", workers=2, registry_poll_seconds=0.2)
    traffic = load(running)
    desk = Registry(registry, running, traffic, until)
    desk.post("alias-policy", policy=play.__name__, who="ada", wait_ms=60_000)
    ends = []

    asyncio.run(traffic.during(2, lambda: ends.append(play(desk))))
    [(champion, moves, states)] = ends
    assert desk.champion() == champion
    served = {version for _, _, version in traffic.answers}
    assert running.stop() == 0

    assert (traffic.failures, traffic.resets) == ([], 0)
    assert served == ({"1"} if play is ignore else {"1", "2"})
    logged, promotions = audited(running.state)
    said = [(m["before"] and m["before"]["version"], m["after"] and m["after"]["version"]) for m in logged]
    assert sorted(said, key=str) == sorted(moves, key=str), "each once, though two workers saw it"
    assert {move["policy"] for move in logged} == {play.__name__}
    assert all(move["trigger"] == "alias_poll" and move["seen_by"] for move in logged)
    assert sorted(one["state"] for one in promotions) == states
