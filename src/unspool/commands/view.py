"""How a prediction that is followed is shown: a live bar on a terminal, a few lines elsewhere, or JSON.

Owns what is said on stderr while events come. Results go to stdout through `words`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from unspool.commands.terminal import err, harmless, one_line, print_json
from unspool.commands.words import Words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from unspool.client import Event, Progress

REFRESH_PER_SECOND = 10
BAR_WIDTH = 30
PLAIN_STEP = 10
"""Where there is no terminal, progress is said every so many percent."""
LEVELS = {"warning": "yellow", "error": "red", "debug": "dim", "info": "dim"}
ALWAYS_SHOWN = ("warning", "error")
"""Levels of log lines that are shown without being asked for."""


@dataclass
class State:
    """What is known of the prediction, by its events so far."""

    status: str = "connecting"
    attempt: int = 0
    percentage: float = 0
    stage: str = ""
    step: int | None = None
    steps: int | None = None
    queue_position: int | None = None
    eta_until: float | None = None
    """When it will be done, by the clock of `time.monotonic`."""
    begun: float = field(default_factory=time.monotonic)

    def take(self, progress: Progress) -> None:
        """A progress event has come."""
        if progress.status is not None:
            self.status = str(progress.status)
            self.stage, self.step, self.steps = "", None, None
        self.attempt = progress.attempt
        self.percentage = progress.percentage
        self.queue_position = progress.queue_position
        if progress.stage is not None:
            if progress.stage != self.stage:
                self.step = self.steps = None
            self.stage = progress.stage
        self.step = progress.step if progress.step is not None else self.step
        self.steps = progress.steps if progress.steps is not None else self.steps
        eta = progress.eta_seconds
        self.eta_until = None if eta is None else time.monotonic() + eta

    @property
    def doing(self) -> str:
        """What it does now, in a word or two."""
        if self.status == "created":
            return f"queued, {self.queue_position} before it" if self.queue_position else "queued"
        doing = one_line(self.stage) or {"processing": "running"}.get(self.status, self.status)
        return f"{doing} (attempt {self.attempt})" if self.attempt > 1 else doing

    @property
    def eta_s(self) -> float | None:
        """Seconds that are left, by the last event that said so."""
        return None if self.eta_until is None else max(0.0, self.eta_until - time.monotonic())


class View(Protocol):
    """What is told of each event."""

    def event(self, event: Event, *, last: bool) -> None:
        """An event; `last` says that no other one is waiting to be shown."""

    def pause(self) -> None:
        """Something else is written to the terminal now."""

    def close(self) -> None:
        """No more events come, and all words are written."""


class JsonView:
    """Each event as one line of JSON on stdout."""

    def event(self, event: Event, *, last: bool) -> None:
        """Says it."""
        print_json(line_of(event))

    def pause(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing is open."""


def line_of(event: Event) -> dict[str, Any]:
    """The event of the wire with its cursor, as the lines of `--json` show it."""
    return {"cursor": event.cursor, **event.data}


class PlainView:
    """Words on stdout; a line on stderr when something changes. For logs of other programs."""

    def __init__(self, words: Words, *, logs: bool = False, quiet: bool = False) -> None:
        self.state = State()
        self._words = words
        self._logs = logs
        self._quiet = quiet
        self._said = ("", 0)

    def event(self, event: Event, *, last: bool) -> None:
        """Shows it."""
        if event.type == "output":
            self._words.piece(event.output, event.index, flush=last)
        elif event.type == "log":
            if self._logs or event.level in ALWAYS_SHOWN:
                self._tell(f"{event.level}: {harmless(event.message)}", LEVELS.get(event.level, ""))
        elif event.type == "progress":
            self.state.take(event)
            if event.restarted and self._words.restart():
                self._tell(f"Attempt {event.attempt} begins: the output so far is void.", "yellow")
            self._progress(event)

    def pause(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing is open."""

    def _progress(self, event: Progress) -> None:
        if event.id is not None:
            self._tell(f"prediction {event.id}")
        now = (self.state.doing, int(self.state.percentage // PLAIN_STEP))
        if now != self._said:
            self._said = now
            self._tell(self.state.doing + (f" {self.state.percentage:g} %" if self.state.percentage else ""))

    def _tell(self, line: str, style: str = "") -> None:
        if not self._quiet:
            err().print(line, style=style, markup=False)


class LiveView(PlainView):
    """Words on stdout; under them, while they stand at the end of a line, one line that moves, on stderr."""

    def __init__(self, words: Words, *, logs: bool = False, quiet: bool = False) -> None:
        super().__init__(words, logs=logs, quiet=quiet)
        self._live: Live | None = None
        self._held: list[tuple[str, str]] = []
        self._resume()

    def event(self, event: Event, *, last: bool) -> None:
        """Shows it. The line that moves is away while words are written."""
        if event.type == "output" and isinstance(event.output, str):
            self.pause()
        super().event(event, last=last)
        if last and not self._words.within_line:
            self._resume()

    def pause(self) -> None:
        """Takes the line that moves away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def close(self) -> None:
        """Takes the line that moves away for good, and says what was held back."""
        self.pause()
        self._say_held()

    def _resume(self) -> None:
        from rich.live import Live

        self._say_held()
        if self._live is None and not self._quiet:
            self._live = Live(
                get_renderable=self._line, console=err(), transient=True, refresh_per_second=REFRESH_PER_SECOND
            )
            self._live.start(refresh=True)

    def _progress(self, event: Progress) -> None:
        """Shown by the line that moves, which asks for it."""

    def _tell(self, line: str, style: str = "") -> None:
        """Says a line, above the one that moves; later, if words stand in the middle of theirs."""
        self._held.append((line, style))
        if not self._words.within_line:
            self._say_held()

    def _say_held(self) -> None:
        held, self._held = self._held, []
        for line, style in held:
            super()._tell(line, style)

    def _line(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        state = self.state
        line = Table.grid(padding=(0, 1))
        # The phase of a spinner is its own; one that is made anew each time begins where the clock says.
        spinner = Spinner("dots")
        spinner.start_time = 0.0
        cells: list[RenderableType] = [spinner, Text(state.doing, no_wrap=True, overflow="ellipsis")]
        if state.percentage:
            width = min(BAR_WIDTH, max(err().width - 50, 5))
            cells += [ProgressBar(completed=state.percentage, width=width), Text(f"{state.percentage:.0f} %")]
        if state.step is not None:
            cells.append(Text(f"{state.step}/{state.steps}" if state.steps else f"step {state.step}", style="dim"))
        if state.eta_s is not None:
            cells.append(Text(f"{duration(state.eta_s)} left", style="cyan"))
        elif not state.percentage:
            cells.append(Text(duration(time.monotonic() - state.begun), style="dim"))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        return line


def duration(seconds: float) -> str:
    """A time for people: `0:07`, `12:30`, `1:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
