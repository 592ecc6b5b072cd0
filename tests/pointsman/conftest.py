"""A desk with an admin API and one without, and a shop of versions that gates judge, each with its command line."""

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.gate import GateResult
from contracts.wire import decode
from pointsman.main import main
from tests.pointsman.gate_shop import NOBODY, stock
from tests.pointsman.traffic_desk import MODEL, Traffic, serve


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line waits for servers of this very process, which may stand still for longer than people would wait."""
    monkeypatch.setattr("pointsman.admin_client.CONNECT_SECONDS", 60.0)
    monkeypatch.setattr("pointsman.card_asking.MONITOR_SECONDS", 60.0)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal in which no line breaks, in an empty folder."""
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def traffic(
    wide: None, tmp_path: Path, graphs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Traffic]:
    """The command line beside an admin API whose registry has versions 1 to 4, version 1 the champion."""
    for version in ("1", "2", "3", "4"):
        folder = tmp_path / "models" / MODEL / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graphs.mlp(bias=float(version)).SerializeToString())
    (tmp_path / "models" / MODEL / "aliases.json").write_text('{"champion": "1"}')
    (tmp_path / "broken").touch()
    listener = socket.create_server(("127.0.0.1", 0))
    thread, server = serve(tmp_path, listener)
    try:
        yield Traffic(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", capsys, monkeypatch)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture
def alone(wide: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """The command line where no admin API runs."""
    return Traffic(tmp_path, "http://127.0.0.1:1", capsys, monkeypatch)


@pytest.fixture
def shop(tmp_path: Path, graphs: Any) -> Path:
    """A folder with the versions, the rows and the suite of `stock`."""
    stock(tmp_path, graphs)
    return tmp_path


@pytest.fixture
def command(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line; the exit code, what it printed, and what it said."""

    def run(*words: Any, admin: str | None = NOBODY) -> tuple[int, str, str]:
        environment = {"POINTSMAN_REGISTRY": str(shop / "models")}
        if admin is not None:
            environment["POINTSMAN_ADMIN_PORT"] = admin.rpartition(":")[2]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["pointsman", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "250")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def gate(shop: Path, command: Callable[..., Any]) -> Callable[..., GateResult]:
    """Runs `pointsman gate` on a version, which ends with `code`; its result."""

    def run(
        version: str, *words: Any, suite: str | None = None, code: int | None = None, admin: str | None = NOBODY
    ) -> GateResult:
        if suite is not None:
            (shop / "suite.toml").write_text(suite)
        found, out, err = command("gate", MODEL, version, "--suite", shop / "suite.toml", "--json", *words, admin=admin)
        assert found == code, err
        return decode(GateResult, out.encode())

    return run
