"""A worker that hangs is found, killed and replaced, while the others of the host go on answering."""

import asyncio
import os
import signal
import time

import httpx

from prediction_log.spool.segment import Kind

ANSWERS = 50


def test_a_stopped_worker_is_replaced_and_the_other_answers_meanwhile(start, load, records, until):
    running = start("serve", workers=2)
    traffic = load(running)

    def stop_one():
        until(lambda: len(traffic.answers) > 50, what="answers")
        old = running.children()["worker-0"]
        began = time.monotonic()
        running.process.send_signal(signal.SIGSTOP)  # or it might replace the worker before anybody has asked the other
        os.kill(old, signal.SIGSTOP)
        with httpx.Client(base_url=running.data, timeout=60) as client:
            for _ in range(ANSWERS):
                client.get("/v2/health/live").raise_for_status()
            running.process.send_signal(signal.SIGCONT)
            while running.children().get("worker-0", old) == old:
                client.get("/v2/health/live").raise_for_status()
                time.sleep(0.02)
                assert time.monotonic() < began + 120
        print(f"\nreplaced after {time.monotonic() - began:.1f} s")

    asyncio.run(traffic.during(4, stop_one))
    assert running.stop() == 0

    logged = {record.prediction_id for record in records(running.state, Kind.PREDICTION)}
    assert {answer[0] for answer in traffic.answers} <= logged
    assert traffic.failures == []
