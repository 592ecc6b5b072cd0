"""Batches gather what arrived, keep requests apart, and hold their bounds."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.errors import CallerGone, DeadlineExceeded, ModelFailed, Overloaded
from gateway.clock import Clock
from gateway.models.batching import INLINE_OVERRUN_MAX, INLINE_OVERRUNS_MAX, STOP_GRACE_SECONDS, Batcher
from gateway.models.inputs import fit
from gateway.models.sessions import load_session
from gateway.models.slots import Slots, Threads
from gateway.models.standing import INTERVAL_NS
from gateway.protocol.v2 import decode_infer
from registry_client.folder import FolderRegistry

FAR_NS = 10**18
SLOW = 200
"""So many times slower a story is told in which deadlines are short, because they are kept by the machine's clock too."""


class Time:
    """A monotonic clock that goes on only when told; each reading may cost something."""

    def __init__(self):
        self.ns, self.step_ns = 0, 0

    def __call__(self):
        self.ns += self.step_ns
        return self.ns


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def loaded(tmp_path, graphs):
    """The session of a model in a registry of its own; no time goes by when it is tried."""

    async def load(model):
        folder = tmp_path / "models" / "m" / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        registry = FolderRegistry(tmp_path / "models", tmp_path / "cache")
        return await load_session(await registry.fetch("m", "1"), clock=lambda: 0)

    return load


@pytest.fixture
def batcher(time):
    pool = ThreadPoolExecutor(1)
    threads = Threads(pool, Slots(1))
    clock = Clock(now_us=lambda: 0, mono_ns=time, new_id=lambda: "id")

    def make(session, **bounds):
        return Batcher(session, threads, clock, **{"rows_max": 64, "queue_max": 100, "inline_us_max": 1e6} | bounds)

    yield make
    pool.shutdown()


class Asked:
    """One request in a queue, as a gateway's attempt is; `result` is how it ended."""

    def __init__(self, fitted, deadline_ns):
        self.fitted, self.deadline_ns = fitted, deadline_ns
        self.since_ns, self.over, self.gone, self.timer = 0, False, False, None
        self.result = asyncio.get_running_loop().create_future()

    def end(self, result):
        assert not self.over, "it ends once"
        self.over, self.ended = True, result
        if self.timer:
            self.timer.cancel()


def told(asked):
    """Those who wait hear of it."""
    for one in asked:
        if isinstance(one.ended, Exception):
            one.result.set_exception(one.ended)
        else:
            one.result.set_result(one.ended)


def ask(queue, *fitted, deadline_ns=FAR_NS):
    """These requests come together; a future for each."""
    asked = [Asked(one, deadline_ns) for one in fitted]
    queue.run(asked, told)
    return [one.result for one in asked]


def fitted(session, *rows):
    """A request of these rows as the session takes it."""
    tensor = session.signature.inputs[0]
    values = ", ".join(str(value) for row in rows for value in row)
    text = f'[{{"name": "{tensor.name}", "shape": [{len(rows)}, {len(rows[0])}], "datatype": "{tensor.datatype}", "data": [{values}]}}]'
    return fit(decode_infer(f'{{"inputs": {text}}}'.encode()), session.signature)


def answer(ran, name="y"):
    return ran.outputs[name].data


@pytest.mark.parametrize("inline_us_max", [1e6, -1.0], ids=["on the loop", "in a thread"])
def test_concurrent_requests_run_together_and_keep_their_own_rows(graphs, loaded, batcher, inline_us_max):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, inline_us_max=inline_us_max)
        rows = [[[i + r / 10, 0] for r in range(1 + i % 3)] for i in range(20)]
        return await asyncio.gather(*ask(queue, *[fitted(session, *own) for own in rows]))

    results = asyncio.run(run())

    for i, ran in enumerate(results):
        expected = [value for r in range(1 + i % 3) for value in (i + r / 10, 0.0)]
        assert answer(ran) == pytest.approx(expected)
    assert {ran.run.rows for ran in results} == {sum(1 + i % 3 for i in range(20))}, "one run for all"


def test_a_batch_has_at_most_rows_max_rows_and_nobody_is_left_behind(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, rows_max=8)
        return await asyncio.gather(*ask(queue, *[fitted(session, [i, 0], [i, 1], [i, 2]) for i in range(10)]))

    results = asyncio.run(run())

    assert {ran.run.rows for ran in results} == {6}
    assert [answer(ran)[0] for ran in results] == list(range(10))


def test_one_bad_request_does_not_fail_its_neighbours(graphs, loaded, batcher):
    gather_node = graphs.model(
        [graphs.node("Gather", ["table", "x"], ["y"], axis=0)],
        [graphs.value("x", ["n", 1], "INT64")],
        [graphs.value("y", ["n", 1])],
        [graphs.constant("table", [10.0, 11.0, 12.0])],
    )

    async def run():
        session = await loaded(gather_node)
        queue = batcher(session)
        futures = ask(queue, *[fitted(session, [value]) for value in (0, 1, 99, 2)])
        return await asyncio.gather(*futures, return_exceptions=True)

    zero, one, bad, two = asyncio.run(run())

    assert [answer(ran) for ran in (zero, one, two)] == [[10.0], [11.0], [12.0]]
    assert isinstance(bad, ModelFailed)
    assert "version 1 of 'm'" in str(bad)


def test_a_full_queue_refuses_at_once_and_serves_on(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, queue_max=3)
        *waiting, refused = ask(queue, *[fitted(session, [i, 0]) for i in range(4)])
        with pytest.raises(Overloaded, match=r"3 requests wait already \(3 at most\)"):
            await refused
        await asyncio.gather(*waiting)
        (later,) = ask(queue, fitted(session, [7, 0]))
        return await later

    assert answer(asyncio.run(run())) == [7.0, 0.0]


def test_a_request_whose_time_ran_out_in_the_queue_is_not_run(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, rows_max=1)
        first, late, early = (Asked(fitted(session, [i, 0]), limit) for i, limit in enumerate((FAR_NS, 1_000, FAR_NS)))
        queue.run([first, late, early], told)
        time.ns = 5_000
        return await asyncio.gather(late.result, early.result, return_exceptions=True)

    late, early = asyncio.run(run())

    assert isinstance(late, DeadlineExceeded)
    assert str(late) == "version 1 of 'm': the deadline passed after 5 microseconds in the queue; allow more time"
    assert early.run.rows == 1


def test_a_cancelled_caller_is_left_out_of_the_run(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session)
        gone, here = (Asked(fitted(session, [i, 0]), FAR_NS) for i in range(2))
        gone.gone = True
        queue.run([gone, here], told)
        with pytest.raises(CallerGone, match="version 1 of 'm': the caller left before it ran"):
            await gone.result
        return await here.result

    assert asyncio.run(run()).run.rows == 1


def test_whoever_would_wait_beyond_the_deadline_is_told_at_once(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.identity())
        session.run_us, session.row_us = 50_000_000.0, 1.0
        queue = batcher(session, rows_max=1, inline_us_max=-1.0)
        patient = [Asked(fitted(session, [i, 0]), FAR_NS) for i in range(3)]
        hasty, able = (Asked(fitted(session, [9, 0]), seconds * 10**9) for seconds in (140, 170))
        queue.run(patient, told)
        queue.run([hasty, able], told)
        with pytest.raises(Overloaded, match=r"waits about 150000 ms, and this caller gives 140000 ms"):
            await hasty.result
        for one in (*patient, able):
            await one.result
        (idle,) = ask(queue, fitted(session, [7, 0]), deadline_ns=40 * 10**9)
        return await idle

    assert answer(asyncio.run(run())) == [7.0, 0.0], "where nothing is ahead nothing is estimated"


def test_where_a_queue_stands_nobody_waits_more_than_a_part_of_the_time_given(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.identity())
        session.run_us, session.row_us = SLOW * 10_000.0, SLOW * 10_000.0
        queue = batcher(session, rows_max=1, inline_us_max=-1.0)

        def come(ms):
            one = Asked(fitted(session, [ms, 0]), time.ns + ms * SLOW * 1_000_000)
            queue.run([one], told)
            return one.result

        waiting = [come(1000) for _ in range(12)]
        burst = come(300)
        time.ns += SLOW * INTERVAL_NS
        patient, hasty = come(1000), come(300)
        with pytest.raises(
            Overloaded, match=r"more is asked than it can answer; .* waits about 26000 ms of the 60000 ms"
        ):
            await hasty
        return await asyncio.gather(*waiting, burst, patient, return_exceptions=True)

    ends = asyncio.run(run())
    assert [end for end in ends if isinstance(end, Exception)] == []


def test_a_standing_queue_sheds_by_what_callers_usually_give_until_it_is_short_again(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.identity())
        session.run_us, session.row_us = SLOW * 10_000.0, SLOW * 10_000.0
        queue = batcher(session, rows_max=1, inline_us_max=-1.0)
        sheds = [queue.sheds()]
        works = [Asked(fitted(session, [n, 0]), time.ns + SLOW * 400_000_000) for n in range(12)]
        queue.run(works, told)
        sheds.append(queue.sheds())
        time.ns += SLOW * INTERVAL_NS
        sheds.append(queue.sheds())
        await asyncio.gather(*[work.result for work in works], return_exceptions=True)
        return [*sheds, queue.sheds()]

    assert asyncio.run(run()) == [False, False, True, False]


def test_a_run_in_a_thread_keeps_nobody_beyond_its_own_deadline(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.hanging())
        queue = batcher(session, inline_us_max=-1.0)
        patient, hasty = (Asked(fitted(session, [2e8]), ms * 1_000_000) for ms in (400, 50))
        ended = []
        queue.run([patient, hasty], lambda asked: (ended.extend(asked), told(asked)))
        with pytest.raises(DeadlineExceeded, match="no answer within 50 ms"):
            await hasty.result
        with pytest.raises(DeadlineExceeded, match="no answer within 400 ms"):
            await patient.result
        while queue._busy:  # the loop must live to stop the run
            await asyncio.sleep(STOP_GRACE_SECONDS)
        return ended == [hasty, patient]

    assert asyncio.run(run()), "each by its own deadline, though they ran together"


def test_a_request_of_more_rows_than_fit_on_the_loop_runs_in_a_thread_and_the_others_on_the_loop(
    graphs, loaded, batcher
):
    async def run():
        session = await loaded(graphs.identity())
        session.row_us = 1_000.0
        threads, run_it = [], session.run

        def noted(feeds, stop=None):
            threads.append(threading.get_ident())
            return run_it(feeds, stop)

        session.run = noted
        queue = batcher(session, inline_us_max=3_000.0)
        asked = [ask(queue, fitted(session, *[[number, 0]] * rows))[0] for number, rows in enumerate((1, 9, 1))]
        rans = await asyncio.gather(*asked)
        rans.append(await ask(queue, fitted(session, [3, 0]))[0])
        return [answer(ran)[0] for ran in rans], [thread == threading.get_ident() for thread in threads]

    assert asyncio.run(run()) == ([0, 1, 2, 3], [True, False, True, True])


def test_whoever_waits_behind_a_long_request_is_told_at_the_own_deadline(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.hanging())
        session.row_us = 1_000.0
        queue = batcher(session, inline_us_max=3_000.0)
        rows = [[0.0]] * 8
        patient, hasty = Asked(fitted(session, [2e8], *rows), 400_000_000), Asked(fitted(session, [0.0]), 50_000_000)
        queue.run([patient], told)
        queue.run([hasty], told)
        for one, milliseconds in ((hasty, 50), (patient, 400)):
            with pytest.raises(DeadlineExceeded, match=f"no answer within {milliseconds} ms"):
                await one.result
        return answer(await ask(queue, fitted(session, [0.0]))[0])

    assert asyncio.run(run()) == [0.0]


def test_a_batch_is_made_up_when_its_turn_comes_not_when_another_version_s_run_begins(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.identity())
        one, other = (batcher(session, inline_us_max=-1.0) for _ in range(2))
        first = ask(one, fitted(session, [0, 0]))
        early = ask(other, fitted(session, [1, 0]))
        late = ask(other, fitted(session, [2, 0]))
        return await asyncio.gather(*first, *early, *late)

    first, early, late = asyncio.run(run())

    assert (first.run.rows, early.run.rows, late.run.rows) == (1, 2, 2)
    assert (answer(early), answer(late)) == ([1.0, 0.0], [2.0, 0.0])


def test_requests_of_different_shapes_do_not_share_a_run(graphs, loaded, batcher):
    async def run():
        session = await loaded(graphs.identity(shape=["n", "k"]))
        queue = batcher(session)
        rows = [[1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
        return await asyncio.gather(*ask(queue, *[fitted(session, row) for row in rows]))

    results = asyncio.run(run())

    assert [answer(ran) for ran in results] == [[1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    assert [ran.run.rows for ran in results] == [1, 2, 2, 1]


def test_a_version_that_keeps_holding_up_the_loop_moves_to_a_thread(graphs, loaded, batcher, time):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, inline_us_max=1e6)
        inline = [queue.inline]
        time.step_ns = int(INLINE_OVERRUN_MAX * 1e6 * 1000)
        for _ in range(INLINE_OVERRUNS_MAX):
            await ask(queue, fitted(session, [1, 0]), deadline_ns=10**24)[0]
            inline.append(queue.inline)
        time.step_ns = 0
        return inline, await ask(queue, fitted(session, [4, 0]), deadline_ns=time.ns + 10**12)[0]

    inline, ran = asyncio.run(run())

    assert inline == [True] * INLINE_OVERRUNS_MAX + [False]
    assert answer(ran) == [4.0, 0.0]


def test_a_model_that_answers_nan_fails_only_the_request_that_caused_it(graphs, loaded, batcher):
    log = graphs.model([graphs.node("Log", ["x"], ["y"])], [graphs.value("x", ["n", 1])], [graphs.value("y", ["n", 1])])

    async def run():
        session = await loaded(log)
        queue = batcher(session)
        return await asyncio.gather(*ask(queue, *[fitted(session, [v]) for v in (1, -1, 1)]), return_exceptions=True)

    first, bad, last = asyncio.run(run())

    assert str(bad) == "version 1 of 'm': output 'y' holds NaN at row 0: JSON cannot carry it"
    assert answer(first) == answer(last) == [0.0]


@pytest.mark.parametrize("step", ["gathered", "parts"])
def test_whatever_fails_around_a_run_in_a_thread_is_told_and_the_queue_goes_on(
    graphs, loaded, batcher, step, monkeypatch
):
    async def run():
        session = await loaded(graphs.identity())
        queue = batcher(session, inline_us_max=-1.0)

        def fails(*_):
            raise Overloaded("for a moment")

        with monkeypatch.context() as broken:
            broken.setattr(queue._runs, step, fails)
            (told_of,) = ask(queue, fitted(session, [1, 0]))
            with pytest.raises(Overloaded, match="for a moment"):
                await asyncio.wait_for(told_of, 30)
        (after,) = ask(queue, fitted(session, [2, 0]))
        return await asyncio.wait_for(after, 30)

    assert answer(asyncio.run(run())) == [2.0, 0.0]
