"""Who looks at the pages: an administrator, and people who may do only so much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client

from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport, deliver, status

Staff = Callable[..., Client]


@pytest.fixture(autouse=True)
def _nothing_cached() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def boss(client: Client) -> Client:
    """May do everything."""
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "secret"))
    return client


@pytest.fixture
def staff() -> Staff:
    """Makes clients of staff members who have exactly the named permissions."""

    def login(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert user.user_permissions.count() == len(set(codenames))
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedTransport]:
    """Sets how the client answers test pushes; what it returns collects the requests."""

    def script(*results: Any) -> ScriptedTransport:
        transport = ScriptedTransport(*results)
        monkeypatch.setattr("live_push.admin.endpoints.test_pushes.make_transport", lambda: transport)
        return transport

    return script


@pytest.fixture
def world() -> None:
    """Two endpoints, a program with three tiers, members; some pushes were accepted, some failed, some wait."""
    TierProgramFactory()
    ClientEndpointFactory(name="acme", basic=True)
    ClientEndpointFactory(name="globex", is_active=False, disabled_reason="No success for five days.")
    UserProfileFactory.create_batch(3)
    deliver(OK, status(500, b"<script>alert('boo')</script>"), status(413))
    UserProfileFactory()
