"""What is told when a run ends: a real server on loopback takes the message."""

from collections.abc import Iterator

import pytest
from listener import Listener

from flows.server.webhook import post
from labelfactory.http_client import NoAnswerError, RefusedError


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listener for one test."""
    listener = Listener()
    yield listener
    listener.close()


def test_a_message_arrives_as_json(listener):
    """Umlauts and all."""
    post(listener.address, {"text": "Übung", "attempt": 2})
    assert listener.heard == [{"text": "Übung", "attempt": 2, "content_type": "application/json"}]


def test_a_refusal_is_an_error(listener):
    """The caller has to know, to write it into the log."""
    listener.status = 500
    with pytest.raises(RefusedError, match="500"):
        post(listener.address, {})


def test_nobody_there_is_an_error():
    """So is a port that nobody listens on any more."""
    listener = Listener()
    listener.close()
    with pytest.raises(NoAnswerError, match="refused"):
        post(listener.address, {})


@pytest.mark.parametrize("address", ["file:///etc/passwd", "hooks.example.org", ""])
def test_only_http_is_posted_to(address):
    """An address from the environment opens no file."""
    with pytest.raises(ValueError, match="must begin with http"):
        post(address, {})
