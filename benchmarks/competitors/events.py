"""What every competitor streams: the events that `models.py` makes, as the same bytes.

Rendering them is as cheap as it can be here (no JSON encoder), so what is measured is how each server moves them.
"""

import time

BURST_EVENTS = 200
PERIOD_NS = 20_000_000
COMPLETE = 'data: {"type":"complete","outputs":[]}\n\n'


def event(n: int, text: str) -> str:
    """One output event, the n-th of its stream."""
    return f'id: 1-{n}\ndata: {{"type":"output","output":"{text}","index":0}}\n\n'


def burst(count: int = BURST_EVENTS):
    """Count events at once, then the end."""
    for n in range(1, count + 1):
        yield event(n, f"token {n} ")
    yield COMPLETE


def due_times(count: int):
    """When each event of a paced stream is due: CLOCK_MONOTONIC, in nanoseconds."""
    start = time.monotonic_ns()
    return [start + n * PERIOD_NS for n in range(1, count + 1)]
