"""Three pretend clients behind one https server of this machine, and a page that shows what reached them.

The certificate comes from an authority of their own, so pushes travel over real TLS, verified as always.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.template.loader import render_to_string

from live_push.testing.https_server import EndpointServer, Exchange, Received

USERNAME: Final = "test"
PASSWORD: Final = "password123"  # noqa: S105  (it protects a pretend client)
API_KEY: Final = "GRscvhg53SsDg1gxxsDgcsf123"

MAIL_HOUSE: Final = "/mail-house"
WAREHOUSE: Final = "/warehouse"
CRM: Final = "/crm"


@dataclass(frozen=True)
class Arrival:
    """A request that reached a client, and what the client answered."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    status: int
    answer: dict[str, Any]
    at: datetime

    @property
    def event_id(self) -> str:
        """The same for every client and every attempt."""
        return self.headers["webhook-id"]

    @property
    def sequence(self) -> str:
        """Higher for each newer state of the member; a test push has none."""
        return self.headers.get("live-push-sequence", "")

    @property
    def attempt(self) -> int:
        """From 1."""
        return int(self.headers["live-push-attempt"])

    @property
    def body_text(self) -> str:
        """The body, laid out for reading."""
        return json.dumps(self.body, indent=2, ensure_ascii=False)

    @property
    def answer_text(self) -> str:
        """The answer's body as it was sent."""
        return json.dumps(self.answer)


class PretendClient:
    """A context manager; while it is open, the clients answer.

    ``/mail-house`` wants Basic authentication, ``/warehouse`` an API key, ``/crm`` neither and answers with its own id
    of the member. ``/`` is the page.
    """

    def __init__(self) -> None:
        self.server = EndpointServer()
        self.server.behave(self._answer)
        self._changed = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._failures: Counter[str] = Counter()

    def __enter__(self) -> PretendClient:
        self.server.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.server.stop()

    def url(self, path: str = "/") -> str:
        """The address of one of the three, or of the page."""
        return self.server.url.rstrip("/") + path

    def fail_next(self, path: str) -> None:
        """Answer the next push that comes there with 503."""
        with self._changed:
            self._failures[path] += 1

    def wait_for(self, match: Callable[[Arrival], bool], *, seconds: float = 10) -> Arrival:
        """The first arrival that matches, once it is there. Raises :class:`TimeoutError` where it does not come."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(match, self._arrivals)), seconds)
            for arrival in self._arrivals:
                if match(arrival):
                    return arrival
        raise TimeoutError(f"Nothing of the kind reached the pretend client within {seconds:g} s.")

    def _answer(self, exchange: Exchange) -> None:
        received = exchange.received
        if received.method == "POST" and received.path in _CLIENTS:
            arrival = self._judge(received)
            exchange.respond(arrival.status, arrival.answer_text.encode())
            with self._changed:
                self._arrivals.append(arrival)
                self._changed.notify_all()
        elif received.method == "POST" and received.path.removesuffix("/fail-next") in _CLIENTS:
            self.fail_next(received.path.removesuffix("/fail-next"))
            exchange.respond(303, headers={"Location": "/"})
        elif received.path == "/":
            exchange.respond(200, self._page().encode(), {"Content-Type": "text/html; charset=utf-8"})
        else:
            exchange.respond(404)

    def _judge(self, received: Received) -> Arrival:
        body = received.json()
        status, answer = _CLIENTS[received.path](received.headers, body)
        with self._changed:
            if self._failures[received.path]:
                self._failures[received.path] -= 1
                status, answer = 503, {"error": "told to fail"}
        return Arrival(received.path, received.headers, body, status, answer, datetime.now(UTC))

    def _page(self) -> str:
        with self._changed:
            context = {"arrivals": self._arrivals[::-1], "paths": list(_CLIENTS), "failures": dict(+self._failures)}
        return render_to_string("example_project/pretend_client.html", context)


Answer = tuple[int, dict[str, Any]]


def _mail_house(headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
    expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    return (200, {}) if headers.get("authorization") == f"Basic {expected}" else (401, {"error": "who are you?"})


def _warehouse(headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
    return (200, {}) if headers.get("x-api-key") == API_KEY else (401, {"error": "who are you?"})


def _crm(headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
    return 200, {"third_party_id": f"CRM-{body['id']:06}"}


_CLIENTS: Final = {MAIL_HOUSE: _mail_house, WAREHOUSE: _warehouse, CRM: _crm}
