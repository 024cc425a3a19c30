"""Each column of the log that may hold data of a member is emptied when the member is erased."""

from __future__ import annotations

import pytest
from django.db.models import Model

from live_push.models import Attempt, Delivery, DeliveryStatus, Push, UserProfile
from live_push.outbox import emptied, erase, prune, withdraw
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver

pytestmark = pytest.mark.django_db(transaction=True)

KEPT = {
    Push: {"id", "event_id", "profile", "sequence", "trigger", "subject", "created_at"},
    Attempt: {
        "id",
        "delivery",
        "number",
        "trigger",
        "started_at",
        "duration_ms",
        "status_code",
        "error_code",
        "capture_conflict",
    },
}


@pytest.mark.parametrize(("model", "erased"), [(Push, emptied.ERASED_PUSH), (Attempt, emptied.ERASED_ATTEMPT)])
def test_each_column_is_emptied_or_kept(model: type[Model], erased: dict[str, object]) -> None:
    assert {field.name for field in model._meta.concrete_fields} == {*erased, *KEPT[model]}


def test_an_erasure_empties_what_a_withdrawal_does_and_that_what_pruning_does() -> None:
    assert emptied.PRUNED_PUSH.items() < emptied.WITHDRAWN_PUSH.items() < emptied.ERASED_PUSH.items()
    assert emptied.PRUNED_ATTEMPT.items() < emptied.WITHDRAWN_ATTEMPT.items() <= emptied.ERASED_ATTEMPT.items()


@pytest.mark.parametrize("action", ["prune", "withdraw", "erase"])
def test_rows_look_as_defined_afterwards(action: str) -> None:
    ClientEndpointFactory(capture_third_party_id=True)
    profile = UserProfileFactory()
    deliver(Result(200, body=b'{"third_party_id": "T-1"}', body_complete=True))
    push, attempt, delivery = Push.objects.get(), Attempt.objects.get(), Delivery.objects.get()
    assert all([push.payload, push.digest, attempt.answer, attempt.captured_id, attempt.body_digest])
    before = {model: model._base_manager.values().get() for model in (Push, Attempt)}
    assert delivery.ended_at is not None
    match action:
        case "prune":
            list(prune.drop_bodies({DeliveryStatus.SUCCEEDED: delivery.ended_at.replace(year=9999)}, using="default"))
            expected = {Push: emptied.PRUNED_PUSH, Attempt: emptied.PRUNED_ATTEMPT}
        case "withdraw":
            withdraw.erase_content([delivery.pk], using="default")
            expected = {Push: emptied.WITHDRAWN_PUSH, Attempt: emptied.WITHDRAWN_ATTEMPT}
        case _:
            erase.erase([profile.pk], using="default")
            subject = Push.objects.get().subject
            assert subject
            expected = {Push: {**emptied.ERASED_PUSH, "subject": subject}, Attempt: emptied.ERASED_ATTEMPT}
    assert UserProfile.objects.exists()
    for model, values in expected.items():
        assert model._base_manager.values().get() == {**before[model], **values}
