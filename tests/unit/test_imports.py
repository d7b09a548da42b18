"""Imports go downwards only. The layers are data; where a file of a new name belongs is said here first."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

L0 = ["types", "states", "errors", "sse", "events", "config", "observer"]
HTTP = ["net", "http_server"]
L3 = ["host", "webhooks", "retention", "metrics", "gpu_memory", "log_lines", "traces"]

MAY_IMPORT: dict[str, list[str]] = {
    # L0: facts and rules
    **dict.fromkeys(L0, L0),
    # L1: what an author uses; the log; HTTP to strangers; files in and out
    "batched": ["errors"],
    "bars": L0,
    "readme": ["errors"],
    "model": [*L0, "bars", "batched", "files", "readme"],
    "stages": [*L0, "model"],
    "net": L0,
    "files": [*L0, "net", "files"],
    "spool": [*L0, "spool"],
    "views": [*L0, "spool"],
    "http_server": [],
    "placement": L0,
    "unspool": ["client", "errors", "files", "model", "stages"],
    # L2: the child and its parent
    "worker": [*L0, "bars", "batched", "files", "model", "worker"],
    # L3: claim and feed; deliver; let go; count
    **{name: [*L0, "files", "model", "net", "placement", "spool", "views", "worker", *L3] for name in L3},
    # L4: HTTP; handlers and workers meet in the spool only
    "api": [*L0, *HTTP, "model", "spool", "views", "webhooks", "files", "metrics", "retention", "api", "unspool"],
    # Beside them: ready-made models and bridges to libraries, loaded in workers; the SDK
    "engines": [*L0, "files", "model", "readme", "stages", "engines"],
    "integrations": [*L0, "bars", "model", "integrations"],
    "client": [*L0, "client"],
    # L5: what puts it together
    "server": [*L0, *HTTP, "files", "model", "stages", "spool", "views", "worker", *L3, "api", "unspool"],
    "demo": [*L0, "files", "model", "readme", "stages", "engines", "demo", "unspool"],
    "commands": [*L0, "client", "commands", "http_server"],
    "templates": ["model", "unspool"],
    "cli": [*L0, "log_lines", "server", "demo", "unspool", "cli_keys", "cli_doctor", "commands"],
    "cli_keys": [*L0, "spool"],
    "cli_doctor": ["doctor"],
    # What measures the way from outside knows nothing of the server but its API
    "doctor": ["doctor"],
    "__main__": ["cli"],
}
"""By first name under `unspool`; "unspool" is the package itself."""

DRIVERS = {
    "sqlite3": {"unspool.spool.sqlite", "unspool.spool.sqlite_file"},
    "nats": {"unspool.spool.jetstream"},
}
"""Only these modules name a driver."""

PURE = {"unspool.types", "unspool.states", "unspool.errors", "unspool.sse", "unspool.events"}
"""Decisions without I/O: these import nothing that waits, opens or sends."""

INPUT_AND_OUTPUT = {"asyncio", "socket", "sqlite3", "subprocess", "threading", "os", "pathlib", "starlette", "uvicorn"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / "unspool").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Every module that a module imports, in whichever function, as its full name."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; say where it comes from"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module or ""


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.partition(".")[0] == "unspool"}


def part(module: str) -> str:
    """The first name under `unspool`."""
    return module.split(".")[1] if "." in module else module


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str):
    assert part(module) in MAY_IMPORT, f"say in MAY_IMPORT which layer {part(module)} belongs to"
    assert {part(name) for name in ours(module)} <= set(MAY_IMPORT[part(module)])


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_imports_of_ours_exists(module: str):
    assert ours(module) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_only_the_store_itself_names_its_driver(module: str):
    for driver, allowed in DRIVERS.items():
        if module not in allowed:
            assert driver not in {name.partition(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", sorted(PURE))
def test_decisions_are_made_without_input_and_output(module: str):
    assert not {name.partition(".")[0] for name in imports(module)} & INPUT_AND_OUTPUT


def test_there_are_no_cycles():
    graph = {module: ours(module) - {module} for module in MODULES}
    while leaves := {module for module, needs in graph.items() if not needs}:
        graph = {module: needs - leaves for module, needs in graph.items() if module not in leaves}
    assert graph == {}


def test_the_layers_themselves_have_no_cycles():
    graph = {name: set(allowed) - {name} for name, allowed in MAY_IMPORT.items() if name not in L0}
    graph = {name: needs - set(L0) for name, needs in graph.items()}
    same_layer = set(L3)
    graph = {name: needs - same_layer if name in same_layer else needs for name, needs in graph.items()}
    while leaves := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - leaves for name, needs in graph.items() if name not in leaves}
    assert graph == {}
