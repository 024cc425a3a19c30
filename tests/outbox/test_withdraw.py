"""An operator's hand on the log."""

from __future__ import annotations

import pytest

from live_push.models import Attempt, Delivery, Push
from live_push.outbox import reopen, withdraw
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


def ids() -> list[int]:
    return list(Delivery.objects.values_list("pk", flat=True))


def test_what_waits_is_cancelled_and_not_sent_any_more() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    assert withdraw.cancel(ids(), using="default") == 1
    assert deliver(OK) == []
    assert (Delivery.objects.get().status, Delivery.objects.get().reason) == ("cancelled", "withdrawn")


def test_what_is_over_can_not_be_cancelled() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(OK)
    assert withdraw.cancel(ids(), using="default") == 0
    assert Delivery.objects.get().status == "succeeded"


def test_erasing_leaves_that_something_was_sent_and_how_it_ended() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(200, b"secret answer"))
    assert withdraw.erase_content(ids(), using="default") == 1
    assert Push.objects.get().payload is None
    attempt = Attempt.objects.get()
    assert (attempt.answer, attempt.body_digest, attempt.status_code) == (None, "", 200)


def test_what_still_waits_keeps_its_body() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    assert withdraw.erase_content(ids(), using="default") == 0
    assert Push.objects.get().payload is not None


def test_a_body_stays_while_another_endpoint_waits_for_it() -> None:
    first, second = ClientEndpointFactory(), ClientEndpointFactory()
    UserProfileFactory()
    deliver(OK, status(500))
    over = Delivery.objects.exclude(status="pending").get()
    assert withdraw.erase_content([over.pk], using="default") == 1
    assert Push.objects.get().payload is not None
    assert {first.pk, second.pk} == set(Delivery.objects.values_list("endpoint", flat=True))


def test_a_plan_says_what_a_redelivery_does_and_does_nothing() -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(3)
    deliver(status(413), OK)
    chosen = [*ids(), 10**9]
    planned = reopen.plan(chosen, using="default")
    assert not Delivery.objects.filter(status="pending").exists()
    assert planned == reopen.redeliver(chosen, using="default")
    assert [len(part) for part in planned] == [1, 3]
