"""Kept answers: computed once however many ask, forgotten in time, bounded, and never an error."""

import asyncio
import threading
import weakref

import pytest

from contracts.errors import Overloaded
from monitor.pages.kept import Kept


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run(scenario, **bounds):
    async def main():
        clock = Clock()
        kept = Kept(clock, **({"seconds": 2.0, "answers_max": 8, "running_max": 4} | bounds))
        return await asyncio.wait_for(scenario(kept, clock), 60)

    return asyncio.run(main())


def counting():
    calls = []

    def compute():
        calls.append(threading.get_ident())
        return len(calls)

    return calls, compute


def test_an_answer_is_kept_while_it_is_young_and_computed_again_after():
    async def scenario(kept, clock):
        _, compute = counting()
        answers = []
        for clock.now in (0.0, 1.9, 2.0, 2.1):
            answers.append(await kept.get("q", compute))
        return answers

    assert run(scenario) == [1, 1, 1, 2]


def test_many_who_ask_at_once_share_one_computation_off_the_loop():
    async def scenario(kept, _):
        calls, compute = counting()
        answers = await asyncio.gather(*(kept.get("q", compute) for _ in range(50)))
        return answers, calls

    answers, calls = run(scenario)
    assert answers == [1] * 50
    assert len(calls) == 1
    assert calls[0] != threading.get_ident()


def test_different_questions_have_different_answers():
    async def scenario(kept, _):
        return await asyncio.gather(*(kept.get(name, lambda name=name: name * 2) for name in "ab"))

    assert run(scenario) == ["aa", "bb"]


def test_an_error_reaches_everyone_who_waits_and_is_not_kept():
    async def scenario(kept, _):
        def fail():
            raise ValueError("no such table")

        failed = await asyncio.gather(kept.get("q", fail), kept.get("q", fail), return_exceptions=True)
        return [str(error) for error in failed], await kept.get("q", lambda: "well")

    assert run(scenario) == (["no such table", "no such table"], "well")


def test_one_who_hangs_up_does_not_take_the_answer_from_the_others():
    async def scenario(kept, _):
        go = threading.Event()

        def compute():
            go.wait(10)
            return "answer"

        first, second = (asyncio.create_task(kept.get("q", compute)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        go.set()
        return await second

    assert run(scenario) == "answer"


def test_one_question_too_many_at_a_time_is_refused_and_the_next_one_answered():
    async def scenario(kept, _):
        go = threading.Event()

        def compute():
            go.wait(10)
            return "answer"

        waiting = [asyncio.create_task(kept.get(name, compute)) for name in "abcd"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="4 questions"):
            await kept.get("e", compute)
        go.set()
        return await asyncio.gather(*waiting), await kept.get("e", compute)

    assert run(scenario) == (["answer"] * 4, "answer")


def test_the_oldest_answer_is_given_up_first():
    async def scenario(kept, _):
        _, compute = counting()
        for name in "abc":
            await kept.get(name, compute)
        return [await kept.get(name, compute) for name in "cba"]

    assert run(scenario, answers_max=2) == [3, 2, 4]


def test_an_answer_that_is_too_old_takes_no_memory_once_there_is_a_newer_one():
    class Large:
        pass

    async def scenario(kept, clock):
        first = weakref.ref(await kept.get("a", Large))
        young = weakref.ref(await kept.get("b", Large))
        assert first() is not None
        clock.now = 1.0
        await kept.get("b", Large)
        clock.now = 2.5
        await kept.get("c", Large)
        return first(), young()

    assert run(scenario)[0] is None
