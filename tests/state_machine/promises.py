"""The promise, as sentences over the rows and over what clients accepted; each raises where it is broken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from live_push.contract import encoding
from live_push.contract.fields import BODY_KEYS
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    UserProfile,
)
from live_push.models.clock import db_now
from live_push.models.deliveries import END_OF_LINE
from live_push.outbox import snapshots
from live_push.rules import retry
from live_push.rules.result import ErrorCode

from .wire import Flight, Wire

HOUR = timedelta(hours=1)
ENDED = {DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED, DeliveryStatus.CANCELLED}


def columns_agree_with_the_status() -> None:
    for row in Delivery.objects.select_related("push"):
        what = f"delivery {row.pk} ({row.status})"
        pending, sending, over = row.status == "pending", row.status == "sending", row.status in ENDED
        assert (row.next_attempt_at is not None) == pending, f"{what}: next attempt at {row.next_attempt_at}"
        assert (row.lease_token is not None) == sending, f"{what}: token {row.lease_token}"
        assert (row.leased_until is not None) == sending, f"{what}: leased until {row.leased_until}"
        assert (row.ended_at is not None) == over, f"{what}: ended at {row.ended_at}"
        assert row.dialled_at is None or sending or row.reason == "erased", f"{what}: dialled at {row.dialled_at}"
        assert (row.reason != "") == (row.status in ("failed", "cancelled")), f"{what}: reason {row.reason!r}"
        isolated = pending and row.stalls > 0
        assert not isolated or row.last_error_code == ErrorCode.LEASE_LOST, f"{what}: isolated, {row.last_error_code!r}"
        assert row.run_attempts <= row.attempts_made, f"{what}: {row.run_attempts} of {row.attempts_made} attempts"
        assert (row.run_started_at is not None) == (row.run_attempts > 0), f"{what}: run of {row.run_attempts}"
        drawn = row.push.sequence is not None
        assert over or row.position == (row.push.sequence if drawn else END_OF_LINE), f"{what}: place {row.position}"


def every_attempt_is_in_the_log() -> None:
    """Numbers 1 to n without a gap, for all but the attempt under way."""
    logged = Counter(Attempt.objects.values_list("delivery_id", flat=True))
    for row in Delivery.objects.exclude(reason=DeliveryReason.ERASED):
        under_way = row.status == DeliveryStatus.SENDING and row.dialled_at is not None
        assert logged[row.pk] == row.attempts_made - under_way, f"delivery {row.pk}: {logged[row.pk]} attempts logged"


def no_pair_has_two_in_flight(wire: Wire) -> None:
    under_way = Counter(flight.pair for flight in wire.flights if flight.is_on_the_wire and flight.is_honoured)
    assert all(number == 1 for number in under_way.values()), f"two requests at once for one pair: {under_way}"


def the_cap_holds(wire: Wire, caps: dict[int, int]) -> None:
    under_way = Counter(flight.pair[0] for flight in wire.flights if flight.is_on_the_wire)
    for endpoint_id, number in under_way.items():
        assert number <= caps[endpoint_id], f"{number} requests under way, {caps[endpoint_id]} allowed"
    for health in EndpointHealth.objects.all():
        now = db_now("default").timestamp()
        leased = sum(slots for slots, until in health.slots.values() if until > now)
        # A worker that overslept holds places for requests that ended meanwhile, until it learns so.
        overslept = [flight for flight in wire.decided if flight.pair[0] == health.pk and not flight.is_honoured]
        assert leased <= caps[health.pk] + len(overslept), f"{leased} places leased, {caps[health.pk]} allowed"


def nothing_older_starts_after_newer_was_accepted(flight: Flight) -> None:
    accepted = Confirmation.objects.filter(endpoint=flight.pair[0], profile=flight.pair[1]).first()
    if accepted is not None and flight.prepared.request is not None:
        assert flight.sequence > accepted.sequence, f"{flight.sequence} starts, {accepted.sequence} was accepted"


def nothing_starts_outside_the_audience(flight: Flight) -> None:
    endpoint_id, profile_id = flight.pair
    members = UserProfile.objects.using("default").filter(pk=profile_id)
    assert members.in_audience_of(endpoint_id).exists() or not members.exists(), f"{flight.pair} is outside"


def clients_never_saw_older_after_newer(wire: Wire) -> None:
    """After a yes that reached us: of a request that timed out, say, nobody here knows that the client processed it.

    Except what was written after its deadline. That is healed: see ``nothing_is_missing``.
    """
    accepted = Attempt.objects.filter(status_code__range=(200, 299), error_code__in=("", ErrorCode.ID_CONFLICT))
    wire.known |= set(accepted.values_list("delivery", "number"))
    for pair, entries in wire.accepted.items():
        sequences = [entry.sequence for entry in entries]
        timely = [entry for entry in entries if not entry.is_late]
        for place, entry in enumerate(timely):
            oldest = min(other.sequence for other in timely[place:])
            assert entry.attempt not in wire.known or oldest == entry.sequence, f"{pair} accepted {sequences}"
        events = {(entry.sequence, entry.event_id) for entry in entries}
        assert len(events) == len(set(sequences)), f"{pair} accepted one sequence by two events"


def late_acceptances_are_known(wire: Wire, told: Iterable[Flight]) -> None:
    """Where a client's last state is older than another that it accepted, and a worker told so, the pair is marked."""
    for pair in {flight.pair for flight in told if flight.is_late and flight.pair in wire.accepted}:
        entries = wire.accepted[pair]
        overtaken = entries[-1].is_late and entries[-1].sequence < max(entry.sequence for entry in entries)
        confirmation = Confirmation.objects.filter(endpoint=pair[0], profile=pair[1]).first()
        if overtaken and entries[-1].attempt in {flight.attempt_key for flight in told} and confirmation is not None:
            assert confirmation.uncertain_since is not None, f"nobody knows that {pair} accepted {entries}"


def attempts_stay_within_the_schedule(wire: Wire, policies: dict[int, retry.Policy]) -> None:
    for (delivery_id, run_started_at), starts in wire.starts.items():
        policy = policies[delivery_id]
        what = f"delivery {delivery_id}, run of {run_started_at}, attempts at {starts}"
        assert len(starts) <= policy.max_attempts, f"{what}: too many"
        assert not any(policy.is_over((start - run_started_at).total_seconds()) for start in starts), f"{what}: late"
        if policy is retry.CROWDTWIST:
            assert all(_within_an_hour(starts, start) <= 5 for start in starts), f"{what}: too many in an hour"


def _within_an_hour(starts: list[datetime], first: datetime) -> int:
    return sum(first <= start < first + HOUR for start in starts)


def nothing_is_missing(wire: Wire) -> None:
    """Every active endpoint has the latest state of its audience as its last, or a delivery says openly why not."""
    for endpoint in ClientEndpoint.objects.active():
        confirmations = {row.profile_id: row for row in Confirmation.objects.filter(endpoint=endpoint)}
        for profile in UserProfile.objects.in_audience_of(endpoint.pk):
            pair = endpoint.pk, profile.pk
            confirmed = confirmations.get(profile.pk)
            if confirmed and confirmed.sequence >= profile.changed_sequence and not confirmed.uncertain_since:
                last = wire.accepted[pair][-1]
                if not (last.is_late and pair in wire.orphaned):
                    assert last.city == profile.city, f"{profile.pk} is in {profile.city}, the client has {last.city}"
                    state = json.loads(encoding.encode(snapshots.current_snapshot(profile), endpoint.options))
                    different = {key for key, value in state.items() if last.body[key] != value}
                    # A captured id is not pushed, and what is ignored may be older.
                    different -= {BODY_KEYS["third_party_id"], *endpoint.ignored_keys}
                    assert not different, f"{profile.pk} differs at the client in {different}"
            elif wire.left_out.get(pair, 0) < profile.changed_sequence:
                rows = Delivery.objects.filter(endpoint=endpoint, profile=profile)
                assert rows.filter(status="failed", position__gte=profile.changed_sequence).exists(), (
                    f"Nobody sees that endpoint {endpoint.pk} lacks {profile.pk} as of {profile.changed_sequence}: "
                    f"{confirmed and vars(confirmed)}, "
                    f"{list(rows.values('pk', 'push__sequence', 'position', 'status', 'reason'))}"
                )
