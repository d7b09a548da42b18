"""The settings of a server: one row each, with a unit in its name and a default that works."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment, each as `UNSPOOL_` and its name in capitals; flags override them."""

    model_config = SettingsConfigDict(env_prefix="UNSPOOL_", extra="forbid", validate_default=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data_dir: Path = Field(Path("unspool-data"), description="folder of the spool and of everything else that lasts")
    api_key: str | None = Field(
        None, min_length=8, description="the first API key; without it one is made and kept in the data folder"
    )
    auth: Literal["on", "off"] = Field(
        "on", description="off asks nobody for an API key: for a network that you trust, or this machine alone"
    )
    auth_off_anywhere: bool = Field(
        False, description="1 allows UNSPOOL_AUTH=off on an address that other machines can reach"
    )
    cache_dir: Path | None = Field(
        None, description="folder for weights that are fetched; default is the user's cache folder"
    )
    public_url: str | None = Field(
        None, description="base of the URLs in answers, as clients reach this server; default is what they asked for"
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="origins of web pages that may call the API, with commas; * allows all"
    )

    key_requests_per_minute: int = Field(
        6_000, ge=0, description="requests that one API key may make in a minute; 0 is no limit, here and below"
    )
    key_max_running: int = Field(0, ge=0, description="predictions of one key that run at once; more of them wait")
    key_max_waiting: int = Field(10_000, ge=0, description="predictions of one key that may wait")
    key_max_viewers: int = Field(1_000, ge=0, description="open streams of one key's predictions")
    metrics: Literal["key", "open", "off"] = Field(
        "key", description="who may read /metrics: holders of an API key, everyone, or nobody"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what the server logs; info has a line for each transition of a prediction"
    )

    otel: bool = Field(
        False, description="traces through OpenTelemetry; on, too, where OTEL_EXPORTER_OTLP_ENDPOINT is set"
    )

    max_body_bytes: int = Field(10_000_000, ge=1_000, description="largest request body")
    header_timeout_s: float = Field(
        30, gt=0, description="how long the head of a request may take, and how long an idle connection is kept"
    )
    body_timeout_s: float = Field(30, gt=0, description="how long a small body may take to arrive")
    min_body_bytes_per_s: float = Field(
        10_000, gt=0, description="a large body may take longer, but must come as fast as this"
    )
    sync_wait_s: float = Field(90, gt=0, description="how long enable_sync_mode holds a request")
    keep_alive_s: float = Field(15, gt=0, description="silence after which a stream gets a keep-alive comment")
    stalled_viewer_s: float = Field(60, gt=0, description="how long a viewer may take nothing before it is dropped")
    disconnect_grace_s: float = Field(
        5, ge=0, description="on_disconnect=cancel acts so long after the last viewer left"
    )
    retention_days: float = Field(
        7,
        ge=0,
        le=36_500,
        description="days after which finished predictions and files are deleted; 0 keeps all of them",
    )
    retention_interval_s: float = Field(60, gt=0, description="how often it is looked for predictions to delete")
    delete_wait_s: float = Field(10, ge=0, description="how long a delete waits until a run has stopped")
    public_docs: bool = Field(True, description="whether /docs and /openapi.json are shown without an API key")
    playground: bool = Field(True, description="whether / is a page to try the models with; it is open, the API is not")
    drain_timeout_s: float = Field(10, ge=0, description="how long a stop waits for runs to finish")

    webhook_allow_http: bool = Field(False, description="whether webhooks may go to plain http")
    webhook_allow_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="hosts that webhooks may go to though they are not public, with commas"
    )
    webhook_timeout_s: float = Field(10, gt=0, description="how long one try to send a webhook may take")
    webhook_retry_delays_s: Annotated[list[float], NoDecode] = Field(
        [1, 5, 30, 120, 600], description="waits between tries to send a webhook, each ±20 %, with commas"
    )
    webhook_max_retry_after_s: float = Field(
        3600, ge=0, description="longest wait that a receiver can ask for with Retry-After"
    )
    webhook_concurrency: int = Field(512, ge=1, description="webhooks that are sent at once")
    webhook_concurrency_per_host: int = Field(16, ge=1, description="webhooks that are sent to one host at once")
    webhook_overlap_s: float = Field(
        86_400, ge=0, description="how long the webhook secret before a rotation goes on being good"
    )

    files_url: str | None = Field(
        None, description="where files are kept, as in s3://bucket/prefix; default is a folder in the data folder"
    )
    max_upload_bytes: int = Field(500_000_000, ge=1, description="largest file that can be uploaded")
    upload_ticket_s: float = Field(3600, gt=0, description="how long the URL of an upload ticket can be used")
    stalled_transfer_s: float = Field(
        60, gt=0, description="how long an upload or download may stand still before it is ended"
    )
    max_input_bytes: int = Field(500_000_000, ge=1, description="all input files of one prediction together")
    max_base64_output_bytes: int = Field(
        20_000_000, ge=1, description="all output files of one prediction together, with enable_base64_output"
    )
    fetch_timeout_s: float = Field(120, gt=0, description="how long fetching one input file may take")
    fetch_allow_http: bool = Field(False, description="1: input files may be fetched by plain http")
    fetch_allow_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="hosts that input files may come from though not public, with commas"
    )

    cancel_grace_s: float = Field(2, ge=0, description="how long a cancelled run may take to stop by itself")
    kill_grace_s: float = Field(1, ge=0, description="time between SIGTERM and SIGKILL of a worker")
    heartbeat_timeout_s: float = Field(60, gt=1, description="silence after which a worker is killed")
    load_attempts: int = Field(3, ge=1, description="failed loads of a model before its predictions end with an error")
    restart_backoff_s: float = Field(0.5, gt=0, description="wait before a worker is restarted; doubles each time")
    max_restart_backoff_s: float = Field(60, gt=0, description="longest wait before a worker is restarted")
    lease_s: float = Field(30, gt=1, description="how long a claim holds without being renewed")

    @field_validator("auth_off_anywhere")
    @classmethod
    def _keep_others_out(cls, value: bool, info: ValidationInfo) -> bool:
        host = info.data.get("host", "")
        if info.data.get("auth") == "off" and not value and not _is_loopback(host):
            raise ValueError(
                f"UNSPOOL_AUTH=off would let everybody in who can reach {host!r}. Listen on 127.0.0.1, leave"
                " UNSPOOL_AUTH on, or set UNSPOOL_AUTH_OFF_ANYWHERE=1 if you trust everybody on that network"
            )
        return value

    @field_validator(
        "cors_origins", "webhook_allow_hosts", "webhook_retry_delays_s", "fetch_allow_hosts", mode="before"
    )
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [item.strip() for item in value.split(",") if item.strip()]

    @field_validator("webhook_retry_delays_s")
    @classmethod
    def _waits_are_not_negative(cls, value: list[float]) -> list[float]:
        if any(not 0 <= delay_s < float("inf") for delay_s in value):
            raise ValueError("a wait is a number of seconds from 0")
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
