"""What ended long ago goes, and nothing else."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction

from live_push import api
from live_push.figures.convergence import convergence
from live_push.models import Attempt, Confirmation, Delivery, DeliveryStatus, Push
from live_push.models.clock import stopped
from live_push.outbox import prune
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, statements, status

pytestmark = pytest.mark.django_db(transaction=True)

LATER = START + timedelta(days=1)
ENDED = (DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED, DeliveryStatus.CANCELLED)
EVERY_END = dict.fromkeys(ENDED, LATER)


def delete(kind: DeliveryStatus = DeliveryStatus.SUCCEEDED, moment: datetime = LATER) -> list[prune.Deleted]:
    return list(prune.delete_ended(moment, kind, using="default"))


def test_what_ended_before_goes_with_its_attempts_and_its_push() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(3)
        deliver(OK)
    assert delete() == [prune.Deleted(deliveries=3, pushes=3)]
    assert [model.objects.count() for model in (Delivery, Attempt, Push)] == [0, 0, 0]


def test_what_ended_at_that_very_moment_stays() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(OK)
    assert delete(moment=START) == []


@pytest.mark.parametrize("kind", [DeliveryStatus.FAILED, DeliveryStatus.CANCELLED])
def test_each_kind_goes_by_itself(kind: DeliveryStatus) -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(OK)
    assert delete(kind) == []
    assert Delivery.objects.count() == 1


def test_what_waits_or_is_under_way_stays_however_old() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(2)
        deliver(status(500))
    Delivery.objects.filter(pk=Delivery.objects.first().pk).update(status="sending", next_attempt_at=None)
    assert [delete(kind) for kind in ENDED] == [[], [], []]
    assert Delivery.objects.count() == 2


def test_a_push_stays_until_its_last_delivery_is_gone() -> None:
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        UserProfileFactory()
        deliver(OK, status(413))
    assert delete() == [prune.Deleted(deliveries=1, pushes=0)]
    assert Push.objects.exists()
    assert delete(DeliveryStatus.FAILED) == [prune.Deleted(deliveries=1, pushes=1)]
    assert not Push.objects.exists()


def test_what_was_redelivered_in_the_meantime_is_spared() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(status(413))
    (pk,) = Delivery.objects.values_list("pk", flat=True)
    api.redeliver([pk])
    with transaction.atomic():
        # What it had chosen before.
        assert prune._delete([pk], LATER, DeliveryStatus.FAILED, using="default") == prune.Deleted(0, 0)
    assert Push.objects.get().payload is not None


def test_confirmations_stay_and_so_does_the_convergence_figure() -> None:
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        profile = UserProfileFactory()
        UserProfileFactory()
        deliver(OK)
        profile.save()
        deliver(status(413), OK)
    before = convergence(using="default")
    for kind in ENDED:
        delete(kind)
    assert not Delivery.objects.exists()
    assert Confirmation.objects.count() == 4
    assert convergence(using="default") == before


def test_after_pruning_an_older_state_is_still_superseded() -> None:
    """What an endpoint accepted decides, not what the log remembers of it."""
    ClientEndpointFactory()
    with stopped(START):
        profile = UserProfileFactory()
        deliver(status(413))
        profile.save()
        deliver(OK)
    delete()
    (older,) = Delivery.objects.all()
    assert [skipped.why for skipped in api.redeliver([older])[1]] == ["a newer state was accepted; use resend"]


def test_long_work_is_cut_into_short_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "DELIVERIES_PER_TRANSACTION", 2)
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(5)
        deliver(OK)
    batches = prune.delete_ended(LATER, DeliveryStatus.SUCCEEDED, using="default")
    next(batches)
    batches.close()
    assert Delivery.objects.count() == 3
    assert [batch.deliveries for batch in delete()] == [2, 1]


def test_a_batch_costs_the_same_however_many_rows_it_has() -> None:
    ClientEndpointFactory()

    def one_run(members: int) -> int:
        with stopped(START):
            UserProfileFactory.create_batch(members)
            deliver(OK)
        return len(statements(delete))

    assert one_run(1) == one_run(8)


def test_the_next_batch_is_found_by_index() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(300)
        deliver(OK)
    later = Delivery.objects.order_by("-pk").values_list("pk", flat=True)[:290]
    Delivery.objects.filter(pk__in=list(later)).update(ended_at=LATER)
    with connection.cursor() as cursor:
        table = "live_push_delivery"
        cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
    ended = prune.ended_before(LATER, DeliveryStatus.SUCCEEDED, using="default")
    assert "live_push_ended" in ended.order_by("ended_at", "pk").values("pk", "push_id")[:5].explain()


def test_bodies_and_answers_go_and_the_story_stays() -> None:
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        UserProfileFactory()
        deliver(status(200, b"thanks"), status(413, b"too much"))
    assert sum(prune.drop_bodies(EVERY_END, using="default")) == 1
    push = Push.objects.get()
    assert (push.payload, len(push.digest)) == (None, 64)
    assert set(Attempt.objects.values_list("answer", flat=True)) == {None}
    assert sorted(Attempt.objects.values_list("status_code", flat=True)) == [200, 413]
    assert Delivery.objects.count() == 2


def test_the_body_stays_while_one_endpoint_still_waits_for_it() -> None:
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        UserProfileFactory()
        deliver(status(200, b"thanks"), status(500, b"not now"))
    assert sum(prune.drop_bodies(EVERY_END, using="default")) == 0
    assert Push.objects.get().payload is not None
    assert set(Attempt.objects.values_list("answer", flat=True)) == {b"thanks", b"not now"}


def test_a_resend_that_has_no_body_yet_still_gets_one() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        profile = UserProfileFactory()
        deliver(OK)
        api.push_profile(profile, endpoints=[endpoint])
    assert sum(prune.drop_bodies(EVERY_END, using="default")) == 1
    (request,) = deliver(OK)
    assert profile.user_name.encode() in request.body


def test_pages_of_bodies_leave_none_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "DELIVERIES_PER_TRANSACTION", 2)
    ClientEndpointFactory.create_batch(3)
    with stopped(START):
        UserProfileFactory.create_batch(5)
        deliver(OK)
    assert sum(prune.drop_bodies(EVERY_END, using="default")) == 5
    assert not Push.objects.filter(payload__isnull=False).exists()
    assert sum(prune.drop_bodies(EVERY_END, using="default")) == 0


def test_what_has_no_body_any_more_can_not_be_redelivered() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(status(413))
    list(prune.drop_bodies(EVERY_END, using="default"))
    (pk,) = Delivery.objects.values_list("pk", flat=True)
    assert [skipped.why for skipped in api.redeliver([pk])[1]] == ["its body is no longer kept; use resend"]


def test_two_runs_at_once_leave_no_push_without_deliveries() -> None:
    """Each takes one of a push's two deliveries: neither is the last one, as long as the other's is only going."""
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        UserProfileFactory()
        deliver(OK)
    first, second = Delivery.objects.order_by("pk").values_list("pk", flat=True)
    first_is_gone, second_had_its_chance = threading.Event(), threading.Event()

    def run(pk: int, hold: bool) -> None:
        with transaction.atomic():
            prune._delete([pk], LATER, DeliveryStatus.SUCCEEDED, using="default")
            if hold:
                first_is_gone.set()
                second_had_its_chance.wait(10)
        connection.close()

    one = threading.Thread(target=run, args=(first, True))
    other = threading.Thread(target=run, args=(second, False))
    one.start()
    assert first_is_gone.wait(10)
    other.start()
    # It waits for the first one's lock; if it did not, it would be done by now.
    other.join(0.5)
    second_had_its_chance.set()
    one.join(10)
    other.join(30)
    assert (Delivery.objects.count(), Push.objects.count()) == (0, 0)
