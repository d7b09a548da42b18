"""The tree of errors is the one that its file draws, and each answer has the code and status of the wire."""

import re

import pytest

from unspool import errors
from unspool.errors import ClientError, ModelError, UnspoolError
from unspool.worker.messages import public_message

WIRE = {
    "bad_json": 400,
    "invalid_input": 400,
    "bad_cursor": 400,
    "bad_query": 400,
    "streaming_not_supported": 400,
    "webhook_refused": 400,
    "base64_with_webhook": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_model": 404,
    "idempotency_mismatch": 409,
    "conflict": 409,
    "request_timeout": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "queue_full": 429,
    "internal": 500,
    "unavailable": 503,
}
"""Every error_code of `wire.md` §6."""

BEYOND_THE_WIRE = {
    "method_not_allowed": 405,
    "bad_upload": 400,
    "already_uploaded": 412,
    "range_not_satisfiable": 416,
}
"""Ours: what HTTP asks for, or files need, and `wire.md` does not mention."""

NOT_ANSWERED_YET: set[str] = set()
"""Nothing in the server gives these answers so far; whoever adds one takes it out of here."""


def answers() -> list[type[ClientError]]:
    return ClientError.__subclasses__()


def drawn() -> list[tuple[str, str, str]]:
    """The tree in the docstring, as (name, name of the parent, text)."""
    found: list[tuple[str, str, str]] = []
    path = ["UnspoolError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"([│ ]*)[├└]── (\w+)\s+(.*)", line):
            del path[1 + len(match[1]) // 4 :]
            found.append((match[2], path[-1], match[3]))
            path.append(match[2])
    return found


def subclasses(error: type[UnspoolError]) -> list[tuple[str, str]]:
    below = [each for each in error.__subclasses__() if each.__module__ == errors.__name__]
    return [pair for each in below for pair in ((each.__name__, error.__name__), *subclasses(each))]


def test_the_tree_that_is_drawn_is_the_tree_of_the_classes():
    assert [(name, parent) for name, parent, _ in drawn()] == subclasses(UnspoolError)


def test_the_drawn_codes_and_statuses_are_those_of_the_classes():
    texts = {name: text for name, parent, text in drawn() if parent == "ClientError"}
    assert texts == {error.__name__: f"{error.http_status} {error.code}" for error in answers()}


@pytest.mark.parametrize("error", answers(), ids=lambda error: error.__name__)
def test_each_answer_has_its_code_and_status_on_the_wire(error: type[ClientError]):
    assert error.http_status == (WIRE | BEYOND_THE_WIRE)[error.code]


def test_no_code_of_the_wire_is_forgotten():
    assert {error.code for error in answers()} == set(WIRE) - NOT_ANSWERED_YET | set(BEYOND_THE_WIRE)


def test_codes_are_unique():
    codes = [error.code for error in answers()]
    assert sorted(codes) == sorted(set(codes))


def test_a_code_is_its_class_in_snake_case():
    for error in answers():
        assert re.sub(r"(?<=.)([A-Z])", r"_\1", error.__name__).lower() == error.code


def test_what_may_be_tried_again_says_when():
    seconds = {error.code: error.retry_after_s for error in answers() if error("x").retryable}
    assert seconds == {"conflict": 1, "unavailable": 1, "rate_limited": 1, "queue_full": 5}
    assert errors.RateLimited("x", retry_after_s=17).retry_after_s == 17


def test_an_answer_carries_its_message_and_the_wrong_fields():
    wrong = [{"field": "prompt", "message": "is missing"}]
    error = errors.InvalidInput("Give a prompt.", wrong)
    assert (str(error), error.message, error.errors) == ("Give a prompt.", "Give a prompt.", wrong)
    assert errors.NotFound("x").errors is None


def test_every_error_is_documented():
    for name, _, _ in drawn():
        assert getattr(errors, name).__doc__


def test_a_model_error_reaches_the_client_word_for_word():
    assert public_message(ModelError("see /home/me/x: no")) == "see /home/me/x: no"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no luck", "ValueError: no luck"),
        ("", "ValueError"),
        ("[Errno 2] No such file: '/home/me/models/x.bin'", "ValueError: [Errno 2] No such file: 'x.bin'"),
        ("at (/srv/app/y.py:3), then", "ValueError: at (y.py:3), then"),
        (r"in C:\Users\me\x.txt", "ValueError: in x.txt"),
        ("~/secret/x is gone", "ValueError: x is gone"),
        ("in path=/srv/app/x", "ValueError: in path=x"),
        ("in file:///home/me/x", "ValueError: in x"),
        ("https://example.com/a/b.png is gone", "ValueError: https://example.com/a/b.png is gone"),
        ("3/4 of acme/video/t2v", "ValueError: 3/4 of acme/video/t2v"),
    ],
)
def test_other_errors_reach_the_client_without_the_folders_of_paths(message: str, shown: str):
    assert public_message(ValueError(message)) == shown
