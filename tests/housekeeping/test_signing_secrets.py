"""The life of a signing secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from live_push.contract.signature import sign
from live_push.exceptions import RotationRefused
from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory
from tests.support import START

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def signing_at(moment: object) -> list[str]:
    return ClientEndpoint.objects.get().signing_secrets(moment)  # type: ignore[arg-type]


def test_a_first_secret_signs_alone() -> None:
    with stopped(START):
        text = signing_secrets.rotate(ClientEndpointFactory())
    assert sign(text, "evt", 1, b"{}").startswith("v1,")
    assert signing_at(START) == [text]


def test_a_rotated_secret_signs_beside_the_new_one_until_the_overlap_ends() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        old, new = signing_secrets.rotate(endpoint), signing_secrets.rotate(endpoint)
    assert old != new
    assert signing_at(START + DAY - MOMENT) == [new, old]
    assert signing_at(START + DAY) == [new]


def test_without_an_overlap_the_old_secret_ends_at_once() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        signing_secrets.rotate(endpoint)
        new = signing_secrets.rotate(endpoint, overlap=timedelta(0))
    assert signing_at(START) == [new]
    assert ClientEndpoint.objects.get().previous_signing_secret is None


def test_a_second_rotation_during_an_overlap_is_refused_and_changes_nothing() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        old, new = signing_secrets.rotate(endpoint), signing_secrets.rotate(endpoint)
        with pytest.raises(RotationRefused, match="2026-03-02 12:00 UTC"):
            signing_secrets.rotate(endpoint)
    assert signing_at(START) == [new, old]


def test_a_forced_rotation_ends_the_oldest_secret() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        signing_secrets.rotate(endpoint)
        middle = signing_secrets.rotate(endpoint)
        new = signing_secrets.rotate(endpoint, force=True)
    assert signing_at(START) == [new, middle]


def test_a_rotation_after_the_overlap_needs_no_force() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        signing_secrets.rotate(endpoint)
        middle = signing_secrets.rotate(endpoint)
    with stopped(START + DAY):
        new = signing_secrets.rotate(endpoint)
    assert signing_at(START + DAY) == [new, middle]


@pytest.mark.parametrize(
    "overlap",
    [
        pytest.param(-MOMENT, id="before it began"),
        pytest.param(7 * DAY + MOMENT, id="longer than a week"),
    ],
)
def test_an_overlap_is_nothing_to_a_week(overlap: timedelta) -> None:
    with pytest.raises(ValueError, match="0 to 7 days"):
        signing_secrets.rotate(ClientEndpointFactory(), overlap=overlap)


def test_a_removed_secret_signs_nothing() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        signing_secrets.rotate(endpoint)
        signing_secrets.rotate(endpoint)
    signing_secrets.remove(endpoint)
    assert signing_at(START) == []


def test_a_rotation_leaves_what_others_wrote_meanwhile() -> None:
    endpoint = ClientEndpointFactory(name="before")
    ClientEndpoint.objects.update(name="after")
    signing_secrets.rotate(endpoint)
    assert ClientEndpoint.objects.get().name == "after"
