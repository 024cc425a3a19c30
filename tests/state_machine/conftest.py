"""The cast of the state machine's tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from live_push.models.clock import db_now
from live_push.rules import local_clock

from .connections import further_connections
from .machine import HOST, WORKERS, Outbox


@pytest.fixture(autouse=True)
def _cast(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # So that the same steps lead to the same rows in the same order.
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(Outbox.numbers), version=4))
    # The local clock goes, and stands still, with the database's.
    monkeypatch.setattr(local_clock, "local_now", lambda: db_now("default").timestamp())
    settings.LIVE_PUSH = {"RETRY_POLICIES": {"brief": [1, 5]}}
    with further_connections(HOST, *WORKERS):
        yield
