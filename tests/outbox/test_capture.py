"""Third-party id synchronization."""

from __future__ import annotations

import json
from typing import Any

import pytest

from live_push import signals
from live_push.models import Attempt, Delivery, Push, UserProfile
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


def answer(value: Any) -> Result:
    return status(200, json.dumps({"third_party_id": value, "other": [1]}).encode())


def test_an_id_is_stored_with_the_profile_and_on_the_attempt() -> None:
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory()
    deliver(answer(" T-1 "))
    profile.refresh_from_db()
    attempt = Attempt.objects.get()
    assert (profile.third_party_id, attempt.captured_id, attempt.replaced_id) == ("T-1", "T-1", None)


def test_storing_it_pushes_nothing() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(answer("T-1"))
    assert Push.objects.count() == 1
    assert deliver() == []


def test_a_number_becomes_text() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(answer(123456789))
    assert UserProfile.objects.get().third_party_id == "123456789"


def test_a_different_id_replaces_the_old_one_on_record() -> None:
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory(third_party_id="old")
    deliver(answer("new"))
    profile.refresh_from_db()
    attempt = Attempt.objects.get()
    assert (profile.third_party_id, attempt.captured_id, attempt.replaced_id) == ("new", "new", "old")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"no json", b"[]", b'{"third_party_id": true}', b'{"third_party_id": null}',
     b'{"third_party_id": "a", "third_party_id": "b"}', b'{"third_party_id": "' + b"x" * 101 + b'"}'],
)  # fmt: skip
def test_an_answer_without_a_usable_id_is_a_failed_attempt(body: bytes) -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(status(200, body))
    delivery, attempt = Delivery.objects.get(), Attempt.objects.get()
    assert (delivery.status, delivery.last_error_code) == ("pending", "id_missing")
    assert (attempt.status_code, attempt.error_code) == (200, "id_missing")
    assert attempt.detail


def test_an_answer_that_was_cut_counts_as_without_id() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(Result(status_code=200, body=b'{"third_party_id": "T-1"}', body_complete=False))
    assert Delivery.objects.get().last_error_code == "id_missing"


def test_an_id_of_another_profile_is_a_visible_conflict() -> None:
    owner = UserProfileFactory(third_party_id="T-1")
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory()
    deliver(answer("T-1"))
    profile.refresh_from_db()
    owner.refresh_from_db()
    assert (profile.third_party_id, owner.third_party_id) == (None, "T-1")
    delivery, attempt = Delivery.objects.get(), Attempt.objects.get()
    assert (delivery.status, attempt.capture_conflict, attempt.error_code) == ("succeeded", True, "id_conflict")


def test_one_conflict_harms_no_other_capture() -> None:
    UserProfileFactory(third_party_id="T-1")
    ClientEndpointFactory(capturing=True)
    UserProfileFactory.create_batch(2)
    deliver(answer("T-1"), answer("T-2"))
    assert UserProfile.objects.filter(third_party_id="T-2").count() == 1
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


def test_ids_that_differ_in_case_are_different() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory.create_batch(3)
    deliver(answer("t-1"), answer("T-1"), answer("T-1"))
    assert set(UserProfile.objects.values_list("third_party_id", flat=True)) == {"t-1", "T-1", None}


def test_an_answer_to_an_older_push_never_overwrites_a_newer_id() -> None:
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory()
    UserProfile._base_manager.update(third_party_id="newer", third_party_id_sequence=2**62)
    deliver(answer("older"))
    profile.refresh_from_db()
    assert profile.third_party_id == "newer"
    assert Delivery.objects.get().status == "succeeded"


def test_a_form_opened_before_the_capture_does_not_take_the_id_back() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    opened = UserProfile.objects.get()
    deliver(answer("T-1"))
    opened.city = "Wien"
    opened.save()
    assert UserProfile.objects.get().third_party_id == "T-1"


def test_an_id_set_by_hand_is_written_and_pushed() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(third_party_id="T-1")
    profile.third_party_id = None
    profile.save()
    assert UserProfile.objects.get().third_party_id is None


def test_nothing_is_captured_where_the_option_is_off() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(answer("T-1"))
    assert UserProfile.objects.get().third_party_id is None


def test_nothing_is_captured_from_a_failure() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(status(500, b'{"third_party_id": "T-1"}'))
    assert UserProfile.objects.get().third_party_id is None
    assert Delivery.objects.get().last_error_code == "server_error"


def test_a_capture_is_announced() -> None:
    heard: list[tuple[int, str | None, str]] = []

    def hear(profile_id: int, old: str | None, new: str, **kwargs: object) -> None:
        heard.append((profile_id, old, new))

    signals.third_party_id_captured.connect(hear)
    try:
        ClientEndpointFactory(capturing=True)
        profile = UserProfileFactory(third_party_id="old")
        deliver(answer("new"))
    finally:
        signals.third_party_id_captured.disconnect(hear)
    assert heard == [(profile.pk, "old", "new")]


def test_the_same_id_again_is_nothing_new() -> None:
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory()
    deliver(answer("T-1"))
    profile.save()
    deliver(answer("T-1"))
    assert Delivery.objects.filter(status="succeeded").count() == 2
