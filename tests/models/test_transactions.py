"""What happens after a commit harms nobody, whatever it raises."""

from __future__ import annotations

import pytest
from django.db import transaction

from live_push import api, engines
from live_push.models import Delivery, UserProfile
from live_push.models.transactions import after_commit
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)


def fail(what: str) -> None:
    raise RuntimeError(f"says {what}")


def test_what_it_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with transaction.atomic():
        after_commit(fail, "the first", using="default")
        after_commit(caplog.clear, using="default")
        after_commit(fail, "the second", using="default")
    assert "says the second" in caplog.text


def test_without_a_transaction_it_happens_at_once(caplog: pytest.LogCaptureFixture) -> None:
    after_commit(fail, "it", using="default")
    assert "says it" in caplog.text


def test_waking_an_engine_never_raises_into_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    monkeypatch.setattr(engines, "wake", fail)
    profile.save()
    assert api.push_profile(profile) == 1
    assert api.push_profiles(UserProfile.objects.all()) == 1
    first = Delivery.objects.earliest("pk")
    Delivery.objects.filter(pk=first.pk).update(status="failed", next_attempt_at=None, ended_at=first.created_at)
    assert api.redeliver([first]) == ([first.pk], [])
