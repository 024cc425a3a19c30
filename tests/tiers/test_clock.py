"""What the clock has made due, and what an edited ladder changes, for many members."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from live_push.exceptions import TierError
from live_push.models import Push, Tier, TierEvent, TierMembership, UserProfile
from live_push.signals import profiles_changed
from live_push.tiers import clock, service
from tests.tiers.builders import utc
from tests.tiers.conftest import ROLLING

pytestmark = pytest.mark.django_db

NEVER_MIND = {"id", "applied_at"}


def memberships() -> list[dict]:
    return list(TierMembership.objects.order_by("pk").values())


def events() -> list[dict]:
    rows = TierEvent.objects.order_by("profile_id", "id").values()
    return [{name: value for name, value in row.items() if name not in NEVER_MIND} for row in rows]


def reevaluate(program, **options) -> int:
    """Run all batches of a valid program and return the number of members that change."""
    done = list(clock.reevaluation_batches(program, **options))
    assert not any(batch.problems for batch in done)
    return sum(batch.changed for batch in done)


def told(found) -> list[tuple]:
    return [(event.profile_id, event.event, event.to_title, event.due_at) for event in found]


@pytest.fixture
def seven(make_program, at) -> list[UserProfile]:
    """Seven members of a yearly program; the odd ones have earned the second tier in 2026."""
    make_program()
    with at(2026, 1, 10):
        profiles = [UserProfile.objects.create() for _ in range(7)]
        for profile in profiles[1::2]:
            service.award_points(profile, 1200)
    return profiles


def test_every_due_member_is_changed_once_and_told_once(seven, announcements):
    with announcements() as heard:
        assert clock.apply_due(utc(2027, 1, 1)) == 7
    assert set(TierMembership.objects.values_list("assigned_by_event", flat=True)) == {"maintain"}
    assert heard == [([profile.pk for profile in seven], "tier")]


def test_nothing_is_due_a_moment_before(seven, announcements):
    with announcements() as heard:
        assert clock.apply_due(utc(2026, 12, 31, 23, 59, 59)) == 0
    assert heard == []


def test_the_database_says_what_time_it_is(seven, at):
    with at(2026, 12, 31):
        assert clock.apply_due() == 0
    with at(2027, 1, 1):
        assert clock.apply_due() == 7


def test_a_late_run_applies_every_missed_instant_with_its_own_date(seven):
    before = TierEvent.objects.count()
    clock.apply_due(utc(2029, 7, 1))
    assert told(TierEvent.objects.filter(profile=seven[1]).order_by("id")[2:]) == [
        (seven[1].pk, "maintain", "Tier 2", utc(2027, 1, 1)),
        (seven[1].pk, "drop", "Tier 1", utc(2028, 1, 1)),
        (seven[1].pk, "maintain", "Tier 1", utc(2029, 1, 1)),
    ]
    assert TierEvent.objects.count() == before + 3 * 7
    member = TierMembership.objects.get(profile=seven[1])
    assert (member.date_reached, member.date_assigned) == (utc(2028, 1, 1), utc(2029, 1, 1))


def test_a_second_run_changes_nothing(seven, announcements):
    clock.apply_due(utc(2028, 7, 1))
    before = memberships(), events()
    with announcements() as heard:
        assert clock.apply_due(utc(2028, 7, 1)) == 0
    assert (memberships(), events()) == before
    assert heard == []


def test_the_longest_due_come_first_and_members_due_together_are_all_found(make_program, at):
    make_program(**ROLLING)
    profiles = []
    for day in (5, 3, 3, 3, 4):
        with at(2026, 1, day):
            profiles.append(UserProfile.objects.create())
    found = [event for batch in clock.due_batches(utc(2027, 6, 1), batch_size=2) for event in batch.events]
    order = [profiles[place].pk for place in (1, 2, 3, 4, 0)]
    assert [event.profile_id for event in found] == order


class KilledError(Exception):
    pass


@pytest.fixture
def kill() -> Iterator[Callable[[int], None]]:
    """Let the n-th batch from now on die after its rows are written and before its commit."""
    left = []

    def die(**kwargs):
        if left:
            left[0] -= 1
            if left[0] == 0:
                raise KilledError

    profiles_changed.connect(die)
    yield left.append
    profiles_changed.disconnect(die)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("killed_in", [1, 2, 3])
def test_a_run_that_is_killed_half_way_is_resumed_to_the_same_end(seven, endpoint, kill, killed_in):
    now = utc(2028, 7, 1)
    with transaction.atomic():
        clock.apply_due(now, batch_size=3)
        unbroken = memberships(), events()
        transaction.set_rollback(True)
    assert events() != unbroken[1]

    kill(killed_in)
    with pytest.raises(KilledError):
        clock.apply_due(now, batch_size=3)
    left = TierMembership.objects.due(now).count()
    assert left == 7 - 3 * (killed_in - 1)
    assert Push.objects.count() == 7 - left

    assert clock.apply_due(now, batch_size=3) == left
    assert (memberships(), events()) == unbroken
    assert Push.objects.filter(trigger="tier").count() == 7


def test_a_dry_run_tells_what_a_run_would_do_and_writes_nothing(seven, announcements):
    now = utc(2028, 7, 1)
    before = memberships(), events()
    with announcements() as heard:
        rehearsed = [event for batch in clock.due_batches(now, dry_run=True, batch_size=3) for event in batch.events]
    assert (memberships(), events()) == before
    assert heard == []
    real = [event for batch in clock.due_batches(now, batch_size=3) for event in batch.events]
    assert told(rehearsed) == told(real)
    assert len(real) == 14


def test_a_program_that_is_no_ladder_holds_up_nobody_else(seven, make_program, at):
    other = make_program(name="Elite", is_default=False, tiers=[("Silver", None, 9), ("Gold", 10, None)])
    service.override_tier(seven[0], other.tiers.get(title="Silver"), utc(2026, 2, 1))
    Tier.objects.filter(title="Tier 1").update(max_value=5)
    with pytest.raises(TierError, match=r"Club.*'Tier 1'.*'Tier 2'"):
        clock.apply_due(utc(2027, 1, 1), batch_size=2)
    assert TierMembership.objects.get(assigned_by_event="maintain").profile == seven[0]
    assert TierMembership.objects.due(utc(2027, 1, 1)).count() == 6


def test_members_that_changed_meanwhile_are_judged_anew(seven):
    running = clock.due_batches(utc(2027, 1, 1), batch_size=3)
    next(running)
    # Somebody else's award applied what was due for one of the later ones.
    service.award_points(seven[5], 10, at=utc(2027, 1, 1))
    assert sum(batch.changed for batch in running) == 3
    assert TierEvent.objects.filter(profile=seven[5], event="maintain").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_batch_costs_the_same_statements_however_many_members_it_has(make_program, at):
    make_program()
    counts = []
    for size in (2, 20):
        with at(2026, 1, 10):
            for _ in range(size):
                UserProfile.objects.create()
        with CaptureQueriesContext(connection) as queries:
            assert clock.apply_due(utc(2027, 1, 1)) == size
        counts.append(len(queries))
        TierMembership.objects.all().delete()
    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)  # MariaDB commits when it analyses
def test_what_is_due_is_found_by_its_index(make_program, at):
    make_program()
    with at(2026, 1, 10):
        UserProfile.objects.bulk_create(UserProfile() for _ in range(2000))
    first = TierMembership.objects.order_by("pk").values("pk")[:5]
    TierMembership.objects.filter(pk__in=[row["pk"] for row in first]).update(expiration_date=utc(2026, 2, 1))
    with connection.cursor() as cursor:
        cursor.execute({"mysql": "ANALYZE TABLE live_push_tiermembership"}.get(connection.vendor, "ANALYZE"))
    due = TierMembership.objects.due(utc(2026, 3, 1)).values_list("next_due_at", "pk")[:500]
    assert len(due) == 5
    assert "live_push_tier_due" in due.explain()


def test_a_program_in_which_nothing_expires_any_more_drops_nobody_before_it_is_reevaluated(seven, announcements):
    program = seven[0].tier_membership.tier.program
    program.timeframe = "none"
    program.save()
    with announcements() as heard:
        assert clock.apply_due(utc(2028, 7, 1), batch_size=3) == 0
    assert heard == []
    assert reevaluate(program) == 7
    assert not TierMembership.objects.due(utc(2028, 7, 1)).exists()


@pytest.fixture
def edited(seven):
    """The ladder after an edit that lets 1,200 points reach the top, and asks more of those at the base."""
    Tier.objects.filter(title="Tier 2").update(min_value=1100, max_value=1199)
    Tier.objects.filter(title="Tier 1").update(max_value=1099)
    Tier.objects.filter(title="Tier 3").update(min_value=1200)
    return seven[0].tier_membership.tier.program


def test_an_edited_ladder_changes_nobody_by_itself(edited, announcements):
    before = memberships()
    with announcements() as heard:
        assert clock.apply_due(utc(2026, 6, 1)) == 0
    assert memberships() == before
    assert heard == []


def test_a_reevaluation_shows_first_and_then_pushes_those_it_changes(edited, seven, at, announcements):
    before = memberships()
    with at(2026, 6, 1), announcements() as heard:
        assert reevaluate(edited, dry_run=True) == 3
        assert memberships() == before
        assert heard == []
        assert reevaluate(edited, batch_size=4) == 3
        assert [pk for ids, _ in heard for pk in ids] == [profile.pk for profile in seven[1::2]]
        assert reevaluate(edited) == 0
    risen = TierMembership.objects.filter(tier__title="Tier 3")
    assert set(risen.values_list("assigned_by_event", "date_reached", "tier_score")) == {("jump", utc(2026, 6, 1), 0)}
    assert TierEvent.objects.filter(cause="reevaluation").count() == 3


def test_a_reevaluation_as_of_an_earlier_moment_changes_nobody_before_the_last_event(edited, seven):
    TierMembership.objects.filter(profile=seven[1]).update(last_event_at=utc(2026, 5, 5))
    (batch,) = clock.reevaluation_batches(edited, now=utc(2026, 2, 1))
    assert {event.profile_id: event.due_at for event in batch.events} == {
        seven[1].pk: utc(2026, 5, 5),
        seven[3].pk: utc(2026, 2, 1),
        seven[5].pk: utc(2026, 2, 1),
    }


def test_a_reevaluation_of_one_program_leaves_the_others_alone(edited, make_program, at):
    other = make_program(name="Elite", is_default=False)
    with at(2026, 6, 1):
        assert reevaluate(other) == 0


def test_a_reevaluation_of_a_program_that_is_no_ladder_is_refused(edited):
    Tier.objects.filter(title="Tier 3").update(min_value=1300)
    (batch,) = clock.reevaluation_batches(edited)
    assert batch.changed == 0
    assert "'Tier 2'" in batch.problems[edited.name]
    assert "'Tier 3'" in batch.problems[edited.name]


@pytest.mark.parametrize(
    ("tiers", "sentence"),
    [
        pytest.param([], "Tier program 'New': A program needs at least one tier", id="no tiers"),
        pytest.param([("Silver", None, 9), ("Gold", 20, None)], "Between 'Silver' up to 9 and 'Gold'", id="a gap"),
    ],
)
def test_a_program_that_is_no_ladder_is_refused_although_nobody_is_in_it(make_program, tiers, sentence):
    program = make_program(name="New", is_default=False, tiers=tiers)
    (batch,) = clock.reevaluation_batches(program)
    assert sentence in batch.problems["New"]


def test_a_program_that_begins_to_expire_gives_its_members_dates_on_reevaluation(make_program, at):
    program = make_program(timeframe="none")
    with at(2026, 1, 10):
        profile = UserProfile.objects.create()
    for name, value in ROLLING.items():
        setattr(program, name, value)
    program.save()
    with at(2026, 6, 1):
        assert reevaluate(program) == 1
    member = TierMembership.objects.get(profile=profile)
    assert (member.expiration_date, member.date_assigned) == (utc(2027, 6, 1), utc(2026, 1, 10))
