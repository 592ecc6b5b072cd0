"""Plans in Redis: the store of a fleet, shared by every host.

Enters: changes. Leaves: plans and their history. Never decides what a plan should be. A write is one Lua script
(`plan_change.lua`): compare-and-set, history and call-out, all or nothing; it carries a token, so it may be sent twice.

`generation` asks nobody: a task listens for the call-outs, and looks itself every POLL_SECONDS, because Redis promises no
delivery. A look that finds what was not called out makes it listen anew. While the server does not answer, `generation`
says so, and it counts the return as news: what was missed meanwhile is then read. How durable an accepted change is, is the
server's business (docs/operations.md); nothing here trims the history.
"""

import asyncio
import logging
from collections.abc import Callable
from importlib.resources import files
from typing import Final, NamedTuple, NoReturn, TypeVar

from contracts.errors import Conflict, InvalidRecord, StoreUnavailable
from contracts.gate import GateResult
from contracts.plan import Change, Plan
from contracts.promotion import AliasBook
from contracts.standing import HISTORY, STORE, alias_book_key, changed_channel, gates_key, plan_key, revisions_key
from contracts.wire import decode, encode
from gateway.fleet.redis_link import Heard, RedisLink, Unanswered, shown
from gateway.plan_store.store import GATES_MAX, check_number, check_step

T = TypeVar("T", Plan, Change, GateResult, AliasBook)

FORMAT: Final = "1"
POLL_SECONDS: Final = 1.0
BACKOFF_SECONDS: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 2.0


class Mark(NamedTuple):
    """How far the store is: `lineage` is another after it was emptied, `generation` counts its changes."""

    lineage: str
    generation: int


class RedisPlanStore:
    """A `PlanStore` in the Redis at `url`. `new_token` makes a text that never comes twice; `jitter` gives from 0 to 1."""

    def __init__(self, url: str, new_token: Callable[[], str], jitter: Callable[[], float]) -> None:
        self._link = RedisLink(url)
        self._where = shown(url)
        self._new_token = new_token
        self._jitter = jitter
        self._watching: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._away = ""
        self._mark: Mark | None = None
        self._news = 0
        self._waiting: set[asyncio.Future[None]] = set()

    async def read(self, model: str) -> Plan | None:
        """The current plan of a model, or None where it never had one."""
        text = await self._link.call("HGET", plan_key(model), "plan")
        if text is None:
            return None
        plan = self._decoded(Plan, text)
        if plan.model != model:
            self._rubbish(f"the plan of {plan.model!r} under the name of {model!r}")
        return plan

    async def write(self, change: Change) -> None:
        """Compare-and-set and history in one script; `Conflict` where the plan moved on."""
        check_step(change)
        expected = change.before.revision if change.before else 0
        try:
            said, *rest = await self._link.call(
                *("EVAL", _CHANGE, 4, STORE, plan_key(change.model), HISTORY, revisions_key(change.model)),
                *(FORMAT, expected, change.revision, encode(change.after), encode(change), self._new_token()),
                changed_channel(self._link.database),
            )
        except Unanswered as error:
            raise StoreUnavailable(
                f"{error}; whether revision {change.revision} of {change.model!r} was stored is not known: look at the plan "
                "before asking again"
            ) from error
        if said == b"format":
            self._refuse_format(rest[0].decode())
        if said == b"moved":
            raise Conflict(
                f"the plan of {change.model!r} is at revision {_named(int(rest[0]))}, not {_named(expected)}: "
                "someone else changed it; read it again"
            )
        self._observe(self._mark_of(*rest))

    async def history(self, model: str | None, limit: int, upto: int | None = None) -> list[Change]:
        """At most `limit` changes, newest first."""
        keys = (HISTORY,) if model is None else (HISTORY, revisions_key(model))
        last = "+inf" if upto is None else upto
        found = await self._link.call("EVAL", _HISTORY, len(keys), *keys, limit, last)
        return [self._decoded(Change, text) for text in found]

    async def keep_gate(self, result: GateResult) -> None:
        """Keep what a gate found, and let go of the oldest beyond GATES_MAX; both bear being done twice."""
        key = gates_key(result.model)
        await self._link.calls(
            ("ZADD", key, result.evaluated_us, encode(result)), ("ZREMRANGEBYRANK", key, 0, -GATES_MAX - 1)
        )

    async def gates(self, model: str, limit: int) -> list[GateResult]:
        """At most `limit` gate results, the last evaluated first."""
        found = await self._link.call("ZREVRANGE", gates_key(model), 0, limit - 1)
        return [self._decoded(GateResult, text) for text in found]

    async def alias_book(self, model: str) -> AliasBook | None:
        """What was seen of a model's aliases, and its promotions; None before the first look."""
        text = await self._link.call("HGET", alias_book_key(model), "book")
        return None if text is None else self._decoded(AliasBook, text)

    async def write_alias_book(self, book: AliasBook) -> None:
        """Compare-and-set by the number in one script; `Conflict` where another book came first."""
        said, *rest = await self._link.call(
            *("EVAL", _ALIAS_BOOK, 1, alias_book_key(book.model)),
            *(book.number - 1, book.number, encode(book), self._new_token()),
        )
        if said == b"moved":
            check_number(book, int(rest[0]))

    async def generation(self) -> int:
        """How often there was news, in this process; only the first asking waits for the server."""
        if self._watching is None:
            self._looked.clear()
            self._watching = asyncio.create_task(self._watch())
        await self._looked.wait()
        if self._away:
            raise StoreUnavailable(self._away)
        return self._news

    async def changed(self, seconds: float) -> None:
        """Return at news, else after so many seconds."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.add(waiting)
        timer = loop.call_later(seconds, _end, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)

    async def aclose(self) -> None:
        """Stop listening, and close every connection."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        await self._link.aclose()

    async def _watch(self) -> None:
        """Listen and look for ever; where the server is away, come back more and more slowly."""
        backoff = BACKOFF_SECONDS
        while True:
            try:
                async with self._link.subscribed(changed_channel(self._link.database)) as heard:
                    while not await self._look():
                        backoff = BACKOFF_SECONDS
                        await self._listen(heard, POLL_SECONDS * (0.75 + self._jitter() / 2))
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    logging.getLogger("pointsman.gateway").exception("listening to Redis broke; it begins anew")
                self._away = str(error)
                self._looked.set()
                await asyncio.sleep(backoff * (0.5 + self._jitter()))
                backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)

    async def _look(self) -> bool:
        """Ask how far the store is; whether that was news which nobody called out to this listener."""
        written, lineage, generation = await self._link.call("HMGET", STORE, "format", "lineage", "generation")
        if written not in (None, FORMAT.encode()):
            self._refuse_format(written.decode())
        known = self._mark
        missed = self._observe(self._mark_of(lineage or b"", generation or b"0")) and known is not None
        if self._away:
            self._away = ""
            self._tell()
        self._looked.set()
        return missed

    async def _listen(self, heard: Heard, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            message = await heard(left)
            if message is not None:
                lineage, _, generation = message.partition(b" ")
                self._observe(self._mark_of(lineage, generation))

    def _mark_of(self, lineage: bytes, generation: bytes) -> Mark:
        if not generation.isdigit():
            self._rubbish(f"generation {generation[:64]!r}")
        return Mark(lineage.decode(errors="replace"), int(generation))

    def _observe(self, mark: Mark) -> bool:
        """Take note of how far the store is; whether that was news."""
        if mark == self._mark:
            return False
        self._mark = mark
        self._tell()
        return True

    def _tell(self) -> None:
        self._news += 1
        for waiting in list(self._waiting):
            _end(waiting)

    def _decoded(self, kind: type[T], text: bytes) -> T:
        try:
            return decode(kind, text)
        except InvalidRecord as error:
            self._rubbish(str(error))

    def _rubbish(self, what: str) -> NoReturn:
        raise StoreUnavailable(f"Redis at {self._where} holds what is no plan: {what}; restore it from a backup")

    def _refuse_format(self, written: str) -> NoReturn:
        raise StoreUnavailable(
            f"the plan store at {self._where} has format {written}, this Pointsman reads {FORMAT}: use its own release"
        )


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _named(revision: int) -> str:
    return str(revision or "none")


_CHANGE: Final = files(__package__).joinpath("plan_change.lua").read_text()
_ALIAS_BOOK: Final = files(__package__).joinpath("alias_book.lua").read_text()
_HISTORY: Final = files(__package__).joinpath("plan_history.lua").read_text()
