"""More than can be answered: who is let in is answered in time, who is not is told at once and why; then all is well again."""

import asyncio
from collections import Counter

import httpx

CLIENTS = 40
TIMEOUT_MS = 1000
SECONDS = 4.0
SECONDS_MAX = 60.0
REASONS = ("whoever comes now waits about", "more is asked of 'slow' than it can answer")
SLOW_TURNS = 20_000


def test_too_many_clients_are_refused_at_once_and_the_others_answered_in_time(start, registry, graphs, until):
    folder = registry / "slow" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graphs.loop(SLOW_TURNS).SerializeToString())
    running = start("serve", batch_rows_max=1)
    url = f"{running.data}/v2/models/slow/infer"
    request = {
        "parameters": {"timeout": TIMEOUT_MS * 1000},
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
    }
    asyncio.run(crowd(url, request, 2, 2.0, lambda _: True))  # how long a run takes here is learnt from runs
    replies = asyncio.run(crowd(url, request, CLIENTS, SECONDS, tells))

    statuses = Counter(reply.status_code for reply in replies)
    print(f"\n{dict(statuses)} of {CLIENTS} clients in {SECONDS:g} s")
    assert set(statuses) <= {200, 503, 504}
    assert statuses[200] > 0
    assert statuses[503] > 0
    assert statuses[504] < statuses[200], "who is let in is answered in time"
    refusals = [reply for reply in replies if reply.status_code == 503]
    assert {reply.headers["retry-after"] for reply in refusals} == {"1"}
    said = {reason for reply in refusals for reason in REASONS if reason in reply.json()["error"]}
    assert all(any(reason in reply.json()["error"] for reason in REASONS) for reply in refusals)
    assert "more is asked of 'slow' than it can answer" in said, "most are refused unread"
    until(lambda: httpx.post(url, json=request).status_code == 200, what="an answer after the crowd")


def tells(replies):
    """Whether there are enough answers to judge: where the machine stands still for a second all that were let in are late."""
    unread = any(reply.status_code == 503 and REASONS[1] in reply.json()["error"] for reply in replies)
    return unread and sum(reply.status_code == 200 for reply in replies) > 4 * CLIENTS


async def crowd(url, request, clients, seconds, enough):
    """All replies to clients that ask again at once when they are answered, and rest a little when they are refused: for so
    long, and for longer where they are not `enough`.
    """
    replies = []
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        clock = asyncio.get_running_loop().time
        began = clock()

        async def one():
            while clock() < began + seconds or (clock() < began + SECONDS_MAX and not enough(replies)):
                reply = await client.post(url, json=request)
                replies.append(reply)
                await asyncio.sleep(0 if reply.status_code == 200 else 0.1)

        await asyncio.gather(*(one() for _ in range(clients)))
    return replies


def test_a_client_beyond_its_quota_is_told_when_to_come_again(start, flight, until):
    running = start("serve", quota_requests_per_second=3)
    url = f"{running.data}/v2/models/flight-delay/infer"
    with httpx.Client(timeout=60) as client:
        assert client.post(url, json=flight()).status_code == 200
        # four within the time of one: some are, however slow the machine is
        refused = until(lambda: (reply := client.post(url, json=flight())).status_code != 200 and reply, every=0)
        counted = client.get(f"{running.data}/metrics").text

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "may send 3 requests a second (quota_requests_per_second)" in refused.json()["error"]
    assert 'code="429"' in counted
