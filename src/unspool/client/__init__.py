"""The Python SDK: `Client`, `AsyncClient`, and what they give and raise. See docs/sdk-python.md."""

from unspool.client import errors
from unspool.client.async_client import AsyncClient, AsyncPredictions
from unspool.client.async_stream import AsyncStream
from unspool.client.errors import (
    ApiError,
    BadAnswer,
    ConnectionFailed,
    Gap,
    PredictionCancelled,
    PredictionError,
    PredictionFailed,
    PredictionTimedOut,
    SdkError,
    StillRunning,
    WebhookInvalid,
)
from unspool.client.events import Complete, Error, Event, Log, Output, Progress
from unspool.client.objects import Model, Page, Prediction
from unspool.client.sync_client import Client, Predictions
from unspool.client.sync_stream import Stream
from unspool.client.webhook import verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncPredictions",
    "AsyncStream",
    "BadAnswer",
    "Client",
    "Complete",
    "ConnectionFailed",
    "Error",
    "Event",
    "Gap",
    "Log",
    "Model",
    "Output",
    "Page",
    "Prediction",
    "PredictionCancelled",
    "PredictionError",
    "PredictionFailed",
    "PredictionTimedOut",
    "Predictions",
    "Progress",
    "SdkError",
    "StillRunning",
    "Stream",
    "WebhookInvalid",
    "errors",
    "verify_webhook",
]
