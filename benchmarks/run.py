"""Measures Unspool side by side with a C server that does nothing, BentoML and Ray Serve. See README.md.

Usage: python benchmarks/run.py {burst,paced,rush,first-event,llm,all}... [--rounds N] [--json]

Every round starts each server anew, measures it for seconds and takes it down, so that whatever the machine does at
the moment happens to all of them. What counts is the median over the rounds, and ratios more than figures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import llm
from harness import Bench, BenchmarkError, Server

BURST_EVENTS, BURST_RUNS = 200, 64
PACED_STREAMS = 1000
PACED = {"paced": (750, 5000), "rush": (250, 1000)}
"""Events of each stream, and the milliseconds within which all streams begin: as they come to a server that is in use,
and all of them within a second."""
Result = dict[str, Any]
Results = dict[str, dict[str, list[Result]]]

SERVERS: dict[str, Callable[[Bench], contextlib.AbstractContextManager[Server]]] = {
    "raw": lambda bench: harness.raw(bench, joined=False),
    "raw-joined": lambda bench: harness.raw(bench, joined=True),
    "unspool": harness.unspool,
    "bentoml": harness.bentoml,
    "ray": lambda bench: harness.ray_serve(bench, tuned=False),
    "ray-tuned": lambda bench: harness.ray_serve(bench, tuned=True),
}
TITLES = {
    "raw": "C server, a write per event",
    "raw-joined": "C server, a write per stream",
    "unspool": "Unspool",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
    "ray-tuned": "Ray Serve, throughput mode",
}
COMPETITORS = ("bentoml", "ray", "ray-tuned")


# ---- the measurements ----


def burst(bench: Bench, server: Server) -> Result:
    """64 runs at once, each replaced when it ends; output events a second."""
    options = ("-c", str(BURST_RUNS), "-w", "1", "-d", "4")
    result = bench.load(server, "burst", BURST_EVENTS, *options)
    _no_errors(server, "burst", result)
    return {"events_per_s": result["events_per_s"], "cpu": result["cpu"], "us_per_event": _us_per_event(result)}


def paced(bench: Bench, server: Server, kind: str = "paced") -> Result:
    """1,000 streams of 50 events a second: how late each event is read, in milliseconds, and how many came."""
    events, ramp_ms = PACED[kind]
    options = ("-c", str(PACED_STREAMS), "-1", "-R", str(ramp_ms))
    result = bench.load(server, "paced", events, *options, timeout_s=40)
    late = result["late_us"]
    delivered = result["events"] / (PACED_STREAMS * events)
    complete = (result["requests"] - result["errors"]) / PACED_STREAMS
    return {
        "late_p50_ms": late["p50"] / 1000,
        "late_p99_ms": late["p99"] / 1000,
        "late_max_ms": late["max"] / 1000,
        "delivered": min(delivered, complete),
        "cpu": result["cpu"],
        "us_per_event": _us_per_event(result),
    }


def rush(bench: Bench, server: Server) -> Result:
    """The same, for streams that all begin within a second, and so end within one."""
    return paced(bench, server, "rush")


def first_event(bench: Bench, server: Server) -> Result:
    """One client, one run after the other: milliseconds from the request to its first event and first output."""
    result = bench.load(server, "first", 1, "-c", "1", "-w", "0.5", "-d", "3")
    _no_errors(server, "first-event", result)
    first, output = result["first_us"], result["counted_us"]
    return {
        "first_p50_ms": first["p50"] / 1000,
        "first_p99_ms": first["p99"] / 1000,
        "output_p50_ms": output["p50"] / 1000,
        "output_p99_ms": output["p99"] / 1000,
        "runs": first["n"],
        "cpu": result["cpu"],
    }


def _us_per_event(result: Result) -> float:
    """CPU microseconds that server and workers together spend on an event: what stays when others use the machine."""
    cpu = result["cpu"]["server"] + result["cpu"]["below"]
    return cpu * 1e6 / max(result["events_per_s"], 1)


def _no_errors(server: Server, kind: str, result: Result) -> None:
    if result["errors"] or not result["events"]:
        kept = {name: value for name, value in result.items() if name.startswith("error") and value}
        raise BenchmarkError(f"{server.name}, {kind}: streams were not complete: {kept}\n{server.tail()}")


MEASUREMENTS: dict[str, Callable[[Bench, Server], Result]] = {
    "burst": burst,
    "paced": paced,
    "rush": rush,
    "first-event": first_event,
}
LEFT_OUT = {("raw-joined", "paced"), ("raw-joined", "rush"), ("raw-joined", "first-event")}
"""Where one write per stream is no different or has no meaning."""


def measure(bench: Bench, kinds: Sequence[str], names: Sequence[str], rounds: int) -> Results:
    """Kind → server → a result for each round."""
    results: Results = {kind: {} for kind in kinds}
    for number in range(rounds):
        for name in names:
            wanted = [kind for kind in kinds if (name, kind) not in LEFT_OUT]
            if not wanted:
                continue
            _say(f"round {number + 1}/{rounds}: {TITLES[name]}")
            with SERVERS[name](bench) as server:
                bench.load(server, "first", 1, "-c", "4", "-n", "200")  # warm, so that no first call is measured
                for kind in wanted:
                    results[kind].setdefault(name, []).append(MEASUREMENTS[kind](bench, server))
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- the report ----

Check = tuple[str, bool]


def _median(results: Sequence[Result], field: str) -> float:
    return statistics.median(result[field] for result in results)


def _us(results: Sequence[Result]) -> str:
    return f"{_median(results, 'us_per_event'):.2f}"


def _cpu(results: Sequence[Result]) -> str:
    parts = ("server", "below", "client", "others")
    return "  ".join(f"{statistics.median(r['cpu'][part] for r in results) * 100:3.0f}" for part in parts)


def report_burst(by_server: dict[str, list[Result]]) -> list[Check]:
    """Prints events a second, with the ratio of Unspool to each of the others."""
    rates = {name: _median(results, "events_per_s") for name, results in by_server.items()}
    own = rates.get("unspool")
    rows = []
    for name, results in by_server.items():
        spread = f"{min(r['events_per_s'] for r in results):,.0f}-{max(r['events_per_s'] for r in results):,.0f}"
        ratio = f"{own / rates[name]:.2f} x" if own else ""
        rows.append([TITLES[name], f"{rates[name]:,.0f}", spread, ratio, _us(results), _cpu(results)])
    _table(
        f"burst: {BURST_RUNS} runs at once, {BURST_EVENTS} output events each",
        ["", "events/s", "rounds", "Unspool is", "CPU µs/event", f"CPU % {CPU_PARTS}"],
        rows,
    )
    checks: list[Check] = []
    if own:
        checks.append((f"burst: {own:,.0f} events/s, target 400,000", own >= 400_000))
        for name in COMPETITORS:
            if name in rates:
                ratio = own / rates[name]
                checks.append((f"burst: {ratio:.1f} x {TITLES[name]}, target 10 x", ratio >= 10))
    return checks


def report_paced(by_server: dict[str, list[Result]], kind: str = "paced") -> list[Check]:
    """Prints how late the events of paced streams are."""
    events, ramp_ms = PACED[kind]
    rows = []
    for name, results in by_server.items():
        figures = [f"{_median(results, field):,.2f}" for field in ("late_p50_ms", "late_p99_ms", "late_max_ms")]
        delivered = min(r["delivered"] for r in results)
        rows.append([TITLES[name], *figures, f"{delivered * 100:.2f} %", _us(results), _cpu(results)])
    _table(
        f"{kind}: {PACED_STREAMS} streams of 50 events/s, {events} events each, begun within {ramp_ms / 1000:g} s;"
        " lateness in ms",
        ["", "p50", "p99", "max", "delivered", "CPU µs/event", f"CPU % {CPU_PARTS}"],
        rows,
    )
    own = by_server.get("unspool")
    if not own:
        return []
    late, delivered = _median(own, "late_p99_ms"), min(r["delivered"] for r in own)
    return [
        (f"{kind}: {delivered * 100:.2f} % delivered, target all", delivered == 1),
        (f"{kind}: lateness p99 {late:.2f} ms, target 10", late < 10),
    ]


def report_rush(by_server: dict[str, list[Result]]) -> list[Check]:
    """Prints how late events are while everybody comes at once."""
    return report_paced(by_server, "rush")


def report_first_event(by_server: dict[str, list[Result]]) -> list[Check]:
    """Prints how long one client waits for the first event, and for the first output."""
    fields = ("first_p50_ms", "first_p99_ms", "output_p50_ms", "output_p99_ms")
    rows = []
    for name, results in by_server.items():
        rows.append([TITLES[name], *(f"{_median(results, field):.3f}" for field in fields), _cpu(results)])
    _table(
        "first event: one client, warm server; ms",
        ["", "p50", "p99", "output p50", "output p99", f"CPU % {CPU_PARTS}"],
        rows,
    )
    own = by_server.get("unspool")
    if not own:
        return []
    p50, p99 = _median(own, "first_p50_ms"), _median(own, "first_p99_ms")
    return [
        (f"first event: p50 {p50:.2f} ms, target 1.5", p50 < 1.5),
        (f"first event: p99 {p99:.2f} ms, target 4", p99 < 4),
    ]


def report_llm(results: Sequence[Result]) -> list[Check]:
    """Prints tokens a second through the server and of the engine alone."""
    rows = []
    for title, side in (("the engine, called directly", "direct"), ("through Unspool", "unspool")):
        rates = [result[f"{side}_tokens_per_s"] for result in results]
        by_cpu = _median(results, f"{side}_tokens_per_cpu_s")
        spread = f"{min(rates):.1f}-{max(rates):.1f}"
        rows.append([title, f"{statistics.median(rates):.1f}", spread, f"{by_cpu:.1f}"])
    head = ["", "tokens/s", "rounds", "tokens by CPU second of the engine"]
    _table(f"llm: {llm.STREAMS} streams of {llm.TOKENS} tokens", head, rows)
    ratio = statistics.median(result["unspool_tokens_per_s"] / result["direct_tokens_per_s"] for result in results)
    return [(f"llm: {ratio * 100:.1f} % of the engine alone, target 95 %", ratio >= 0.95)]


CPU_PARTS = "server/workers/client/others"
REPORTS = {"burst": report_burst, "paced": report_paced, "rush": report_rush, "first-event": report_first_event}


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        first, *others = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(len(first)), *others]).rstrip())


def machine(bench: Bench) -> dict[str, Any]:
    """What the figures were measured on and with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    libraries = {
        name: harness.versions(python, packages)
        for name, python, packages in [
            ("unspool", bench.python, ("uvicorn", "httptools", "uvloop", "msgspec", "pydantic")),
            ("bentoml", bench.cache / "bentoml/bin/python", ("bentoml", "uvicorn", "uvloop", "httptools")),
            ("ray", bench.cache / "ray/bin/python", ("ray", "uvicorn", "uvloop", "starlette")),
        ]
    }
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "libraries": libraries,
    }


# ---- the command ----


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Measures Unspool side by side with others.")
    parser.add_argument("what", nargs="+", choices=[*MEASUREMENTS, "llm", "all"])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server (default 3)")
    parser.add_argument("--only", help="servers to measure, with commas: " + ", ".join(SERVERS))
    parser.add_argument("--json", action="store_true", help="print everything measured as JSON instead of tables")
    parser.add_argument("--machine", action="store_true", help="append what it was measured on")
    parser.add_argument("--verbose", action="store_true", help="print each measurement as JSON on stderr")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the Python that has Unspool")
    parser.add_argument("--cache", type=Path, help="where competitors are installed (default: the user's cache folder)")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1, help="core of the client and of the models")
    return parser.parse_args()


def main() -> int:
    """Returns 0 if every target was met, 1 if not, 2 if it could not be measured."""
    options = _arguments()
    if options.rounds < 1:
        _say("--rounds: at least 1")
        return 2
    names = options.only.split(",") if options.only else list(SERVERS)
    if set(names) - set(SERVERS):
        _say(f"--only: choose from {', '.join(SERVERS)}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    harness.adopt_orphans()
    try:
        bench = Bench(
            harness.cache_dir(options.cache),
            options.python,
            options.server_core,
            options.client_core,
            options.verbose,
        )
        with bench:
            return _run(bench, options, names)
    except (BenchmarkError, subprocess.SubprocessError) as error:
        _say(f"{error}")
        return 2
    finally:
        harness.kill_all()


def _run(bench: Bench, options: argparse.Namespace, names: Sequence[str]) -> int:
    kinds = [kind for kind in MEASUREMENTS if {kind, "all"} & set(options.what)]
    results: dict[str, Any] = measure(bench, kinds, names, options.rounds)
    if {"llm", "all"} & set(options.what):
        llm.fetch_weights(bench)
        results["llm"] = [llm.measure(bench, direct_first=number % 2 == 0) for number in range(options.rounds)]
    tables = io.StringIO()
    checks: list[Check] = []
    with contextlib.redirect_stdout(tables):
        for kind, found in results.items():
            checks += report_llm(found) if kind == "llm" else REPORTS[kind](found)
    if options.json:
        said = [{"text": text, "met": met} for text, met in checks]
        print(json.dumps({"machine": machine(bench), "results": results, "checks": said}, indent=1))
    else:
        print(tables.getvalue())
        for text, met in checks:
            print(f"{'met   ' if met else 'MISSED'}  {text}")
        if options.machine:
            print(json.dumps(machine(bench), indent=1))
    return 0 if all(met for _, met in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
