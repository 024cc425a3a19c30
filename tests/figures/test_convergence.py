"""How far each endpoint has caught up, against brute force and against the receiver's own record."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random

import pytest
from django.db import connection
from django.db.models import QuerySet

from live_push.delivery.transport import Request
from live_push.figures.convergence import Convergence, convergence, rows
from live_push.models import ClientEndpoint, Confirmation, Delivery, Push, UserProfile
from live_push.models.clock import stopped
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, is_held, statements, status

pytestmark = pytest.mark.django_db(transaction=True)


def figure() -> Convergence:
    """The one endpoint's."""
    (only,) = convergence(using="default")
    return only


def counts(found: Convergence) -> tuple[int, int, int]:
    return found.confirmed, found.behind, found.never_sent


def test_without_endpoints_there_is_nothing_to_tell() -> None:
    UserProfileFactory()
    assert convergence(using="default") == []


def test_a_member_passes_from_never_sent_to_confirmed_to_behind_and_back() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    assert counts(figure()) == (0, 0, 1)
    deliver(OK)
    assert counts(figure()) == (1, 0, 0)
    profile.save()
    assert counts(figure()) == (0, 1, 0)
    deliver(OK)
    assert counts(figure()) == (1, 0, 0)


def test_behind_since_is_when_the_oldest_unaccepted_state_came_about() -> None:
    ClientEndpointFactory()
    with stopped(START):
        first, second = UserProfileFactory.create_batch(2)
        deliver(OK)
    assert figure().behind_since is None
    with stopped(START + timedelta(hours=1)):
        second.save()
    with stopped(START + timedelta(hours=2)):
        first.save()
    assert figure().behind_since == START + timedelta(hours=1)


def test_a_refused_update_leaves_the_member_behind() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    deliver(OK)
    profile.save()
    deliver(status(500))
    assert counts(figure()) == (0, 1, 0)


def test_a_disabled_endpoint_is_told_too() -> None:
    ClientEndpointFactory(is_active=False)
    UserProfileFactory()
    assert (figure().is_active, counts(figure())) == (False, (0, 0, 1))


def test_the_figure_does_not_need_the_log() -> None:
    ClientEndpointFactory()
    one, _other = UserProfileFactory.create_batch(2)
    deliver(OK)
    one.save()
    before = figure()
    Delivery.objects.all().delete()
    Push.objects.all().delete()
    assert figure() == before
    assert counts(before) == (1, 1, 0)


def test_a_member_that_raw_sql_deleted_is_in_no_count() -> None:
    ClientEndpointFactory()
    gone, _stays = UserProfileFactory.create_batch(2)
    deliver(OK)
    Push.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM live_push_userprofile WHERE id = %s", [gone.pk])
    assert counts(figure()) == (1, 0, 0)


def test_only_the_endpoints_asked_for_are_told() -> None:
    wanted, _other = ClientEndpointFactory.create_batch(2)
    assert [found.endpoint for found in convergence(using="default", endpoint_ids=[wanted.pk])] == [wanted.name]


@pytest.mark.parametrize("seed", range(5))
def test_any_state_is_counted_as_brute_force_counts_it(seed: int) -> None:
    random = Random(seed)
    endpoints = ClientEndpointFactory.create_batch(4)
    endpoints[seed % 4].set_audience(["north", "west"])
    for number in range(30):
        changed, days = random.randrange(1, 5), random.randrange(1, 20)
        profile = UserProfileFactory()
        UserProfile._base_manager.filter(pk=profile.pk).update(
            changed_sequence=changed,
            date_last_updated=START + timedelta(days=days, seconds=number),
            client_branding_id=random.choice(["north", "south", None]),
        )
        for endpoint in endpoints[:-1]:
            if random.random() < 0.7:
                Confirmation.objects.create(
                    endpoint=endpoint, profile=profile, sequence=random.randrange(1, 5), confirmed_at=START, digest=""
                )
    assert convergence(using="default") == sorted(
        (_by_brute_force(endpoint) for endpoint in endpoints), key=lambda found: found.endpoint
    )


def _by_brute_force(endpoint: ClientEndpoint) -> Convergence:
    profiles = [profile for profile in UserProfile.objects.all() if is_held(endpoint, profile)]
    rows = Confirmation.objects.filter(endpoint=endpoint, profile__in=profiles)
    accepted = {row.profile_id: row.sequence for row in rows}
    behind = [
        profile for profile in profiles if accepted.get(profile.pk, profile.changed_sequence) < profile.changed_sequence
    ]
    return Convergence(
        endpoint_id=endpoint.pk,
        endpoint=endpoint.name,
        is_active=endpoint.is_active,
        confirmed=len(accepted) - len(behind),
        behind=len(behind),
        never_sent=len(profiles) - len(accepted),
        behind_since=min((profile.date_last_updated for profile in behind), default=None),
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_figure_agrees_with_what_the_client_has_seen(seed: int) -> None:
    """The client's own record, compared with the members' rows, and nothing of ours in between."""
    random = Random(seed)
    ClientEndpointFactory()
    members = UserProfileFactory.create_batch(6)
    accepted: dict[int, str] = {}

    def answer(request: Request) -> Result:
        if random.random() < 0.4:
            return status(500)
        body = json.loads(request.body)
        accepted[body["id"]] = body["city"]
        return OK

    for step in range(12):
        member = random.choice(members)
        member.city = f"City {step}"
        member.save()
        if random.random() < 0.5:
            deliver(answer)
    current = dict(UserProfile.objects.values_list("pk", "city"))
    seen = [pk for pk in current if pk in accepted]
    latest = [pk for pk in seen if accepted[pk] == current[pk]]
    assert counts(figure()) == (len(latest), len(seen) - len(latest), len(current) - len(seen))


def test_all_endpoints_cost_one_statement() -> None:
    ClientEndpointFactory.create_batch(5)
    UserProfileFactory()
    assert len(statements(lambda: convergence(using="default"))) == 1


def test_one_endpoint_is_found_by_index_however_many_others_there_are() -> None:
    endpoints = ClientEndpointFactory.create_batch(20)
    QuerySet(UserProfile).bulk_create([UserProfile(changed_sequence=2) for _ in range(500)])
    ids = list(UserProfile.objects.values_list("pk", flat=True))
    for endpoint in endpoints:
        Confirmation.objects.bulk_create(
            [Confirmation(endpoint=endpoint, profile_id=pk, sequence=1, confirmed_at=START, digest="") for pk in ids]
        )
    with connection.cursor() as cursor:
        table = "live_push_confirmation"
        cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
    plan = rows(using="default", endpoint_ids=[endpoints[7].pk]).explain()
    index = (
        "sqlite_autoindex_live_push_confirmation_1" if connection.vendor == "sqlite" else "one_confirmation_per_pair"
    )
    assert index in plan
    assert not any(table in plan for table in ("live_push_delivery", "live_push_push", "live_push_attempt"))
