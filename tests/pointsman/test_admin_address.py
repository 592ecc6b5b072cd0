"""Where the commands find the admin API: said, or out of the settings; and what they say where it is not."""

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pointsman.traffic_desk import MODEL


def test_where_nobody_answers_the_address_and_the_remedy_are_named(alone, monkeypatch):
    monkeypatch.setenv("POINTSMAN_ADMIN_PORT", "1")
    code, _, err = alone.run("traffic", "show", MODEL, admin=False)

    assert code == 1
    assert (
        "nobody answers at http://127.0.0.1:1: start Pointsman with `pointsman up`, or name its admin API with --admin"
        in err
    )


def test_the_address_comes_from_the_settings_unless_said(traffic, monkeypatch):
    traffic.ok("traffic", "warm", MODEL, "2")
    Path("mine.toml").write_text(f"admin_port = {traffic.address.rpartition(':')[2]}")
    code, out, err = traffic.run("traffic", "show", MODEL, "--config", "mine.toml", admin=False)

    assert (code, err) == (0, "")
    assert "revision 2" in out


def test_settings_that_cannot_be_meant_are_said_before_anybody_is_asked(alone, monkeypatch):
    monkeypatch.setenv("POINTSMAN_ADMIN_PROT", "8003")
    code, _, err = alone.run("traffic", "show", MODEL, admin=False)

    assert code == 1
    assert "did you mean 'POINTSMAN_ADMIN_PORT'" in err


@pytest.mark.parametrize("address", ["127.0.0.1:8003", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_an_error_not_a_traceback(alone, address):
    code, _, err = alone.run("traffic", "show", MODEL, "--admin", address, admin=False)

    assert code == 1
    assert err.startswith("error: ")


def test_an_answer_of_somebody_else_is_not_taken_for_the_admin_api(alone):
    async def other(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    with answering(other) as port:
        code, _, err = alone.run("traffic", "show", MODEL, "--admin", f"http://127.0.0.1:{port}", admin=False)

    assert code == 1
    assert "is it the admin API of this release?" in err


@contextmanager
def answering(handle):
    started, ports, loops = threading.Event(), [], []

    async def run():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        started.set()
        async with server:
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    started.wait(60)
    try:
        yield ports[0]
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
