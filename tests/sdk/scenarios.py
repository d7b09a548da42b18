"""The scenarios, as data: why, what goes wrong, and what must be true nevertheless.

A scenario without a `do` streams `sdk/words` from its submit. Times are those of `world.OPTIONS` unless said otherwise.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sdk.claims import (
    accepted,
    asked_at_least,
    asked_at_most,
    ended,
    new_predictions,
    raised,
    result_is_of_polling,
    same_key_every_time,
    saw,
    saw_everything_after,
    saw_the_whole_log,
    told_of_restart,
    waited,
    whole_or_told,
)
from sdk.faults import (
    Answers,
    Buffers,
    Compresses,
    Cut,
    CutAfterEvents,
    CutAfterTime,
    Delays,
    Drops,
    EatsKeepAlives,
    ForgetsCursor,
    GoesDead,
    HangsUp,
    LosesAnswer,
    Passes,
    Rewrites,
    Split,
)
from sdk.world import (
    GATE,
    WRONG_KEY,
    Scenario,
    asked,
    at_once,
    cancel,
    cancel_stream,
    delete,
    finished,
    keep_alives,
    kill_server,
    let,
    open_gate,
    refuse,
    running,
    stop_server,
    submitted,
)
from sdk.world import saw as when_seen


def stream(**inputs: Any) -> dict[str, Any]:
    """`client.stream("sdk/words", …)`."""
    return {"do": "stream", "model": "sdk/words", "inputs": inputs}


def run(model: str = "sdk/words", options: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """`client.run(…)`."""
    return {"do": "run", "model": model, "inputs": inputs, "options": options or {}}


def submit(key: str | None = None, **inputs: Any) -> dict[str, Any]:
    """`client.submit("sdk/words", …)`."""
    options = {} if key is None else {"idempotency_key": key}
    return {"do": "submit", "model": "sdk/words", "inputs": inputs, "options": options}


def follow(after: str | None = None, id: str = "<the id>") -> dict[str, Any]:
    """`client.follow(id, after)` of the prediction that `prepare` made."""
    return {"do": "follow", "id": id, "after": after}


def strange(block: bytes) -> bytes:
    """Fields that nobody knows yet, in the JSON, in the stream, and as comments."""
    block = block.replace(b'data: {"type":', b'data: {"weather":{"sky":["blue"]},"type":')
    return b": hello\nfoo: bar\nnothing\n" + block


HTML = "<html><head><title>502 Bad Gateway</title></head><body>data: {}</body></html>"
RATE = {"error_code": "rate_limited"}
UNAVAILABLE = {"error_code": "unavailable"}
WHOLE = (saw_the_whole_log, ended("completed"), new_predictions(1))

PLAIN = {
    "nothing goes wrong": Scenario(
        because="The floor: what fails here is no matter of networks.",
        do=stream(n=8, steps=True),
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
    "nothing goes wrong with run": Scenario(
        because="run() is a stream whose end is waited for.",
        do=run(n=8, steps=True),
        claims=(result_is_of_polling, ended("completed"), new_predictions(1)),
    ),
    "outputs that are not text": Scenario(
        because="Pictures, JSON and numbers come as parts: nothing must be joined or turned into text.",
        do={"do": "stream", "model": "sdk/json", "inputs": {}},
        claims=WHOLE,
    ),
    "a run that failed": Scenario(
        because="A failed run is an event like others, and no exception in the middle of a loop.",
        do={"do": "stream", "model": "sdk/fails", "inputs": {}},
        claims=(saw_the_whole_log, ended("failed")),
    ),
    "run of what fails": Scenario(
        because="run() promises a finished prediction: anything else is raised, with the prediction in it.",
        do=run("sdk/fails"),
        claims=(raised("PredictionFailed"), new_predictions(1)),
    ),
    "a run that takes too long": Scenario(
        because="run_timeout is the user's own limit; its end is status `timeout`.",
        do={**stream(gate=GATE, held_from=1), "options": {"run_timeout": 0.3}},
        claims=(saw_the_whole_log, ended("timeout")),
    ),
    "run of what takes too long": Scenario(
        because="And run() raises it as what it is.",
        do=run(options={"run_timeout": 0.3}, gate=GATE, held_from=1),
        claims=(raised("PredictionTimedOut"),),
    ),
    "a model that does not stream": Scenario(
        because="The server says so with 400; trying again would not help.",
        do={"do": "stream", "model": "sdk/still", "inputs": {}},
        claims=(raised("StreamingNotSupported", status=400, error_code="streaming_not_supported"), new_predictions(0)),
    ),
    "run of a model that does not stream": Scenario(
        because="Who calls run() does not care how its end is waited for.",
        do=run("sdk/still", prompt="世界"),
        claims=(result_is_of_polling, ended("completed"), new_predictions(1)),
    ),
    "cancel in the middle": Scenario(
        because="Stop buttons: the stream's own cancel, and the loop ends by itself with what the server says.",
        do=stream(gate=GATE, held_from=1),
        steps=[(when_seen("1-2"), cancel_stream)],
        claims=(saw_the_whole_log, ended("cancelled")),
    ),
    "cancel from elsewhere": Scenario(
        because="Somebody else cancels what one follows.",
        prepare=running(held_from=1),
        do=follow(),
        steps=[(when_seen("1-2"), cancel)],
        claims=(saw_the_whole_log, ended("cancelled")),
    ),
    "run that is cancelled": Scenario(
        because="run() has no result to give: it raises, and names the prediction.",
        do=run(gate=GATE, held_from=1),
        steps=[(lambda world: bool(world.seen.events), lambda world: _cancel_newest(world))],
        claims=(raised("PredictionCancelled"),),
    ),
}

JOINING = {
    "joining what has ended": Scenario(
        because="A link that is opened a day later: the whole log from the start.",
        prepare=finished(n=8, steps=True),
        do=follow(),
        claims=(saw_the_whole_log, new_predictions(0)),
    ),
    "joining in the middle": Scenario(
        because="A page that remembers its cursor over a reload.",
        prepare=finished(n=8, steps=True),
        do=follow("1-5"),
        claims=(saw_everything_after("1-5"),),
    ),
    "joining while it runs": Scenario(
        because="A second tab: what was, then what is.",
        prepare=running(n=4, held_from=2),
        do=follow(),
        steps=[(when_seen("1-3"), open_gate)],
        claims=(saw_the_whole_log,),
    ),
    "a cursor at the end": Scenario(
        because="There is nothing more to come: 204. A client that takes it for a broken stream asks for ever.",
        prepare=finished(n=2),
        do=follow("1-4"),
        claims=(saw(), asked_at_most("stream", 1)),
    ),
    "a reader that leaves early": Scenario(
        because="break in a loop closes the stream and leaves the run alone.",
        do={**stream(n=3), "take": 2},
        claims=(saw("0-1", "1-1"),),
    ),
}

CUTS = {
    "cut after the first event": Scenario(
        because="Wi-Fi to mobile: the submit's own stream dies when the prediction already runs.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=1, spare=9)],
        claims=(*WHOLE, asked_at_least("stream", 1)),
        beyond_naive=True,
    ),
    "cut before the first event": Scenario(
        because="The head of the answer has come, and with it the id; nothing else.",
        do=stream(n=8),
        faults=[Cut(after=0)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "a regular end in the middle": Scenario(
        because="A server that shuts down, or a proxy that speaks HTTP/1.0 to it, ends the answer properly. Only the "
        "terminal event is an end.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=4, spare=40, how="clean")],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "cut after every event": Scenario(
        because="A train: each connection lives for one event.",
        do=stream(n=8, steps=True),
        faults=[CutAfterEvents(count=1, times=None, how="close")],
        claims=(*WHOLE, asked_at_least("stream", 10)),
        beyond_naive=True,
    ),
    "cut again and again without an event": Scenario(
        because="Several attempts in a row give nothing; patience must not end the stream.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=3), Cut(after=13, times=3), HangsUp(times=3)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "every stream is cut after a while": Scenario(
        because="Load balancers with a limit on the length of an answer.",
        do=stream(n=6, gate=GATE),
        faults=[CutAfterTime(seconds=0.25, times=None)],
        steps=[step for n in range(6) for step in [(asked("stream", n + 1), let(1))]],
        claims=(*WHOLE, asked_at_least("stream", 6)),
        beyond_naive=True,
    ),
    "nothing listens for a while": Scenario(
        because="A deploy behind one address: connections are refused for some time.",
        do=stream(n=6, gate=GATE, held_from=1),
        steps=[(when_seen("1-2"), refuse(0.5)), (at_once, open_gate)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "nothing listens at the start": Scenario(
        because="The client is started before its server.",
        prepare=refuse(0.5),
        do=stream(n=2),
        claims=WHOLE,
        beyond_naive=True,
    ),
    "submits that never arrive": Scenario(
        because="Or did they? Each submit carries its key, so trying again is safe.",
        do=stream(n=2),
        faults=[HangsUp(times=4)],
        claims=(*WHOLE, same_key_every_time),
        beyond_naive=True,
    ),
    "nothing listens for ever": Scenario(
        because="Hanging for ever is no answer either.",
        do=stream(n=2),
        faults=[HangsUp(on="any", times=None)],
        options={"give_up_s": 0.5},
        claims=(raised("ConnectionFailed"), new_predictions(0)),
    ),
    "run over bad lines": Scenario(
        because="run() is a stream, and resumes as one.",
        do=run(n=8),
        faults=[CutAfterEvents(count=2, times=4)],
        claims=(result_is_of_polling, ended("completed"), new_predictions(1)),
        beyond_naive=True,
    ),
    "follow over bad lines": Scenario(
        because="So is follow().",
        prepare=finished(n=8, steps=True),
        do=follow("1-2"),
        faults=[CutAfterEvents(count=2, spare=30, times=4)],
        claims=(saw_everything_after("1-2"),),
        beyond_naive=True,
    ),
    "a connection that dies silently": Scenario(
        because="A NAT that forgets: no byte, no error. The keep-alive that does not come is the only sign.",
        do=stream(n=8, gate=GATE, held_from=4),
        options={"stall_timeout_s": 0.6},
        faults=[GoesDead(after=300)],
        steps=[(asked("stream", 1), open_gate)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "a proxy that eats keep-alives": Scenario(
        because="The stream lives, but silence is all there is: come back, and lose nothing.",
        do=stream(n=4, gate=GATE, held_from=2),
        options={"stall_timeout_s": 0.6},
        faults=[EatsKeepAlives(times=2)],
        steps=[(asked("stream", 2), open_gate)],
        claims=WHOLE,
    ),
    "keep-alives hold a silent stream": Scenario(
        because="A long load of a model is no reason to come back: the watchdog is fed by comments, too.",
        do=stream(n=4, gate=GATE, held_from=2),
        options={"stall_timeout_s": 3},
        steps=[(keep_alives(17), open_gate)],
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
}

PIECES = {
    **{
        f"pieces of {size} bytes": Scenario(
            because="Networks cut where they like: inside characters, names, numbers and line ends.",
            do=stream(n=8, steps=True),
            faults=[Split(size=size)],
            claims=(*WHOLE, asked_at_most("stream", 0)),
        )
        for size in (1, 2, 3, 7, 64)
    },
    **{
        f"{name} as line ends, {'whole' if size is None else 'byte by byte'}": Scenario(
            because="The standard has three line ends, and middle boxes rewrite them; CR and LF may come apart.",
            do=stream(n=8),
            faults=[Rewrites(rewrite=lambda block, end=end: block.replace(b"\n", end), size=size)],
            claims=(*WHOLE, asked_at_most("stream", 0)),
        )
        for name, end in (("CRLF", b"\r\n"), ("CR", b"\r"))
        for size in (None, 1)
    },
    "no space after the colon": Scenario(
        because="The standard strips one space, if there is one.",
        do=stream(n=8),
        faults=[Rewrites(rewrite=lambda block: re.sub(rb"^(id|data|retry): ", rb"\1:", block, flags=re.MULTILINE))],
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
    "data in several lines": Scenario(
        because="The standard joins several data lines of one event with a line feed.",
        do=stream(n=8),
        faults=[Rewrites(rewrite=lambda block: block.replace(b'data: {"type"', b'data: {\ndata: "type"'))],
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
    "fields that nobody knows": Scenario(
        because="The wire promises that fields may be added; a client of today must read a server of tomorrow.",
        do=stream(n=8, steps=True),
        faults=[Rewrites(rewrite=strange)],
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
    "events that come twice": Scenario(
        because="A proxy that sends its buffer again after a retry.",
        do=stream(n=8),
        faults=[Rewrites(rewrite=lambda block: block * 2)],
        claims=(*WHOLE, asked_at_most("stream", 0)),
        beyond_naive=True,
    ),
    "a cursor that is forgotten": Scenario(
        because="A cache answers the resumed stream from its start: what was seen is not told again.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=5), ForgetsCursor(times=None)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "delays": Scenario(
        because="Slow lines, each event late.",
        do=stream(n=4),
        faults=[Delays(seconds=0.05)],
        claims=(*WHOLE, asked_at_most("stream", 0)),
    ),
    "gzip": Scenario(
        because="A proxy that compresses for whoever says that it takes gzip.",
        do=stream(n=8, gate=GATE, held_from=4),
        faults=[Compresses(times=None)],
        steps=[(when_seen("1-5"), open_gate)],
        claims=WHOLE,
    ),
    "a hole": Scenario(
        because="A proxy loses one event. Silence about it would be a wrong text: ask again from before the hole.",
        do=stream(n=8),
        faults=[Drops(cursors=["1-4"])],
        claims=(*WHOLE, asked_at_least("stream", 1)),
        beyond_naive=True,
    ),
    "a hole at the start": Scenario(
        because="The first event of the attempt is missing: 1-2 after 0-1 is a hole, too.",
        do=stream(n=8),
        faults=[Drops(cursors=["1-1"])],
        claims=(*WHOLE, asked_at_least("stream", 1)),
        beyond_naive=True,
    ),
    "a hole that stays": Scenario(
        because="What cannot be healed is told, and the last good event is the last one that was shown.",
        do=stream(n=8),
        faults=[Drops(cursors=["1-4"], times=None, on="any")],
        options={"give_up_s": 2},
        claims=(raised("Gap"), asked_at_most("stream", 5)),
        beyond_naive=True,
    ),
}

SERVERS = {
    "the server is killed and comes back": Scenario(
        because="kill -9 in the middle: the log survives, the run begins its next attempt, the text so far is void.",
        do=stream(n=8, gate=GATE, held_from=3),
        steps=[(when_seen("1-4"), kill_server), (at_once, open_gate)],
        claims=(*WHOLE, told_of_restart(2)),
        beyond_naive=True,
    ),
    "the server is killed behind a proxy": Scenario(
        because="The same, while the proxy answers with a page of its own.",
        do=stream(n=8, gate=GATE, held_from=3),
        away=Answers(status=502, body=HTML),
        steps=[(when_seen("1-4"), kill_server), (at_once, open_gate)],
        claims=(*WHOLE, told_of_restart(2)),
        beyond_naive=True,
    ),
    "the server is stopped and started": Scenario(
        because="A deploy: streams end between two events, without a terminal one.",
        do=stream(n=8, gate=GATE, held_from=3),
        steps=[(when_seen("1-4"), stop_server), (at_once, open_gate)],
        claims=(*WHOLE, told_of_restart(2)),
        beyond_naive=True,
    ),
    "the worker is killed": Scenario(
        because="A second attempt on the same connection: output so far is void, and the user is told.",
        do=stream(n=8, gate=GATE, held_from=3, dies_at=3),
        steps=[(when_seen("1-4"), open_gate)],
        claims=(*WHOLE, told_of_restart(2), asked_at_most("stream", 0)),
    ),
    "the worker is killed while the viewer is away": Scenario(
        because="The cursor that the viewer comes back with belongs to an attempt that was overtaken.",
        do=stream(n=8, gate=GATE, held_from=3, dies_at=3),
        faults=[CutAfterEvents(count=3), HangsUp(times=3)],
        steps=[(when_seen("1-2"), open_gate)],
        claims=(saw_the_whole_log, ended("completed")),
    ),
    "the prediction is deleted": Scenario(
        because="Nobody can go on where nothing is left: 404 ends it, and is told.",
        prepare=running(n=4, held_from=2),
        do=follow(),
        steps=[(when_seen("1-3"), delete)],
        claims=(lambda world: _ended_or_not_found(world),),
    ),
}

REFUSED = {
    "a wrong key": Scenario(
        because="401 is final: no loop, no wait.",
        do=stream(),
        key=WRONG_KEY,
        claims=(raised("Unauthenticated", status=401, error_code="unauthenticated"), asked_at_most("submit", 1)),
    ),
    "a key that is revoked": Scenario(
        because="So it is when it comes in the middle.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=3), Answers(status=401, body={"error_code": "unauthenticated"})],
        claims=(raised("Unauthenticated", status=401), asked_at_most("stream", 1)),
    ),
    "not allowed": Scenario(
        because="403 is final.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=3), Answers(status=403, body={"error_code": "forbidden"})],
        claims=(raised("Forbidden", status=403, error_code="forbidden"), asked_at_most("stream", 1)),
    ),
    "no such prediction": Scenario(
        because="404 is final.",
        do=follow(id="0" * 32),
        claims=(raised("NotFound", status=404, error_code="not_found"), asked_at_most("stream", 1)),
    ),
    "no such model": Scenario(
        because="404, and the message names the nearest ids.",
        do={"do": "stream", "model": "sdk/word", "inputs": {}},
        claims=(
            raised("UnknownModel", status=404, error_code="unknown_model"),
            lambda world: _says(world, "sdk/words"),
            asked_at_most("submit", 1),
        ),
    ),
    "a cursor that was never issued": Scenario(
        because="400 is final: asking again from there would be the same.",
        prepare=finished(n=2),
        do=follow("7-7"),
        claims=(raised("BadCursor", status=400, error_code="bad_cursor"), asked_at_most("stream", 1)),
    ),
    "wrong inputs": Scenario(
        because="Every wrong field is told, so that a form can show each beside its field.",
        do=run(n="many", wrds=3),
        claims=(
            raised("InvalidInput", status=400, error_code="invalid_input"),
            lambda world: _names_fields(world, "n", "wrds"),
            new_predictions(0),
        ),
    ),
    "429 on submit": Scenario(
        because="Retry-After is waited for, and nothing is made twice.",
        do=stream(n=2),
        faults=[Answers(on="submit", status=429, headers={"retry-after": "1"}, body=RATE)],
        claims=(*WHOLE, waited(1), same_key_every_time),
    ),
    "429 on a plain submit": Scenario(
        because="The same without a stream.",
        do=submit(n=2),
        faults=[Answers(on="submit", status=429, headers={"retry-after": "1"}, body={"error_code": "queue_full"})],
        claims=(accepted, new_predictions(1), waited(1), same_key_every_time),
    ),
    "429 on the stream": Scenario(
        because="Too many viewers: wait as told, then go on.",
        do=stream(n=8),
        faults=[
            CutAfterEvents(count=3),
            Answers(on="stream", status=429, headers={"retry-after": "1"}, body=RATE),
        ],
        claims=(*WHOLE, waited(1)),
        beyond_naive=True,
    ),
    "429 for ever": Scenario(
        because="At last it is told, with the time to wait.",
        do=submit(n=2),
        faults=[Answers(on="submit", status=429, headers={"retry-after": "1"}, body=RATE, times=None)],
        options={"give_up_s": 0.5},
        claims=(raised("RateLimited", status=429, error_code="rate_limited", retry_after_s=1), new_predictions(0)),
    ),
    "503 on submit": Scenario(
        because="The server goes down or comes up.",
        do=stream(n=2),
        faults=[Answers(on="submit", status=503, headers={"retry-after": "0"}, body=UNAVAILABLE, times=2)],
        claims=(*WHOLE, same_key_every_time),
    ),
    "503 on the stream": Scenario(
        because="The same in the middle, by a proxy that says nothing of when.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=3), Answers(on="stream", status=503, body=HTML, times=2)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "500 once": Scenario(
        because="A mistake of the server may pass: the submit has its key, so it can be tried again.",
        do=stream(n=2),
        faults=[Answers(on="submit", status=500, body={"error_code": "internal"})],
        claims=(*WHOLE, same_key_every_time),
    ),
    "500 once on the stream": Scenario(
        because="Reading can always be tried again.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=3), Answers(on="stream", status=500, body={"error_code": "internal"})],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "500 for ever": Scenario(
        because="At last it is told.",
        do=submit(n=2),
        faults=[Answers(on="submit", status=500, body={"error_code": "internal"}, times=None)],
        options={"give_up_s": 0.5},
        claims=(raised("Internal", status=500, error_code="internal"), new_predictions(0)),
    ),
    "a proxy's page of HTML": Scenario(
        because="502 with a page that no client can read: try again, and never choke on the page.",
        do=stream(n=8),
        faults=[Answers(status=502, body=HTML, times=2), CutAfterEvents(count=2), Answers(status=504, body=HTML)],
        claims=WHOLE,
        beyond_naive=True,
    ),
    "a proxy's page of HTML for ever": Scenario(
        because="What is raised has at least the status.",
        do=stream(n=8),
        faults=[Answers(status=502, body=HTML, times=None, on="any")],
        options={"give_up_s": 0.5},
        claims=(raised(status=502), new_predictions(0)),
    ),
    "a page in place of the stream": Scenario(
        because="Hotel networks answer 200 with a page to log in. It is no stream, whatever its status.",
        do=stream(n=8),
        faults=[CutAfterEvents(count=2), Answers(status=200, body=HTML)],
        claims=(whole_or_told,),
        beyond_naive=True,
    ),
}

SUBMITS = {
    "an answer that is lost": Scenario(
        because="The prediction is made, and the answer lost: the second try gives the same one.",
        do=submit(n=2),
        faults=[LosesAnswer(on="submit")],
        claims=(accepted, new_predictions(1), same_key_every_time),
        beyond_naive=True,
    ),
    "an answer that is lost within its head": Scenario(
        because="The same, some bytes later.",
        do=submit(n=2),
        faults=[LosesAnswer(on="submit", head=b"HTTP/1.1 200 OK\r\ncontent-ty", times=2)],
        claims=(accepted, new_predictions(1), same_key_every_time),
        beyond_naive=True,
    ),
    "an answer that is cut within its body": Scenario(
        because="The same, within the JSON.",
        do=submit(n=2),
        faults=[Cut(on="submit", after=40, how="close")],
        claims=(accepted, new_predictions(1), same_key_every_time),
        beyond_naive=True,
    ),
    "a stream whose answer is lost": Scenario(
        because="A submit with stream: true is a submit.",
        do=stream(n=4),
        faults=[LosesAnswer(on="submit", times=2)],
        claims=(*WHOLE, same_key_every_time),
        beyond_naive=True,
    ),
    "a key of one's own": Scenario(
        because="Who gives a key gets the prediction that was made with it.",
        prepare=submitted("the-key-of-a-user", n=2),
        do=submit("the-key-of-a-user", n=2),
        claims=(accepted, new_predictions(0)),
    ),
    "a key for something else": Scenario(
        because="409 is a mistake of the caller, and final.",
        prepare=submitted("another-key-of-a-user", n=2),
        do=submit("another-key-of-a-user", n=3),
        claims=(
            raised("IdempotencyMismatch", status=409, error_code="idempotency_mismatch"),
            new_predictions(0),
            asked_at_most("submit", 1),
        ),
    ),
}

HELD = stream(n=6, gate=GATE, held_from=1)
PATIENCE = {"first_event_timeout_s": 0.4, "stall_timeout_s": 5, "streams_before_polling": 2, "poll_wait_s": 0.3}

BUFFERS = {
    "a proxy that buffers to the end": Scenario(
        because="A run that never ends by itself is shown nevertheless: by the long poll of the events.",
        do=HELD,
        options=PATIENCE,
        faults=[Buffers(times=None)],
        steps=[(when_seen("1-2"), let(1)), (when_seen("1-3"), open_gate)],
        claims=(*WHOLE, asked_at_least("events", 1), asked_at_most("events", 60)),
        beyond_naive=True,
    ),
    "a proxy that buffers the head, too": Scenario(
        because="nginx with its defaults: not even the id of the prediction arrives. The submit is made again, "
        "with its key and without a stream.",
        do=HELD,
        options=PATIENCE,
        faults=[Buffers(head=True, times=None)],
        steps=[(when_seen("1-2"), let(1)), (when_seen("1-3"), open_gate)],
        claims=(*WHOLE, asked_at_least("events", 1)),
        beyond_naive=True,
    ),
    "joining through a proxy that buffers": Scenario(
        because="The same for a follower.",
        prepare=running(n=6, held_from=1),
        do=follow(),
        options=PATIENCE,
        faults=[Buffers(times=None)],
        steps=[(when_seen("1-2"), open_gate)],
        claims=(saw_the_whole_log, asked_at_least("events", 1)),
        beyond_naive=True,
    ),
    "run through a proxy that buffers": Scenario(
        because="The same for run(), with its events.",
        do=run(n=6, gate=GATE, held_from=1),
        options=PATIENCE,
        faults=[Buffers(times=None)],
        steps=[(when_seen("1-2"), open_gate)],
        claims=(result_is_of_polling, ended("completed"), new_predictions(1), asked_at_least("events", 1)),
        beyond_naive=True,
    ),
    "long polls over bad lines": Scenario(
        because="The long poll is cut and refused as everything else is.",
        do=HELD,
        options=PATIENCE,
        faults=[
            Buffers(times=None),
            Passes(on="events"),
            Cut(on="events", after=20, times=2, how="close"),
            HangsUp(on="events"),
            Answers(on="events", status=502, body=HTML),
            Split(on="events", size=1, times=None),
        ],
        steps=[(when_seen("1-2"), let(1)), (when_seen("1-3"), open_gate)],
        claims=(*WHOLE, asked_at_least("events", 6)),
        beyond_naive=True,
    ),
    "a second attempt under long polls": Scenario(
        because="The restart is told there, too.",
        do=stream(n=6, gate=GATE, held_from=2, dies_at=2),
        options=PATIENCE,
        faults=[Buffers(times=None)],
        steps=[(when_seen("1-3"), open_gate)],
        claims=(*WHOLE, told_of_restart(2)),
        beyond_naive=True,
    ),
    "a proxy that buffers what is short": Scenario(
        because="What is over before anybody lost patience comes in one piece.",
        do=stream(n=8),
        faults=[Buffers(times=None)],
        claims=WHOLE,
    ),
}


def _cancel_newest(world: Any) -> None:
    newest = world.direct.http.get("predictions", params={"page_size": 1}).json()["data"]["items"][0]
    world.adapter.call("cancel", id=newest["id"]).result()


def _ended_or_not_found(world: Any) -> None:
    last = world.seen.last
    if "error" in last:
        assert last["error"]["class"] == "NotFound", last
    else:
        assert world.seen.events[-1]["type"] == "error", "deleting cancels first, and its end may come through"


def _says(world: Any, word: str) -> None:
    assert word in world.seen.last["error"]["message"]


def _names_fields(world: Any, *names: str) -> None:
    errors = world.seen.last["error"]["errors"]
    assert sorted(error["field"] for error in errors) == sorted(names), json.dumps(errors)


SCENARIOS: dict[str, Scenario] = {**PLAIN, **JOINING, **CUTS, **PIECES, **SERVERS, **REFUSED, **SUBMITS, **BUFFERS}
