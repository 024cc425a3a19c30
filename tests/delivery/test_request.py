"""What a transport is given."""

from __future__ import annotations

from live_push.delivery.request import Request


def test_a_request_shows_nothing_of_itself_in_a_traceback() -> None:
    request = Request("https://client.example/?token=hunter2", {"x-api-key": "hunter2"}, b"hunter2")
    assert "hunter2" not in repr(request)
