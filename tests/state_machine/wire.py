"""What is on its way between workers and clients, and what the clients keep of it: the judge of the promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from live_push import conf
from live_push.delivery.deliver import Prepared
from live_push.delivery.result import ErrorCode, Result
from live_push.models.clock import db_now

Pair = tuple[int, int]

ANSWERS: dict[str, Result] = {
    "ok": Result(200, body=b'{"third_party_id": "T"}', body_complete=True),
    "created": Result(201, body=b"{}", body_complete=True),
    "not found": Result(404, body_complete=True),
    "error": Result(500, body_complete=True),
    "gone": Result(410, body_complete=True),
    "too large": Result(413, body_complete=True),
    "slow down": Result(429, retry_after="120", body_complete=True),
    "busy": Result(503, retry_after="30", body_complete=True),
    "reset": Result(error_code=ErrorCode.RESET),
    "refused": Result(error_code=ErrorCode.CONNECT_REFUSED),
}
TIMED_OUT = Result(error_code=ErrorCode.TIMEOUT)


@dataclass(eq=False)
class Flight:
    """One request: under way until the client has decided, unknown to its worker until it has landed."""

    prepared: Prepared
    started_at: datetime
    attempt: Callable[[Prepared], None]
    result: Result | None = None

    @property
    def pair(self) -> Pair:
        return self.prepared.delivery.endpoint_id, self.prepared.delivery.profile_id or 0

    @property
    def sequence(self) -> int:
        return self.prepared.delivery.push.sequence or 0

    @property
    def is_honoured(self) -> bool:
        """Whether the lease still stands."""
        until = self.prepared.delivery.leased_until
        return until is not None and db_now("default") < until


@dataclass(frozen=True)
class Accepted:
    """What a client said yes to."""

    sequence: int
    city: str
    event_id: object
    attempt: tuple[int, int]
    """Its delivery's primary key, and which attempt of it."""


@dataclass
class Wire:
    """All requests, and each client's own record of what it accepted."""

    flights: list[Flight] = field(default_factory=list)
    accepted: dict[Pair, list[Accepted]] = field(default_factory=dict)
    starts: dict[tuple[int, datetime], list[datetime]] = field(default_factory=dict)
    known: set[tuple[int, int]] = field(default_factory=set)
    """Attempts whose acceptance was written down here, pruned or not."""
    withdrawn: dict[Pair, int] = field(default_factory=dict)
    """What an operator cancelled: the state of that moment."""

    def start(self, flight: Flight) -> None:
        """A worker dials."""
        delivery = flight.prepared.delivery
        assert delivery.run_started_at is not None
        self.starts.setdefault((delivery.pk, delivery.run_started_at), []).append(flight.started_at)
        self.flights.append(flight)
        if flight.prepared.request is None:
            flight.result = TIMED_OUT  # Nothing goes out; what counts is why it was refused.

    @property
    def undecided(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.result is None]

    @property
    def decided(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.result is not None]

    def decide(self, flight: Flight, answer: str) -> None:
        """The client makes up its mind."""
        flight.result = ANSWERS[answer]
        if answer in ("ok", "created"):
            self._accept(flight)

    def time_out(self, *, processed: bool) -> None:
        """Requests whose total time is over end without an answer, whatever the client did with them."""
        patience = timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS)
        for flight in self.undecided:
            if db_now("default") - flight.started_at >= patience:
                if processed:
                    self._accept(flight)
                flight.result = TIMED_OUT

    def _accept(self, flight: Flight) -> None:
        assert flight.prepared.request is not None
        city = json.loads(flight.prepared.request.body)["city"]
        delivery = flight.prepared.delivery
        entry = Accepted(flight.sequence, city, delivery.push.event_id, (delivery.pk, delivery.attempts_made))
        self.accepted.setdefault(flight.pair, []).append(entry)
