"""Nobody steers the terminal of whoever looks: not by a name, a reason, a file's text or an answer."""

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from contracts.plan import Change, VersionRef
from contracts.promotion import Promotion
from contracts.statistic import Statistic
from gateway.admin.bodies import ModelRow, Models, Monitors, Promotions, VersionRow, Workers
from gateway.fleet.worker_status import WorkerStatus
from gateway.traffic import shifts
from pointsman.gate_view import gate_view, gates_view
from pointsman.plain_text import plain
from pointsman.promotions_view import promotions_view
from pointsman.report import show
from pointsman.traffic_view import fleet_view, history_view, models_view
from tests.gateway.gate_results import gate_result

ODD = "eve\x1b]0;title\x07 \x9b2J\u202e[/x]"
SHOWN = "eve\ufffd]0;title\ufffd \ufffd2J\ufffd[/x]"

PLAN = shifts.start("m", VersionRef(version="1", digest="d1"), salt="salt")
CHANGE = Change(model="m", revision=1, at_us=0, who=ODD, verb="start", reason="", before=None, after=PLAN)
PROMOTION = Promotion(
    promotion_id="p",
    model="m",
    candidate=VersionRef(version="2", digest="d2"),
    champion=PLAN.champion,
    why="",
    requested_us=0,
    seen_by="w",
)
WORKER = WorkerStatus(slot="worker-0", pid=1, started_us=0, errors={"m": ODD}, at_us=0)
REJECTED = VersionRow(version="2", state="rejected", reason=ODD)
ROW = ModelRow(model="m", versions=("2",), states=(REJECTED,), aliases={}, loaded={}, plan=None)
CHECKED = replace(gate_result(), checks=tuple(replace(check, reason=ODD) for check in gate_result().checks))


@pytest.mark.parametrize(
    "view",
    [
        history_view((CHANGE,)),
        history_view((replace(CHANGE, who="", reason=ODD),)),
        promotions_view(Promotions(promotions=(replace(PROMOTION, why=ODD),), moves=())),
        promotions_view(Promotions(promotions=(replace(PROMOTION, who=ODD),), moves=())),
        promotions_view(Promotions(promotions=(replace(PROMOTION, reason=ODD),), moves=())),
        fleet_view(PLAN, Workers(workers=(WORKER,)), Monitors(monitors=())),
        fleet_view(PLAN, Workers(workers=(), warnings=(ODD,)), Monitors(monitors=())),
        models_view(Models(models=(ROW,), warnings=())),
        gates_view((gate_result(who=ODD),)),
        gate_view(CHECKED, "named"),
    ],
)
def test_a_strangers_text_is_shown_and_not_obeyed(view):
    out = io.StringIO()
    Console(file=out, width=1000).print(view)

    assert SHOWN in out.getvalue()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out.getvalue())


@pytest.mark.parametrize(
    ("feature", "cut", "statistic"), [(ODD, "", "psi"), ("", ODD, "auc")], ids=["feature", "slice"]
)
def test_a_feature_and_a_slice_may_be_called_anything(feature, cut, statistic):
    told = {"model": "m", "version": "1", "variant": "champion", "from_": "a", "to": "b", "low": None, "high": None}
    row = Statistic(feature=feature, slice=cut, statistic=statistic, value=0.5, n=500, status="alarm", **told)
    out = io.StringIO()
    show(Console(file=out, width=1000), "m", [row])

    assert SHOWN in out.getvalue()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out.getvalue())


def test_what_is_harmless_stays():
    assert plain("für „mich“: 数\nzwei") == "für „mich“: 数\nzwei"
