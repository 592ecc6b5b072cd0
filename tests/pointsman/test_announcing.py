"""Where everything is, is said once a worker is ready, however long it takes to answer."""

import asyncio

import httpx

from pointsman import roles


def test_a_worker_that_is_too_busy_to_answer_is_asked_again(monkeypatch):
    monkeypatch.setattr(roles, "READY_POLL_SECONDS", 0.0)
    late, asked = {"/v2/health/ready", "/v2/models"}, []

    def answer(request):
        path = request.url.path
        asked.append(path)
        if path in late:
            late.remove(path)
            raise httpx.ReadTimeout("it is busy", request=request)
        return httpx.Response(200, json={"ready": True} if path.endswith("ready") else {"models": ["flight-delay"]})

    async def served():
        async with httpx.AsyncClient(base_url="http://here", transport=httpx.MockTransport(answer)) as client:
            return await roles._served(client, asyncio.Event())

    assert asyncio.run(served()) == ["flight-delay"]
    ready, models = "/v2/health/ready", "/v2/models"
    assert asked == [ready, ready, models, ready, models]


def test_nobody_is_asked_once_it_stops():
    async def served():
        stop = asyncio.Event()
        stop.set()
        async with httpx.AsyncClient(base_url="http://here", transport=httpx.MockTransport(lambda _: None)) as client:
            return await roles._served(client, stop)

    assert asyncio.run(served()) is None
