"""Saves, or bare POSTs, at times that are fixed beforehand: who is late makes up for it and leaves none out.

``python -m tests.benchmarks.steady KIND RATE URL`` reads members' ids as JSON from its standard input, makes one for
each, and prints when each was due and when it was made. It lives until its input ends, because a worker in a thread of
it lives no longer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from .bare import bodies

Make = Callable[[int], float]
"""Makes one for a member; returns the moment from which the client's answer is waited for."""


def saves(ids: list[int], url: str) -> Make:
    from live_push.models import UserProfile

    rows = UserProfile.objects.in_bulk(set(ids))

    def save(member: int) -> float:
        rows[member].city = f"city {time.monotonic()}"
        rows[member].save()
        return time.monotonic()

    return save


def posts(ids: list[int], url: str) -> Make:
    """By live_push's own client, without a database."""
    from live_push.delivery.transport import Request, RequestsTransport

    transport = RequestsTransport()
    made = dict(zip(ids, bodies(ids), strict=True))

    def post(member: int) -> float:
        body, headers = made[member]
        began = time.monotonic()
        transport.send(Request(url, headers, body))
        return began

    return post


KINDS = {"save": saves, "post": posts}


def at_their_times(make: Make, ids: list[int], rate: float) -> list[tuple[float, float]]:
    """When each was due and when it was made, so many a second."""
    first = time.monotonic()
    moments = []
    for number, member in enumerate(ids):
        due = first + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        moments.append((due, make(member)))
    return moments


def main(kind: str, rate: str, url: str) -> None:
    import django

    django.setup()
    ids = json.loads(sys.stdin.readline())
    print(json.dumps(at_their_times(KINDS[kind](ids, url), ids, float(rate))), flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
