"""Who waits for whom, on databases that lock rows: a save for nobody but another save of the same member."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction

from live_push.models import ClientEndpoint, Confirmation, Delivery, Push, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.models.transactions import locked
from live_push.outbox import release, reopen, resend, start, uncertain
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections
from tests.support import START, deliver, status

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite never has two writers at once."),
]

OTHER = "other"


@pytest.fixture(autouse=True)
def _another_connection(transactional_db: None) -> Iterator[None]:
    """And neither waits: where it would have to, it fails."""
    with further_connections(OTHER):
        if connection.vendor == "mysql":
            # MariaDB answers SKIP LOCKED with an error where it may not wait at all.
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        yield


def test_a_save_does_not_wait_while_an_endpoint_is_saved() -> None:
    endpoint, profile = ClientEndpointFactory(), UserProfileFactory()
    with transaction.atomic(using=OTHER):
        endpoint.save(using=OTHER)
        profile.save()
    assert Delivery.objects.count() == 2


def test_a_worker_does_not_wait_while_an_endpoint_is_saved() -> None:
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    with transaction.atomic(using=OTHER):
        endpoint.save(using=OTHER)
        assert len(deliver()) == 1
    assert Delivery.objects.get().status == "succeeded"


def test_an_endpoint_does_not_wait_while_members_are_saved() -> None:
    endpoint, profile = ClientEndpointFactory(), UserProfileFactory()
    with transaction.atomic(using=OTHER):
        profile.save(using=OTHER)
        endpoint.contact_email = "ops@client.example"
        endpoint.save()


def test_an_endpoint_is_switched_on_without_waiting_while_members_are_saved() -> None:
    endpoint, profile = ClientEndpointFactory(is_active=False), UserProfileFactory()
    with transaction.atomic(using=OTHER):
        profile.save(using=OTHER)
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True)
    assert Delivery.objects.count() == 1


def test_a_save_does_not_wait_while_an_endpoint_is_switched_on() -> None:
    endpoint, profile = ClientEndpointFactory(is_active=False), UserProfileFactory()
    with transaction.atomic(using=OTHER):
        ClientEndpoint.objects.using(OTHER).filter(pk=endpoint.pk).update(is_active=True)
        profile.save()
    assert Delivery.objects.count() == 1


def test_a_redelivery_does_not_wait_for_the_lock_of_a_push() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(413))
    delivery = Delivery.objects.get()
    with transaction.atomic(using=OTHER):
        list(locked(Push.objects.using(OTHER).all()))
        assert reopen.redeliver([delivery.pk], using="default") == ([delivery.pk], [])


def test_a_resend_does_not_wait_while_members_are_saved() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    with transaction.atomic(using=OTHER):
        profile.save(using=OTHER)
        assert resend.record([profile.pk], using="default") == 1


def test_a_save_does_not_wait_while_members_are_resent() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    with transaction.atomic(using=OTHER):
        resend.record([profile.pk], using=OTHER)
        profile.save()
    assert Delivery.objects.count() == 3


@pytest.mark.skipif(connection.vendor != "mysql", reason="Elsewhere the resend waits for the deletion.")
def test_a_member_who_is_deleted_while_a_resend_is_recorded_is_forgotten_when_its_body_is_drawn() -> None:
    ClientEndpointFactory()
    profile, _other = UserProfileFactory.create_batch(2)
    deliver()
    with transaction.atomic(using=OTHER):
        UserProfile.objects.using(OTHER).get(pk=profile.pk).delete()
        resend.record(list(UserProfile.objects.values_list("pk", flat=True)), using="default")
    assert len(deliver()) == 1
    (left,) = Delivery.objects.filter(status="cancelled")
    assert (left.reason, left.profile_id, left.lease_token) == ("erased", None, None)
    assert not Push.objects.filter(profile=profile.pk).exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Elsewhere there is no lock that holds up no save.")
def test_a_deletion_waits_while_its_member_is_resent() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    with transaction.atomic(using=OTHER):
        resend.record([profile.pk], using=OTHER)
        with pytest.raises(OperationalError, match="lock timeout"):
            UserProfile.objects.get(pk=profile.pk).delete()
    profile.delete()
    assert set(Push.objects.values_list("profile", flat=True)) == {None}
    assert not Delivery.objects.live().exists()


def test_what_a_dead_worker_left_is_released_later_where_it_is_locked() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(2)
        ((started, _waiting),) = (share.deliveries for share in claim(ClaimRequest(name="w"), using="default"))
        start.start([started], using="default")
    with stopped(START + timedelta(seconds=20)):
        with transaction.atomic(using=OTHER):
            list(locked(Delivery.objects.using(OTHER).all()))
            assert release.release_stalled(using="default", random=lambda: 0.0) == 0
        assert release.release_stalled(using="default", random=lambda: 0.0) == 2


def test_a_member_whose_row_is_locked_is_healed_later_and_holds_up_no_other() -> None:
    ClientEndpointFactory()
    first, second = UserProfileFactory.create_batch(2)
    deliver()
    Confirmation.objects.update(uncertain_since=db_now("default"))
    with transaction.atomic(using=OTHER):
        list(UserProfile.objects.using(OTHER).select_for_update().filter(pk=first.pk))
        assert uncertain.heal(using="default") == 1
    assert Delivery.objects.live().get().profile == second
    assert uncertain.heal(using="default") == 1
