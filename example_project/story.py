"""The story that the demo tells: every claim in it is checked against what the clients received and the log says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

from django.utils import timezone

from live_push.api import apply_due_tier_changes, award_points
from live_push.models import (
    Attempt,
    AuthMethod,
    ClientEndpoint,
    Delivery,
    DeliveryStatus,
    Tier,
    TierEvent,
    TierProgram,
    UserProfile,
)

from .narrator import Narrator, StoryBroken
from .pretend_client import API_KEY, CRM, MAIL_HOUSE, PASSWORD, USERNAME, WAREHOUSE, Arrival, PretendClient

PATHS = (MAIL_HOUSE, WAREHOUSE, CRM)
TIER_COLUMNS = " " * 33 + " ".join(
    f"{head:>11}" for head in ("level", "timeframe", "tier", "to reach", "to maintain", "expires")
)
A_YEAR_AND_A_DAY = timedelta(days=367)


def tell(narrator: Narrator, client: PretendClient) -> None:
    """Tell it once. Wants an empty database and a worker at work. Raises ``StoryBroken`` where it fails."""
    story = _Story(narrator, client)
    story.three_clients()
    story.a_program_with_tiers()
    story.ada_joins()
    story.ada_earns_points()
    story.a_client_fails()
    story.meanwhile_grace_climbs_and_falls()
    story.the_retry()


class _Story:
    def __init__(self, narrator: Narrator, client: PretendClient) -> None:
        self.narrator, self.client = narrator, client
        self.endpoints: dict[str, ClientEndpoint] = {}

    def three_clients(self) -> None:
        tell = self.narrator
        tell.chapter("Three clients")
        tell.say(f"Three companies listen at {self.client.url()} over TLS, each with a login of its own kind.")
        self._endpoint(MAIL_HOUSE, "Mail house", auth_method=AuthMethod.BASIC, username=USERNAME, password=PASSWORD)
        self._endpoint(WAREHOUSE, "Warehouse", auth_method=AuthMethod.API_KEY, api_key=API_KEY)
        self._endpoint(CRM, "CRM", capture_third_party_id=True)
        for endpoint in self.endpoints.values():
            capture = ", third-party ID synchronization" if endpoint.capture_third_party_id else ""
            tell.lines([f"{endpoint.name:<10}  {endpoint.url}  {endpoint.get_auth_method_display()}{capture}"])
        raw = ClientEndpoint.objects.values_list("password", "api_key")
        tell.check(
            "Their credentials are encrypted in the database.",
            not any(secret in str(row) for row in raw for secret in (PASSWORD, API_KEY)),
        )

    def a_program_with_tiers(self) -> None:
        tell = self.narrator
        tell.chapter("A program with three tiers")
        program = TierProgram(
            name="Stars",
            is_default=True,
            timeframe=TierProgram.Timeframe.ROLLING,
            length=12,
            length_unit=TierProgram.LengthUnit.MONTHS,
            base_expires=False,
        )
        program.full_clean()
        program.save()
        ladder = (("Tier 1", None, 999), ("Tier 2", 1000, 2499), ("Tier 3", 2500, None))
        for title, lowest, highest in ladder:
            Tier.objects.create(program=program, title=title, min_value=lowest, max_value=highest)
        tell.say("A tier lasts twelve months from the day it was assigned; who earned enough meanwhile keeps it.")
        tell.lines(f"{title:<7} from {lowest or 0:>5,}" for title, lowest, _ in ladder)

    def ada_joins(self) -> None:
        tell = self.narrator
        tell.chapter("Ada joins")
        self.ada = UserProfile.objects.create(
            user_name="ada",
            email_address="ada@example.com",
            first_name="Ada",
            last_name="Lovelace",
            city="London",
            country="GB",
        )
        arrivals = [self._arrival(path, self.ada) for path in PATHS]
        tell.say("One save, one push, three deliveries. What the mail house received:")
        self._show_request(arrivals[0], "id", "emailAddress", "firstName", "lastName", "city", "totalPoints")
        tell.check("All three received the same event.", len({arrival.event_id for arrival in arrivals}) == 1)
        tell.check("The mail house got its user name and password, and answered 200.", arrivals[0].status == 200)
        tell.check("The warehouse got its API key, and answered 200.", arrivals[1].status == 200)
        tell.say("The CRM answered with its own id of Ada:")
        tell.lines([arrivals[2].answer_text])
        given = arrivals[2].answer["third_party_id"]
        self._until(lambda: self._read_again(self.ada).third_party_id == given)
        tell.check(f"Her profile now carries it: third_party_id = {given}.", self.ada.third_party_id == given)

    def ada_earns_points(self) -> None:
        tell = self.narrator
        tell.chapter("Ada earns 300 points")
        award_points(self.ada, 300)
        arrivals = [self._arrival(path, self.ada, lambda arrival: arrival.body["totalPoints"] == 300) for path in PATHS]
        self._show_body(arrivals[1], "totalPoints", "redeemablePoints", "fanLevelName", "thirdPartyId", "tierInfo")
        tell.check("All three know it.", all(arrival.status == 200 for arrival in arrivals))
        tell.check(
            "The captured id went out with it, to everybody.",
            all(arrival.body["thirdPartyId"] == self.ada.third_party_id for arrival in arrivals),
        )

    def a_client_fails(self) -> None:
        tell = self.narrator
        tell.chapter("The mail house fails while Ada moves to Paris")
        self.client.fail_next(MAIL_HOUSE)
        self.ada.city, self.ada.country = "Paris", "FR"
        self.ada.save()
        self.failed = self._arrival(MAIL_HOUSE, self.ada, _lives_in("Paris"))
        tell.check(f"The mail house answered {self.failed.status}.", self.failed.status == 503)
        others = [self._arrival(path, self.ada, _lives_in("Paris")) for path in (WAREHOUSE, CRM)]
        tell.check("The others accepted it at once.", all(arrival.status == 200 for arrival in others))
        attempts = Attempt.objects.filter(delivery__push__event_id=self.failed.event_id, status_code=503)
        self._until(attempts.exists)
        delivery = attempts.select_related("delivery").get().delivery
        self.wait_seconds = ((delivery.next_attempt_at or delivery.created_at) - delivery.created_at).total_seconds()
        tell.check(
            f"The attempt is in the log; the next one is due after {self.wait_seconds:.0f} s.",
            delivery.status == DeliveryStatus.PENDING and self.wait_seconds >= 10,
        )

    def meanwhile_grace_climbs_and_falls(self) -> None:
        tell = self.narrator
        tell.chapter("Meanwhile: Grace climbs and falls")
        tell.say("Nobody waits for Ada's retry, not even at the mail house.")
        grace = UserProfile.objects.create(user_name="grace", first_name="Grace", last_name="Hopper", country="US")
        tell.lines([TIER_COLUMNS])
        self._tier_push("She joins", grace, ("start", "Tier 1", 0, 0, 1000, None))
        award_points(grace, 700)
        self._tier_push("She earns 700", grace, ("update", "Tier 1", 700, 700, 300, None))
        award_points(grace, 500)
        self._tier_push("And 500 more", grace, ("jump", "Tier 2", 1200, 200, 1300, 0))
        apply_due_tier_changes(now=timezone.now() + A_YEAR_AND_A_DAY)
        self._tier_push("A year later", grace, ("maintain", "Tier 2", 0, 0, 2500, 1000))
        apply_due_tier_changes(now=timezone.now() + 2 * A_YEAR_AND_A_DAY)
        self._tier_push("Another, without points", grace, ("drop", "Tier 1", 0, 0, 1000, None))
        history = list(TierEvent.objects.filter(profile=grace).order_by("pk").values_list("event", flat=True))
        tell.check("Her history has it all.", history == ["start", "update", "jump", "maintain", "drop"])

    def the_retry(self) -> None:
        tell = self.narrator
        tell.chapter("The retry")
        tell.say("The mail house has recovered. Waiting for the second attempt …")
        again = self.client.wait_for(
            lambda arrival: arrival.event_id == self.failed.event_id and arrival.attempt == 2, seconds=20
        )
        waited = (again.at - self.failed.at).total_seconds()
        tell.check(f"It came after {waited:.1f} s, with the same event id, and was accepted.", again.status == 200)
        tell.check("Not a moment before it was due.", waited >= 10)
        self._until(lambda: not Delivery.objects.live().exists())
        behind = {endpoint.name for endpoint in self.endpoints.values() if self._lacking(endpoint)}
        tell.check("Every client has confirmed the latest state of every member.", not behind)

    def _endpoint(self, path: str, name: str, **values: object) -> None:
        endpoint = ClientEndpoint(name=name, url=self.client.url(path), **values)
        endpoint.full_clean()
        endpoint.save()
        self.endpoints[path] = endpoint

    def _tier_push(self, what: str, member: UserProfile, expected: tuple[object, ...]) -> None:
        arrivals = [self._arrival(path, member, _assigned_by(str(expected[0]))) for path in PATHS]
        told = [_tier_columns(arrival.body) for arrival in arrivals]
        expires = arrivals[0].body["tierInfo"]["expirationDate"]
        event, *values = ("null" if value is None else value for value in told[0])
        row = " ".join(f"{value:>11}" for value in [*values, expires[:10] if expires else "never"])
        self.narrator.check(
            f"{what:<24} {event:<8} {row}",
            all(arrival.status == 200 for arrival in arrivals) and told == [expected] * len(arrivals),
        )

    def _arrival(self, path: str, member: UserProfile, match: Callable[[Arrival], bool] | None = None) -> Arrival:
        return self.client.wait_for(
            lambda arrival: (
                arrival.path == path and arrival.body["id"] == member.pk and (match is None or match(arrival))
            )
        )

    def _show_request(self, arrival: Arrival, *keys: str) -> None:
        self.narrator.lines([f"POST {arrival.path}"])
        for name in ("content-type", "authorization", "webhook-id", "live-push-sequence", "live-push-attempt"):
            value = arrival.headers[name]
            # Even a made-up password is a bad thing to print.
            self.narrator.lines([f"{name}: {value.split()[0] + ' ••••••' if name == 'authorization' else value}"])
        self._show_body(arrival, *keys)

    def _show_body(self, arrival: Arrival, *keys: str) -> None:
        self.narrator.show(arrival.body, only=keys)

    def _lacking(self, endpoint: ClientEndpoint) -> bool:
        return UserProfile.objects.behind_or_never_sent(endpoint.pk).exists()

    def _read_again(self, member: UserProfile) -> UserProfile:
        member.refresh_from_db()
        return member

    def _until(self, holds: Callable[[], bool], *, seconds: float = 10) -> None:
        # The client knows its answer a moment before we have written it down.
        deadline = monotonic() + seconds
        while not holds():
            if monotonic() > deadline:
                raise StoryBroken(f"It did not come true within {seconds:g} s.")
            sleep(0.02)


def _lives_in(city: str) -> Callable[[Arrival], bool]:
    return lambda arrival: bool(arrival.body["city"] == city)


def _tier_columns(body: dict[str, Any]) -> tuple[object, ...]:
    info = body["tierInfo"]
    scores = (info["timeframeScore"], info["tierScore"], info["scoreNeededToReach"], info["scoreNeededToMaintain"])
    return (info["assignedByEvent"], body["fanLevelName"], *scores)


def _assigned_by(event: str) -> Callable[[Arrival], bool]:
    return lambda arrival: bool(arrival.body["tierInfo"]["assignedByEvent"] == event)
