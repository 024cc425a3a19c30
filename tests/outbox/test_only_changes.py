"""An endpoint that gets only changes is not sent what it has already, and loses nothing by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from live_push.delivery.transport import Request
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    EndpointHour,
    Push,
    UserProfile,
)
from live_push.models.clock import db_now, stopped
from live_push.outbox import contents, reopen, resend, uncertain
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

LOGINS_IGNORED = ["dateLastUpdated", "dateLastLogin"]
LOGIN = datetime(2026, 5, 1, tzinfo=UTC)


def endpoint(**more: Any) -> ClientEndpoint:
    """An endpoint that gets only changes, and for which a login is none."""
    return ClientEndpointFactory(**{"only_changes": True, "ignored_keys": LOGINS_IGNORED, **more})


def accepted_member(**more: Any) -> UserProfile:
    """A member whom all endpoints have accepted."""
    profile = UserProfileFactory(city="Bern", **more)
    deliver()
    return profile


def log_in(profile: UserProfile) -> None:
    profile.date_last_login = (profile.date_last_login or LOGIN) + timedelta(hours=1)
    profile.save(update_fields=["date_last_login"])


def move(profile: UserProfile, city: str) -> None:
    profile.city = city
    profile.save(update_fields=["city"])


def cities(requests: list[Request]) -> list[str]:
    return [json.loads(request.body)["city"] for request in requests]


def reasons() -> list[tuple[str, str]]:
    return list(Delivery.objects.order_by("pk").values_list("status", "reason"))


class TestAnUpdateThatHoldsNothingNew:
    def test_is_not_sent_and_ends_as_unchanged(self) -> None:
        endpoint()
        log_in(accepted_member())
        assert deliver() == []
        assert reasons() == [("succeeded", ""), ("cancelled", "unchanged")]
        left_out = Delivery.objects.get(reason="unchanged")
        assert (left_out.attempts_made, left_out.run_attempts, left_out.lease_token, left_out.leased_until) == (
            (0, 0, None, None)
        )
        assert left_out.ended_at is not None
        assert Attempt.objects.count() == 1

    def test_moves_the_confirmation_on_so_that_the_endpoint_is_not_behind(self) -> None:
        told = endpoint()
        profile = accepted_member()
        before = Confirmation.objects.get()
        log_in(profile)
        deliver()
        push, confirmation = Push.objects.latest("pk"), Confirmation.objects.get()
        assert (confirmation.sequence, confirmation.digest) == (push.sequence, push.digest)
        assert confirmation.confirmed_at == before.confirmed_at
        assert not UserProfile.objects.behind_or_never_sent(told.pk).exists()

    def test_is_counted_in_the_hour_but_not_as_an_attempt(self) -> None:
        told = endpoint()
        profile = accepted_member()
        for _ in range(3):
            log_in(profile)
            deliver()
        assert sum(EndpointHour.objects.values_list("left_out", flat=True)) == 3
        assert sum(EndpointHour.objects.values_list("attempts", flat=True)) == 1
        assert set(EndpointHour.objects.values_list("endpoint", flat=True)) == {told.pk}

    def test_lets_the_next_change_of_the_member_go_at_once(self) -> None:
        endpoint(ordering="strict")
        profile = accepted_member()
        log_in(profile)
        move(profile, "Rome")
        log_in(profile)
        assert cities(deliver()) == ["Rome"]
        assert [reason for _, reason in reasons()] == ["", "unchanged", "", "unchanged"]

    def test_is_sent_where_the_key_is_not_ignored(self) -> None:
        endpoint(ignored_keys=["dateLastUpdated"])
        log_in(accepted_member())
        assert len(deliver()) == 1

    def test_is_sent_to_an_endpoint_without_the_option(self) -> None:
        ClientEndpointFactory(ignored_keys=LOGINS_IGNORED)
        log_in(accepted_member())
        assert len(deliver()) == 1
        assert Confirmation.objects.get().content_digest == ""
