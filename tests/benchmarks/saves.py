"""What a save costs with 1, 5 and 20 endpoints, against a save of a row as wide that nobody listens to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from django.db import models

from live_push.models import UserProfile

from . import world
from .harness import Bench, Row, alternate
from .peers import outside as peers
from .rows.models import Bare

ENDPOINTS = (1, 5, 20)
GOALS = {"postgresql": "≤ 2.5", "mariadb": "≤ 3", "sqlite": "≤ 3"}
"""Of a save with one endpoint."""


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.scaled(200, 3)
    (member_id,) = world.members(1)
    member = UserProfile.objects.get(pk=member_id)
    same = {field.name: getattr(member, field.name) for field in Bare._meta.concrete_fields if not field.primary_key}
    bare = Bare.objects.create(**same)
    sides: dict[str, Callable[[], float]] = {
        **{_name(count): partial(_microseconds, member, number, count) for count in ENDPOINTS},
        "bare save": partial(_microseconds, bare, number, 0),
    }
    at_hand = peers.at_hand(bench.database)
    for peer in at_hand:
        (row_id,) = peers.rows(1)
        for count in ENDPOINTS:
            sides[_name(count, peer)] = partial(peers.microseconds_of_a_save, peer, row_id, _urls(count), number)
    values = alternate(sides, bench.rounds)
    for count in ENDPOINTS:
        compared = {side: values[side] for side in (_name(count), "bare save")}
        yield Row(
            f"save with {_name(count)} / bare save", "µs", compared, goal=GOALS[bench.database] if count == 1 else ""
        )
    yield Row(
        "save with 20 endpoints / with 1 endpoint", "µs", {_name(n): values[_name(n)] for n in (20, 1)}, goal="≤ 1.15"
    )
    for peer in at_hand:
        for count in ENDPOINTS:
            compared = {side: values[side] for side in (_name(count, peer), "bare save", _name(count))}
            yield Row(f"save with {_name(count, peer)} / bare save", "µs", compared)


def _name(endpoints: int, peer: peers.Peer | None = None) -> str:
    told = f"{endpoints} endpoint{'' if endpoints == 1 else 's'}"
    return f"{told} of {peer.name}" if peer else told


def _urls(endpoints: int) -> list[str]:
    return [f"https://client-{count}.example.com/" for count in range(endpoints)]


def _microseconds(row: models.Model, number: int, endpoints: int) -> float:
    """Of one save in autocommit."""
    world.endpoints(*_urls(endpoints))
    began = time.perf_counter()
    for count in range(number):
        row.city = f"city {count}"  # type: ignore[attr-defined]
        row.save()
    return (time.perf_counter() - began) / number * 1e6
