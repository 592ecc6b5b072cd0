"""What came of the pairs, as a table, a picture and a file.

Enters: outcomes by model. Leaves: sheets, SVG, JSON and Markdown in a folder. A peer without figures keeps its row, with its
reason. It never measures.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from benchmarks.peers.pairs import Outcome, Turn
from benchmarks.pictures import Bar, bars
from benchmarks.sheets import Sheet
from benchmarks.spread import Spread, ratios, spread

OURS = "Pointsman"
HEADINGS = ("", "req/s", "p50 ms", "p99 ms", "CPU us", "req/s: Pointsman is x", "CPU: x Pointsman's", "failures", "MB")


def sheet(model: str, outcomes: list[Outcome], about: dict[str, Any], connections: int) -> Sheet:
    """One model's table: Pointsman, then everybody it was loaded beside."""
    rows = [ours_row(outcomes), *(row(outcome) for outcome in outcomes)]
    title = f"{model}: one row a request, {connections} connections, {about['turns']} turns of {about['seconds']} s"
    note = (
        "Medians with quartiles; ratios are of each turn's two neighbours in time. `CPU us`: of all processes of the server, "
        "for each request. " + described(about["machine"])
    )
    return Sheet(title, HEADINGS, rows, (note,))


def ours_row(outcomes: list[Outcome]) -> list[str]:
    """Pointsman's figures from all pairs together."""
    turns = [turn for outcome in outcomes for turn in outcome.ours]
    if not turns:
        return [OURS, "(nothing was measured)", *[""] * (len(HEADINGS) - 2)]
    return [f"{OURS}, all on", *figures(turns), "", "", failures(turns), ""]


def row(outcome: Outcome) -> list[str]:
    """A peer's figures, or its reason."""
    batching = f" ({outcome.batching})" if outcome.batching else ""
    name = f"{outcome.name} {outcome.version}".strip() + batching
    if outcome.reason:
        return [name, f"({outcome.reason})", *[""] * (len(HEADINGS) - 2)]
    compared = [found.shown() if found else "" for found in (ratio(outcome), cpu_ratio(outcome))]
    return [name, *figures(outcome.theirs), *compared, failures(outcome.theirs), f"{outcome.memory_mb:,.0f}"]


def figures(turns: list[Turn]) -> list[str]:
    """Requests/s, latencies and CPU, each with its spread."""
    return [
        spread([turn.load.requests_per_s for turn in turns]).shown(0),
        spread([turn.load.p50_ms for turn in turns]).shown(1),
        spread([turn.load.p99_ms for turn in turns]).shown(1),
        spread([turn.cpu_us for turn in turns]).shown(0),
    ]


def failures(turns: list[Turn]) -> str:
    """All answers that were no success, and the turns in which nobody was answered at all."""
    empty = sum(not turn.load.requests_per_s for turn in turns)
    return str(sum(turn.load.failures for turn in turns)) + (f", {empty} turns without an answer" if empty else "")


def ratio(outcome: Outcome) -> Spread | None:
    """Pointsman's requests/s over the peer's, turn by turn."""
    ours, theirs = ([turn.load.requests_per_s for turn in side] for side in (outcome.ours, outcome.theirs))
    found = ratios(ours, theirs)
    return spread(found) if found else None


def cpu_ratio(outcome: Outcome) -> Spread | None:
    """What a request costs the peer over what it costs Pointsman, turn by turn."""
    pairs = [(our.cpu_us, their.cpu_us) for our, their in zip(outcome.ours, outcome.theirs, strict=True)]
    found = [their / our for our, their in pairs if our > 0 and their > 0]
    return spread(found) if found else None


def picture(model: str, outcomes: list[Outcome]) -> str:
    """Everybody's requests/s as bars."""
    ours = [turn.load.requests_per_s for outcome in outcomes for turn in outcome.ours]
    rows = [Bar(OURS, spread(ours) if ours else None, "nothing was measured", ours=True)]
    for outcome in outcomes:
        rates = [turn.load.requests_per_s for turn in outcome.theirs]
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
    """An outcome with its turns by name, and its ratios."""
    compared = {"requests_per_s": ratio(outcome), "cpu": cpu_ratio(outcome)}
    return outcome._asdict() | {
        "ours": [turn.load._asdict() | {"cpu_us": turn.cpu_us} for turn in outcome.ours],
        "theirs": [turn.load._asdict() | {"cpu_us": turn.cpu_us} for turn in outcome.theirs],
        "ratios": {name: found._asdict() if found else None for name, found in compared.items()},
    }
