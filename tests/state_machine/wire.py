"""What is on its way between workers and clients, and what the clients keep of it: the judge of the promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from live_push import conf
from live_push.delivery import send
from live_push.delivery.send import Prepared
from live_push.models.clock import db_now
from live_push.rules.result import ErrorCode, Result

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
    "reset": Result(error_code=ErrorCode.RESET, request_written=True),
    "refused": Result(error_code=ErrorCode.CONNECT_REFUSED),
}
TIMED_OUT = Result(error_code=ErrorCode.TIMEOUT)
TOO_LATE = Result(error_code=ErrorCode.TOO_LATE)


@dataclass(eq=False)
class Flight:
    """One request: under way until the client has decided, unknown to its worker until it has landed.

    ``is_written``: the client has it. ``is_late``: it was written after its deadline, because its worker stood still
    between the comparison and the write.
    """

    prepared: Prepared
    started_at: datetime
    attempt: Callable[[], None]
    result: Result | None = None
    is_written: bool = False
    is_late: bool = False

    @property
    def pair(self) -> Pair:
        return self.prepared.delivery.endpoint_id, self.prepared.delivery.profile_id or 0

    @property
    def sequence(self) -> int:
        return self.prepared.delivery.push.sequence or 0

    @property
    def attempt_key(self) -> tuple[int, int]:
        """Its delivery's primary key, and which attempt of it."""
        return self.prepared.delivery.pk, self.prepared.delivery.attempts_made

    @property
    def is_too_late(self) -> bool:
        """Whether its deadline is over."""
        request = self.prepared.request
        return request is not None and send.is_too_late(request)

    @property
    def is_on_the_wire(self) -> bool:
        """Whether it counts for the cap: one that stands still in its worker does not."""
        return self.result is None and not self.is_late and (self.is_written or not self.is_too_late)

    @property
    def is_honoured(self) -> bool:
        """Whether the lease still stands."""
        until = self.prepared.delivery.leased_until
        return until is not None and db_now("default") < until


@dataclass(frozen=True)
class Accepted:
    """What a client said yes to."""

    sequence: int
    body: dict[str, Any] = field(repr=False)
    event_id: object
    attempt: tuple[int, int]
    """Its delivery's primary key, and which attempt of it."""
    is_late: bool
    """Whether the request was written after its deadline."""

    @property
    def city(self) -> str:
        """What the tests change."""
        return str(self.body["city"])


@dataclass
class Wire:
    """All requests, and each client's own record of what it accepted."""

    flights: list[Flight] = field(default_factory=list)
    accepted: dict[Pair, list[Accepted]] = field(default_factory=dict)
    starts: dict[tuple[int, datetime], list[datetime]] = field(default_factory=dict)
    known: set[tuple[int, int]] = field(default_factory=set)
    """Attempts whose acceptance was written down here, pruned or not."""
    left_out: dict[Pair, int] = field(default_factory=dict)
    """What an operator cancelled, or did not send to a wider audience: the state of that moment."""
    orphaned: set[Pair] = field(default_factory=set)
    """Where a request was written too late and its worker died before it could tell."""
    is_disturbed: bool = False
    """Whether something happens between two statements of a worker's turn."""
    is_slow: bool = False
    """Whether connections take their time, so that requests are not written at once."""

    def start(self, flight: Flight) -> None:
        """A worker dials, unless its deadline is over."""
        self.flights.append(flight)
        if flight.is_too_late:
            flight.result = TOO_LATE
            return
        delivery = flight.prepared.delivery
        assert delivery.run_started_at is not None
        self.starts.setdefault((delivery.pk, delivery.run_started_at), []).append(flight.started_at)
        if flight.prepared.request is None:
            flight.result = TIMED_OUT  # Nothing goes out; what counts is why it was refused.
        elif not self.is_slow:
            self.write(flight)

    def write(self, flight: Flight, *, heedless: bool = False) -> None:
        """The connection stands: the worker writes, or finds that it is too late; ``heedless`` writes all the same."""
        if flight.is_too_late and not heedless:
            flight.result = TOO_LATE
            delivery = flight.prepared.delivery
            assert delivery.run_started_at is not None
            self.starts[delivery.pk, delivery.run_started_at].remove(flight.started_at)
            return
        flight.is_written, flight.is_late = True, flight.is_too_late

    @property
    def unwritten(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.result is None and not flight.is_written]

    @property
    def undecided(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.result is None and flight.is_written]

    @property
    def decided(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.result is not None]

    def decide(self, flight: Flight, answer: str) -> None:
        """The client makes up its mind."""
        flight.result = ANSWERS[answer]
        if answer in ("ok", "created"):
            self._accept(flight)

    def time_out(self, *, processed: bool) -> None:
        """Requests whose total time is over end without an answer, whatever the client did with them.

        Those that are not written yet stand still in their worker, with its clocks.
        """
        patience = timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS)
        for flight in self.undecided:
            if db_now("default") - flight.started_at >= patience:
                if processed:
                    self._accept(flight)
                flight.result = replace(TIMED_OUT, request_written=True)

    def orphan(self, flights: Iterable[Flight]) -> None:
        """Their worker ends, perhaps without telling what came of them."""
        self.orphaned |= {flight.pair for flight in flights if flight.is_late}

    def _accept(self, flight: Flight) -> None:
        assert flight.prepared.request is not None
        body = json.loads(flight.prepared.request.body)
        delivery = flight.prepared.delivery
        entry = Accepted(flight.sequence, body, delivery.push.event_id, flight.attempt_key, flight.is_late)
        self.accepted.setdefault(flight.pair, []).append(entry)
