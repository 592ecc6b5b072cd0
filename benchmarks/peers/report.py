"""What came of the pairs, as a table, a picture and a file.

Enters: outcomes by model. Leaves: sheets, SVG, JSON and Markdown in a folder. A peer without figures keeps its row, with its
reason. It never measures.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from benchmarks.peers.pairs import Outcome
from benchmarks.pictures import Bar, bars
from benchmarks.sheets import Sheet
from benchmarks.spread import Spread, ratios, spread

OURS = "pointsman"
HEADINGS = ("", "batching", "req/s", "p50 ms", "p99 ms", "pointsman is x", "failures", "MB")


def sheet(model: str, outcomes: list[Outcome], about: dict[str, Any], connections: int) -> Sheet:
    """One model's table: Pointsman, then everybody it was loaded beside."""
    rows = [ours_row(outcomes), *(row(outcome) for outcome in outcomes)]
    title = f"{model}: one row a request, {connections} connections, {about['turns']} turns of {about['seconds']} s"
    note = "Medians with quartiles. Ratios are of each turn's two neighbours in time. " + described(about["machine"])
    return Sheet(title, HEADINGS, rows, (note,))


def ours_row(outcomes: list[Outcome]) -> list[str]:
    """Pointsman's figures from all pairs together."""
    loads = [load for outcome in outcomes for load in outcome.ours]
    if not loads:
        return [OURS, "by itself", "", "", "", "", "nothing was measured", ""]
    return [
        f"{OURS}, all on",
        "by itself",
        spread([load.requests_per_s for load in loads]).shown(0),
        spread([load.p50_ms for load in loads]).shown(),
        spread([load.p99_ms for load in loads]).shown(),
        "",
        str(sum(load.failures for load in loads)),
        "",
    ]


def row(outcome: Outcome) -> list[str]:
    """A peer's figures, or its reason."""
    name = f"{outcome.name} {outcome.version}".strip()
    if outcome.reason:
        return [name, outcome.batching, f"({outcome.reason})", "", "", "", "", ""]
    times = ratio(outcome)
    return [
        name,
        outcome.batching,
        spread([load.requests_per_s for load in outcome.theirs]).shown(0),
        spread([load.p50_ms for load in outcome.theirs]).shown(),
        spread([load.p99_ms for load in outcome.theirs]).shown(),
        times.shown() if times else "",
        str(sum(load.failures for load in outcome.theirs)),
        f"{outcome.memory_mb:,.0f}",
    ]


def ratio(outcome: Outcome) -> Spread | None:
    """Pointsman's requests/s over the peer's, turn by turn."""
    found = ratios([load.requests_per_s for load in outcome.ours], [load.requests_per_s for load in outcome.theirs])
    return spread(found) if found else None


def picture(model: str, outcomes: list[Outcome]) -> str:
    """Everybody's requests/s as bars."""
    ours = [load.requests_per_s for outcome in outcomes for load in outcome.ours]
    rows = [Bar(OURS, spread(ours) if ours else None, "nothing was measured", ours=True)]
    for outcome in outcomes:
        rates = [load.requests_per_s for load in outcome.theirs]
        rows.append(Bar(outcome.name, spread(rates) if rates else None, outcome.reason))
    return bars(f"{model}: requests/s on one core, one row a request", "requests/s, logarithmic", rows)


def keep(folder: Path, results: dict[str, list[Outcome]], about: dict[str, Any], connections: int) -> list[Path]:
    """Write everything; the paths that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {model: [jsoned(outcome) for outcome in outcomes] for model, outcomes in results.items()}
    written = {
        "peers.json": json.dumps(about | {"connections": connections, "models": figures}, indent=1) + "\n",
        "peers.md": "\n".join(
            sheet(model, outcomes, about, connections).markdown() for model, outcomes in results.items()
        ),
    }
    for model, outcomes in results.items():
        written[f"peers-{model}.svg"] = picture(model, outcomes)
    for name, text in written.items():
        (folder / name).write_text(text)
    return [folder / name for name in written]


def jsoned(outcome: Outcome) -> dict[str, Any]:
    """An outcome with its loads by name, and its ratios."""
    times = ratio(outcome)
    return outcome._asdict() | {
        "ours": [load._asdict() for load in outcome.ours],
        "theirs": [load._asdict() for load in outcome.theirs],
        "ratio": times._asdict() if times else None,
    }
