"""A client that fails, stalls, hangs up and recovers at random, and remembers what it accepted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from random import Random

from live_push.testing.https_server import EndpointServer, Exchange

MOODS = ("well", "failing", "stalling", "resetting")


@dataclass(frozen=True)
class Accepted:
    """One request that was answered with 200, in the order of the answers."""

    endpoint: str
    event_id: str
    profile_id: int
    sequence: int
    state: str


class MoodyReceiver:
    """One server for several endpoints, told apart by their paths."""

    def __init__(self, seed: int) -> None:
        self.server = EndpointServer()
        self.server.behave(self._behave)
        self.accepted: list[Accepted] = []
        self.answers: Counter[str] = Counter()
        self.mood = "well"
        self._random = Random(seed)
        self._lock = threading.Lock()
        self._never = threading.Event()

    def _behave(self, exchange: Exchange) -> None:
        with self._lock:
            mood = "well" if self.mood == "well" or self._random.random() < 0.5 else self.mood
            self.answers[mood] += 1
        if mood == "failing":
            exchange.respond(self._random.choice([500, 503, 429, 404]))
        elif mood == "stalling":
            # Longer than the sender waits; what was not answered was not accepted.
            exchange.wait(self._never, seconds=3)
            exchange.reset()
        elif mood == "resetting":
            exchange.reset()
        else:
            self._accept(exchange)

    def _accept(self, exchange: Exchange) -> None:
        received = exchange.received
        body = json.loads(received.body)
        with self._lock:
            # Before the answer leaves: whoever reads it may send the next push at once.
            self.accepted.append(
                Accepted(
                    endpoint=received.path,
                    event_id=received.headers["webhook-id"],
                    profile_id=body["id"],
                    sequence=int(received.headers["live-push-sequence"]),
                    state=str(body["city"]),
                )
            )
        exchange.respond(200)
