"""Shows the demo at work: pictures that move in a terminal, plain lines everywhere else.

Enters: words and looks at the replay. Leaves: text on a console. Never asks anybody for anything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from examples.flights.picture import Seen, day, line, picture

SHOWS_PER_SECOND: Final = 4.0
Show = Callable[[Seen], None]


class View(Protocol):
    """What the demo needs of whoever shows it."""

    def say(self, words: RenderableType) -> None:
        """Print something once."""

    def working(self, words: str) -> AbstractContextManager[None]:
        """Say what is being done, and how long it took."""

    def replay(self) -> AbstractContextManager[Show]:
        """Room for the replay: call what it gives with each new look."""


class TerminalView:
    """Spinners and a live picture."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, words: RenderableType) -> None:
        """Print something once, above the live picture if there is one."""
        self._console.print(words)

    @contextmanager
    def working(self, words: str) -> Iterator[None]:
        """A spinner while it lasts, a tick and the seconds when it is done."""
        started = time.perf_counter()
        with self._console.status(f"{words} ..."):
            yield
        took = f"[bright_black]({time.perf_counter() - started:.1f} s)[/]"
        self._console.print(f"[green]✓[/] {words} {took}", highlight=False)

    @contextmanager
    def replay(self) -> Iterator[Show]:
        """The live picture; its last state stays on the screen."""
        with Live(console=self._console, auto_refresh=False) as live:

            def show(seen: Seen) -> None:
                live.update(picture(seen), refresh=True)

            yield show


class PlainView:
    """One line for each thing done, and one for each month of the replay."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, words: RenderableType) -> None:
        """Print something once."""
        self._console.print(words)

    @contextmanager
    def working(self, words: str) -> Iterator[None]:
        """The line comes before the work, so that a log shows where it hangs."""
        started = time.perf_counter()
        self._console.print(f"{words} ...", highlight=False)
        yield
        self._console.print(f"  {time.perf_counter() - started:.1f} s", highlight=False)

    @contextmanager
    def replay(self) -> Iterator[Show]:
        """A line whenever a new month begins."""
        months: set[str] = set()

        def show(seen: Seen) -> None:
            month = day(seen.event_us)[:7]
            if seen.predictions and month not in months:
                months.add(month)
                self._console.print(line(seen), highlight=False, soft_wrap=True)

        yield show
