"""A desk with an admin API and one without, for tests of the commands that ask it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pointsman.traffic_desk import MODEL, Traffic, serve


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
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture
def alone(wide: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """The command line where no admin API runs."""
    return Traffic(tmp_path, "http://127.0.0.1:1", capsys, monkeypatch)
