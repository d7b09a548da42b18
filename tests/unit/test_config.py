"""Settings: defaults that work, units in names, and nothing that is silently ignored."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from unspool.config import Settings

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8080,
    "data_dir": Path("unspool-data"),
    "api_key": None,
    "cache_dir": None,
    "public_url": None,
    "cors_origins": [],
    "metrics": "key",
    "log_level": "info",
    "otel": False,
    "max_body_bytes": 10_000_000,
    "header_timeout_s": 30,
    "body_timeout_s": 30,
    "min_body_bytes_per_s": 10_000,
    "sync_wait_s": 90,
    "keep_alive_s": 15,
    "stalled_viewer_s": 60,
    "disconnect_grace_s": 5,
    "drain_timeout_s": 10,
    "webhook_allow_http": False,
    "webhook_allow_hosts": [],
    "webhook_timeout_s": 10,
    "webhook_retry_delays_s": [1, 5, 30, 120, 600],
    "webhook_max_retry_after_s": 3600,
    "webhook_concurrency": 512,
    "webhook_concurrency_per_host": 16,
    "webhook_overlap_s": 86_400,
    "cancel_grace_s": 2,
    "kill_grace_s": 1,
    "heartbeat_timeout_s": 60,
    "load_attempts": 3,
    "restart_backoff_s": 0.5,
    "max_restart_backoff_s": 60,
    "lease_s": 30,
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"UNSPOOL_{name.upper()}", raising=False)


def test_a_server_needs_no_configuration():
    assert Settings().model_dump() == DEFAULTS


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNSPOOL_PORT", "9000")
    monkeypatch.setenv("UNSPOOL_SYNC_WAIT_S", "1.5")
    monkeypatch.setenv("UNSPOOL_DATA_DIR", "/srv/unspool")
    settings = Settings()
    assert (settings.port, settings.sync_wait_s, settings.data_dir) == (9000, 1.5, Path("/srv/unspool"))


def test_what_is_said_in_the_program_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNSPOOL_PORT", "9000")
    assert Settings(port=1234).port == 1234


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://a.example", ["https://a.example"]),
        ("https://a.example,https://b.example:8080", ["https://a.example", "https://b.example:8080"]),
        (" https://a.example , https://b.example, ", ["https://a.example", "https://b.example"]),
        ("*", ["*"]),
        ("", []),
    ],
)
def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str, origins: list[str]):
    monkeypatch.setenv("UNSPOOL_CORS_ORIGINS", text)
    assert Settings().cors_origins == origins


def test_origins_may_be_given_as_a_list():
    assert Settings(cors_origins=["https://a.example"]).cors_origins == ["https://a.example"]


def test_waits_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNSPOOL_WEBHOOK_RETRY_DELAYS_S", "0.5, 2,30")
    assert Settings().webhook_retry_delays_s == [0.5, 2, 30]


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="prot"):
        Settings(prot=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("port", "http"),
        ("api_key", "short"),
        ("max_body_bytes", 10),
        ("sync_wait_s", 0),
        ("keep_alive_s", 0),
        ("disconnect_grace_s", -1),
        ("load_attempts", 0),
        ("lease_s", 1),
        ("webhook_retry_delays_s", "1,-1"),
        ("webhook_retry_delays_s", "1,soon"),
        ("webhook_timeout_s", 0),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(name: str, value: object):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("name", [name for name, value in DEFAULTS.items() if type(value) in (int, float)])
def test_every_number_has_its_unit_in_its_name(name: str):
    """Or it is one of those that count things."""
    counts = {"port", "load_attempts", "webhook_concurrency", "webhook_concurrency_per_host"}
    assert name.endswith(("_s", "_bytes")) or name in counts


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_row_in_the_docs(name: str):
    assert Settings.model_fields[name].description
