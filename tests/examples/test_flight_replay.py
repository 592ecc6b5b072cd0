"""The replay sends every flight once, in event time, and every label after its flight; what is refused ends it."""

import asyncio
import socket
from collections import Counter

import msgspec
import pytest

from contracts.moment import parse_moment
from examples.flights.labels import planned_labels
from examples.flights.lane import Lane, parse_head
from examples.flights.replay import DAY_US, Replay, ReplayFailed, Tally
from examples.flights.sampling import INPUTS, spread


class Gateway:
    """Answers on a socket as the gateway does, and remembers what it was asked. `refuse_at`: the request it refuses."""

    def __init__(self, refuse_at=None, *, close_after_each=False):
        self.serving = set()
        self.predictions = []
        self.labels = []
        self.story = []
        self.refuse_at = refuse_at
        self.close_after_each = close_after_each

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()
        await asyncio.gather(*self.serving)

    async def serve(self, reader, writer):
        self.serving.add(asyncio.current_task())
        try:
            await self.answer_all(reader, writer)
        finally:
            writer.close()

    async def answer_all(self, reader, writer):
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            status, reply = self.answer(head.split()[1].decode(), msgspec.json.decode(await reader.readexactly(length)))
            body = msgspec.json.encode(reply)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            if self.close_after_each:
                return

    def answer(self, path, body):
        if path == "/v2/labels":
            self.labels += body["labels"]
            self.story += [("label", label["prediction_id"]) for label in body["labels"]]
            return 202, {"accepted": len(body["labels"]), "refused": []}
        assert path == "/v2/models/flight-delay/infer"
        number = len(self.predictions)
        if number == self.refuse_at:
            return 503, {"error": "the disk is full"}
        self.predictions.append(body)
        self.story.append(("prediction", str(number)))
        return 200, {"model_version": "1", "parameters": {"prediction_id": str(number), "variant": "champion"}}


@pytest.fixture(scope="module")
def flights(table):
    return spread(table, 300, seed=2)


def replayed(flights, gateway, days=None):
    tally = Tally()

    async def arrived_at(event_us):
        if days is not None:
            days.append(event_us)

    async def run():
        async with gateway as port:
            lanes = [Lane(port) for _ in range(8)]
            try:
                await Replay(flights, planned_labels(flights, 2), lanes, tally, arrived_at).run()
            finally:
                for lane in lanes:
                    await lane.aclose()

    asyncio.run(run())
    return tally


def test_every_flight_is_sent_once_with_the_union_of_inputs_and_its_event_time(flights):
    gateway = Gateway()
    tally = replayed(flights, gateway)
    sent = Counter(parse_moment("", body["parameters"]["event_time"]) for body in gateway.predictions)
    assert sent == Counter(flight.departs_us for flight in flights)
    assert all([given["name"] for given in body["inputs"]] == list(INPUTS) for body in gateway.predictions)
    assert tally.predictions == len(flights)


def test_the_aircraft_is_the_routing_key_where_it_is_known(flights):
    gateway = Gateway()
    replayed(flights, gateway)
    keys = Counter(body["parameters"].get("routing_key") for body in gateway.predictions)
    assert keys == Counter(flight.aircraft for flight in flights)


def test_event_time_never_goes_back_by_more_than_a_day(flights):
    gateway = Gateway()
    replayed(flights, gateway)
    days = [parse_moment("", body["parameters"]["event_time"]) // DAY_US for body in gateway.predictions]
    assert days == sorted(days)


def test_every_planned_label_is_sent_and_none_before_its_flight(flights):
    gateway = Gateway()
    tally = replayed(flights, gateway)
    assert tally.labels == len(gateway.labels) == len(planned_labels(flights, 2))
    predicted = set()
    for kind, name in gateway.story:
        if kind == "prediction":
            predicted.add(name)
        else:
            assert name in predicted


def test_labels_go_out_while_the_replay_is_under_way(flights):
    gateway = Gateway()
    replayed(flights, gateway)
    kinds = [kind for kind, _ in gateway.story]
    assert kinds.index("label") < kinds.index("prediction") + len(flights) // 2


def test_each_new_day_is_told_before_its_flights(flights):
    days = []
    replayed(flights, Gateway(), days)
    assert days == sorted({flight.departs_us // DAY_US * DAY_US for flight in flights})


def test_a_refused_prediction_ends_the_replay_with_the_gateways_words(flights):
    with pytest.raises(ReplayFailed, match=r"infer was answered 503: .*the disk is full"):
        replayed(flights, Gateway(refuse_at=40))


def test_a_connection_that_the_gateway_closed_while_idle_is_opened_again():
    async def run():
        gateway = Gateway(close_after_each=True)
        async with gateway as port:
            lane = Lane(port)
            for _ in range(3):
                assert (await lane.post("/v2/labels", b'{"labels": []}'))[0] == 202
                assert await lane._streams[0].read() == b""
            await lane.aclose()

    asyncio.run(run())


def test_nobody_there_is_told(flights):
    async def run(port):
        async def arrived_at(event_us):
            pass

        await Replay(flights, [], [Lane(port)], Tally(), arrived_at).run()

    with socket.socket() as nobody:  # has the port, so that nobody else gets it, and does not listen
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(ReplayFailed, match="the connection to the gateway broke"):
            asyncio.run(run(nobody.getsockname()[1]))


def test_shares_are_of_the_newest_answers():
    tally = Tally()
    for who in [("champion", "1")] * 700 + [("canary-2", "2")] * 250:
        tally.count(who)
    assert tally.shares == {("champion", "1"): 0.5, ("canary-2", "2"): 0.5}
    assert tally.predictions == 950


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "CONTENT-LENGTH"])
def test_a_head_gives_status_and_length_however_it_is_written(name):
    assert parse_head(f"HTTP/1.1 202 Accepted\r\ndate: x\r\n{name}: 17\r\n\r\n".encode()) == (202, 17)


def test_a_reply_without_a_length_is_refused():
    with pytest.raises(ValueError, match="without content-length"):
        parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
