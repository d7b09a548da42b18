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
    "auth": "on",
    "auth_off_anywhere": False,
    "cache_dir": None,
    "public_url": None,
    "cors_origins": [],
    "key_requests_per_minute": 6_000,
    "key_max_running": 0,
    "key_max_waiting": 10_000,
    "key_max_viewers": 1_000,
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
    "retention_days": 7,
    "retention_interval_s": 60,
    "delete_wait_s": 10,
    "public_docs": True,
    "playground": True,
    "drain_timeout_s": 10,
    "webhook_allow_http": False,
    "webhook_allow_hosts": [],
    "webhook_timeout_s": 10,
    "webhook_retry_delays_s": [1, 5, 30, 120, 600],
    "webhook_max_retry_after_s": 3600,
    "webhook_concurrency": 512,
    "webhook_concurrency_per_host": 16,
    "webhook_overlap_s": 86_400,
    "files_url": None,
    "max_upload_bytes": 500_000_000,
    "upload_ticket_s": 3600,
    "stalled_transfer_s": 60,
    "max_input_bytes": 500_000_000,
    "max_base64_output_bytes": 20_000_000,
    "fetch_timeout_s": 120,
    "fetch_allow_http": False,
    "fetch_allow_hosts": [],
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
    """Or it is one of those that count things, and says which."""
    counts = {"port", "load_attempts", "webhook_concurrency", "webhook_concurrency_per_host"}
    counts |= {"key_max_running", "key_max_waiting", "key_max_viewers"}
    assert name.endswith(("_s", "_days", "_bytes", "_per_minute")) or name in counts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "models.example", ""])
def test_a_server_without_keys_is_for_its_own_machine_unless_it_is_forced(host: str):
    with pytest.raises(ValidationError, match="UNSPOOL_AUTH_OFF_ANYWHERE=1"):
        Settings(auth="off", host=host)
    assert Settings(auth="off", host=host, auth_off_anywhere=True).auth == "off"
    assert Settings(host=host).auth == "on"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_a_server_without_keys_may_listen_where_no_other_machine_can_ask(host: str):
    assert Settings(auth="off", host=host).host == host


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_row_in_the_docs(name: str):
    assert Settings.model_fields[name].description
