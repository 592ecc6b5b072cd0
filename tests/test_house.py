"""The house keeps its floor plan: imports run one way, every file says what it is for, and nothing grows out of bounds."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
ROOMS = ("pointsman", "examples", "gateway", "monitor", "prediction_log", "registry_client", "contracts")
"""From the top down: a room may import those below it only."""

FILES = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))
STARLETTE = re.compile(r"gateway/(endpoints|admin/\w+)\.py|monitor/pages/http\w*\.py")
ROCKSDB = "monitor/counts/join_store.py"
KAFKA = re.compile(r"prediction_log/(kafka|forward|certificate)/\w+\.py|monitor/fleet/\w+\.py")
REDIS = re.compile(r"gateway/fleet/redis_link\.py|monitor/fleet_report\.py")
ONNX = re.compile(r"gateway/models/\w*(session|probe)\w*\.py|examples/.*")
PURE = {
    "contracts",
    "gateway/traffic/routing.py",
    "gateway/traffic/shifts.py",
    "gateway/traffic/ranges.py",
    "gateway/traffic/gating.py",
    "gateway/records.py",
    "gateway/cards/about_traffic.py",
    "gateway/cards/about_version.py",
    "gateway/cards/assembly.py",
    "gateway/cards/page.py",
    "gateway/cards/section.py",
    "gateway/cards/telling.py",
    "gateway/cards/traffic_part.py",
    "monitor/fleet/exchange.py",
    "monitor/counts/layout.py",
    "monitor/measures/drift.py",
    "monitor/measures/performance.py",
    "monitor/measures/calibration.py",
    "monitor/counts/summary.py",
    "monitor/measures/judge.py",
    "monitor/gate/paired.py",
    "monitor/gate/metrics.py",
    "monitor/gate/rows.py",
    "monitor/gate/single.py",
}
IMPURE = {"os", "time", "socket", "asyncio", "sqlite3", "subprocess", "random", "threading", "httpx", "logging", "uuid"}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50


def name_of(path: Path) -> str:
    return str(path.relative_to(HOUSE))


@cache
def imported(path: Path) -> frozenset[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(modules)


def rooms_of(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in imported(path)} & set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_downwards_only(path):
    room = path.relative_to(HOUSE).parts[0]
    below = set(ROOMS[ROOMS.index(room) :])

    assert rooms_of(path) <= below, "a room imports the rooms below it only"


def test_gateway_and_monitor_never_meet_outside_contracts_and_the_log():
    gateway = {name_of(path) for path in FILES if name_of(path).startswith("gateway/") and "monitor" in rooms_of(path)}
    monitor = {name_of(path) for path in FILES if name_of(path).startswith("monitor/") and "gateway" in rooms_of(path)}

    assert gateway | monitor == set()


def test_the_gateway_serves_without_knowing_its_admin_room():
    knowing = {
        name_of(path)
        for path in FILES
        if name_of(path).startswith("gateway/")
        and not name_of(path).startswith("gateway/admin/")
        and any(module.startswith("gateway.admin") for module in imported(path))
    }

    assert knowing == set()


def test_starlette_stands_only_where_http_is_spoken():
    speakers = {name_of(path) for path in FILES if any(m.split(".")[0] == "starlette" for m in imported(path))}

    assert {name for name in speakers if not STARLETTE.fullmatch(name)} == set()


def test_redis_stands_only_where_its_server_is_spoken_to():
    speakers = {name_of(path) for path in FILES if any(m.split(".")[0] == "redis" for m in imported(path))}

    assert {name for name in speakers if not REDIS.fullmatch(name)} == set()


def test_kafka_stands_only_where_its_brokers_are_spoken_to():
    speakers = {name_of(path) for path in FILES if any(m.split(".")[0] == "aiokafka" for m in imported(path))}

    assert {name for name in speakers if not KAFKA.fullmatch(name)} == set()


def test_rocksdb_stands_only_where_the_joins_rows_are():
    assert {name_of(path) for path in FILES if "rocksdict" in imported(path)} == {ROCKSDB}


def test_every_script_of_redis_names_its_keys():
    scripts = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.lua"))
    assert scripts

    for path in scripts:
        text = path.read_text()
        used = set(re.findall(r"KEYS\[(\d)\]", text.partition("local ")[2]))
        named = set(re.findall(r"^-- KEYS\[(\d)\] +\{pointsman\}:", text, re.MULTILINE))
        assert text.startswith("-- "), f"{path.name} says what it is for"
        assert used == named, f"{path.name} uses keys {used} and names {named}"


def test_onnxruntime_stands_only_where_a_session_runs():
    runners = {name_of(path) for path in FILES if any(m.split(".")[0] == "onnxruntime" for m in imported(path))}

    assert {name for name in runners if not ONNX.fullmatch(name)} == set()


def test_pure_rooms_import_neither_io_nor_clocks():
    pure = [path for path in FILES if name_of(path) in PURE or path.relative_to(HOUSE).parts[0] in PURE]
    assert len(pure) > len(PURE)

    breaches = {
        name_of(path): tops & IMPURE for path in pure if (tops := {m.split(".")[0] for m in imported(path)}) & IMPURE
    }

    assert breaches == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text())), (
        "the first docstring says what enters, what leaves, what never"
    )


def test_no_file_is_a_drawer():
    drawers = re.compile(r"(utils?|helpers?|common|base|misc|manager)s?$")

    assert {
        name_of(path) for path in FILES if any(drawers.search(part) for part in path.with_suffix("").parts[-2:])
    } == set()


def test_files_fit_in_a_head():
    long = {name_of(path): lines for path in FILES if (lines := path.read_text().count("\n")) > FILE_LINES_MAX}

    assert long == {}


def test_functions_fit_on_a_screen():
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{name_of(path)}:{node.name}"] = lines

    assert long == {}


def test_the_whole_request_path_fits_in_one_file():
    story = HOUSE / "gateway" / "answer.py"

    assert story.read_text().count("\n") < 150


def test_nothing_is_left_for_later():
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")

    assert {name_of(path) for path in FILES if left.search(path.read_text())} == set()


def test_locked_versions_carry_hashes_and_no_index_address():
    for lock in sorted((HOUSE / "requirements").glob("*.txt")):
        text = lock.read_text()
        pinned = re.findall(r"^[a-z0-9][\w.\[\]-]*==", text, re.MULTILINE | re.IGNORECASE)
        assert pinned, lock.name
        assert "://" not in text, f"{lock.name} names an address"
        assert text.count("--hash=sha256:") >= len(pinned), f"{lock.name} has versions without hashes"
