"""The servers that tests lean on do what they say: start, stop, keep, and be slow when told."""

import contextlib
import gc
import socket
import sys
import threading
import time

import redis as client

from tests.services.ports import CLIENT_PORTS, _is_free, _ports, free_ports


def test_a_broker_comes_back_with_its_data_on_the_same_port(own_kafka):
    import asyncio

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    one = own_kafka(1)

    async def write():
        admin = AIOKafkaAdminClient(bootstrap_servers=one.address)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=one.address, acks="all") as producer:
            await producer.send_and_wait("kept", b"here")

    async def read():
        async with AIOKafkaConsumer("kept", bootstrap_servers=one.address, auto_offset_reset="earliest") as consumer:
            return (await asyncio.wait_for(consumer.getone(), 60)).value

    asyncio.run(write())
    one.brokers[0].kill()
    one.brokers[0].start()

    assert asyncio.run(read()) == b"here"


def test_a_redis_comes_back_with_its_data_on_the_same_port(redis_server):
    with client.Redis.from_url(redis_server.url) as one:
        one.set("key", "kept")
    redis_server.kill()
    redis_server.start(keep=True)

    with client.Redis.from_url(redis_server.url) as one:
        assert one.get("key") == b"kept"


def test_a_proxy_delays_and_cuts(redis_server, make_proxy):
    proxy = make_proxy(redis_server.port)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as line:
        with proxy.being(latency_s=0.3):
            began = time.monotonic()
            line.sendall(b"PING\r\n")
            assert line.recv(100) == b"+PONG\r\n"
            assert time.monotonic() - began >= 0.3
        proxy.cut()
        try:
            assert line.recv(100) == b""
        except ConnectionResetError:
            pass


def test_a_proxy_that_closes_leaves_no_connection_behind(redis_server, make_proxy, monkeypatch):
    """One that is left to the collector warns, and fails whatever test runs by then."""
    lines, left = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: left.append(str(told.exc_value)))

    def connect(proxy, until):
        while not until.is_set():
            with contextlib.suppress(OSError):
                lines.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=10))

    for _ in range(3):
        proxy, closed = make_proxy(redis_server.port), threading.Event()
        connecting = threading.Thread(target=connect, args=(proxy, closed))
        connecting.start()
        time.sleep(0.02)
        proxy.close()
        closed.set()
        connecting.join()
        for line in lines:
            line.close()
        lines.clear()
    gc.collect()

    assert left == []


def test_ports_of_servers_are_none_that_clients_ends_or_other_runners_get(monkeypatch):
    clients = int(CLIENT_PORTS.read_text().split()[0])
    given = []
    for runner in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", runner)
        _ports.cache_clear()
        given += [port for _ in range(60) for port in free_ports(3)]
    _ports.cache_clear()
    assert len(set(given)) == 360, "a port was given twice"
    assert max(given) < clients


def test_a_port_that_somebody_listens_on_is_not_given():
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert not _is_free(port)
    assert _is_free(port)
