"""How an explained prediction looks in a terminal: one screen, the answer to "who decided this" first.

Enters: what the log says. Leaves: a rich renderable. Never reads a log, and never leaves out that something is not known.
"""

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.label import Label
from contracts.moment import format_moment
from contracts.prediction import Prediction
from pointsman.explaining import Explained
from pointsman.traffic_view import differences

FEATURES_SHOWN: Final = 40
CHARS_SHOWN: Final = 60
DOUBTS_SHOWN: Final = 5


def explain_view(found: Explained) -> RenderableType:
    """One prediction, or one row of it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    for name, value in _lines(found):
        table.add_row(name, value)
    row = f"#{found.row}" if found.row else ""
    return Group(Text.assemble((found.prediction_id + row, "bold"), f"  made {found.made_at}"), table)


def _lines(found: Explained) -> list[tuple[str, RenderableType]]:
    of = found.answer or found.others[0]
    lines: list[tuple[str, RenderableType]] = [
        ("answered by", _decider(found)),
        ("digest", Text(of.digest)),
        ("chosen by", _assignment(of)),
        ("plan", _plan(found, of)),
        ("gate", _gate(found)),
        ("asked by", _caller(of)),
        ("on", _features(of, found.row)),
    ]
    if found.answer is not None:
        lines.append(("answer", _outputs(found.answer, found.row)))
    lines.append(("label", _labels(found.labels)))
    others = found.others if found.answer is not None else found.others[1:]
    lines += [("beside it", _other(other, found.row)) for other in others]
    lines += [("in doubt", Text(doubt, "yellow")) for doubt in found.doubts[:DOUBTS_SHOWN]]
    lines.append(("worker", Text(f"{of.worker}, pointsman {of.gateway_version}, {_spent(of)}")))
    return lines


def _decider(found: Explained) -> Text:
    if found.answer is None:
        of = found.others[0]
        return Text.assemble(
            ("nobody", "bold red"), f": version {of.version} of {of.model} ({of.variant}) {of.status}: {of.error}"
        )
    of = found.answer
    said = Text.assemble((f"version {of.version}", "bold green"), f" of {of.model}, as {of.variant} ({of.role})")
    if of.fallback_from is not None:
        said.append(f", in place of {of.fallback_from}", "yellow")
    return said


def _assignment(of: Prediction) -> Text:
    chosen = of.assignment
    how = {
        "hash": f"the hash of the {chosen.unit_source.replace('_', ' ')}, {chosen.unit_hash}",
        "forced": "the caller, who forced the variant",
        "pinned": "the caller, who named the version",
        "fallback": "the failure of the variant that the hash had chosen",
        "shadow": "the hash of the shadow's sample",
    }[chosen.reason]
    return Text(f"{how}; share {chosen.share:.4g}, propensity {chosen.propensity:.4g}")


def _plan(found: Explained, of: Prediction) -> Text:
    change = found.change
    if change is None:
        return Text(f"revision {of.revision}; who made it: pointsman traffic history {of.model}")
    said = Text(f"revision {change.revision}, {change.verb} by {change.who}, {format_moment(change.at_us)}")
    said.append("; ".join(["", *differences(change.before, change.after)]))
    if change.reason:
        said.append(f'; "{change.reason}"')
    return said


def _gate(found: Explained) -> Text:
    if not found.gates:
        return Text("none of these bytes in the part of the log that was read", "dim")
    last = max(found.gates, key=lambda gate: gate.evaluated_us)
    against = "no champion" if last.baseline is None else f"version {last.baseline.version}"
    colour = "green" if last.outcome == "pass" else "yellow"
    at = format_moment(last.evaluated_us)
    said = f" against {against}, policy {last.policy_sha256[:12]}, by {last.who}, {at}, {last.gate_id}"
    return Text.assemble((last.outcome, colour), said)


def _caller(of: Prediction) -> Text:
    said = f"request {of.request_id}" if of.request_id else "a request without an id"
    at = f", received {format_moment(of.received_us)}"
    event = "" if of.event_us == of.received_us else f", about {format_moment(of.event_us)}"
    return Text(f"{said}{at}{event}, {of.rows} row{'s' if of.rows != 1 else ''}")


def _features(of: Prediction, row: int) -> RenderableType:
    if not of.features:
        return Text("nothing recorded: it never came to the model", "dim")
    pairs = [f"{name} = {_value(values, row)}" for name, values in of.features.items()]
    said = Text(", ".join(pairs[:FEATURES_SHOWN]))
    if len(pairs) > FEATURES_SHOWN:
        said.append(f", and {len(pairs) - FEATURES_SHOWN} more (--json)", "dim")
    if of.extra_features:
        said.append(f"; sent, but not taken by this version: {', '.join(of.extra_features)}", "yellow")
    return said


def _outputs(of: Prediction, row: int) -> Text:
    parts = []
    for name, output in of.outputs.items():
        width = len(output.data) // of.rows if of.rows else 0
        own = output.data[row * width : (row + 1) * width]
        parts.append(f"{name} = {_short(own[0] if width == 1 else own)}")
    return Text(", ".join(parts), "bold")


def _labels(labels: list[Label]) -> Text:
    if not labels:
        return Text("none has come", "dim")
    counts = labels[0]
    said = Text("taken back" if counts.op == "retract" else _short(counts.label), "bold")
    said.append(f", observed {format_moment(counts.observed_us)}, received {format_moment(counts.received_us)}")
    if len(labels) > 1:
        said.append(f"; the latest word of {len(labels)}", "dim")
    return said


def _other(of: Prediction, row: int) -> Text:
    said = Text(f"version {of.version} as {of.variant} ({of.role}): {of.status}")
    if of.error:
        said.append(f", {of.error}", "yellow")
    elif of.outputs:
        said.append(", ")
        said.append(_outputs(of, row))
    return said


def _spent(of: Prediction) -> str:
    spent = of.latency
    return (
        f"waited {spent.queue_us} us, ran {spent.run_us} us ({of.batch_rows} rows together), {spent.total_us} us in all"
    )


def _value(values: list[Any], row: int) -> str:
    return _short(values[row]) if row < len(values) else "no such row"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= CHARS_SHOWN else text[: CHARS_SHOWN - 3] + "..."
