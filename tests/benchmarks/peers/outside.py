"""A peer seen from the measurement: what it is, and its processes.

Each saves in a process of its own, with settings of its own, on the tables that the measurement made; it sends with the
process that its documentation tells to start. What isn't installed is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import certifi

from live_push.models import UserProfile
from tests.benchmarks import by_celery, world
from tests.benchmarks.rows.models import Bare

SETTINGS = "tests.benchmarks.peers.settings"
FILLING = 190


@dataclass(frozen=True)
class Peer:
    """A webhook sender.

    ``senders``
        For each way to run it, the arguments of its processes.
    """

    name: str
    package: str
    senders: dict[str, list[tuple[str, ...]]]
    needs_broker: bool = False


PEERS = (
    Peer(
        "django-webhook",
        "django_webhook",
        {
            "django-webhook, Celery with 2 processes": [by_celery.PROCESSES],
            "django-webhook, Celery with 16 threads": [by_celery.THREADS],
        },
        needs_broker=True,
    ),
    Peer(
        "django-outbound-webhooks",
        "django_outbound_webhooks",
        {
            "django-outbound-webhooks, one relay": [("django", "deliver_events")],
            "django-outbound-webhooks, two relays": [("django", "deliver_events")] * 2,
        },
    ),
)


def at_hand(database: str) -> list[Peer]:
    """Those that can be measured here; a printed sentence for each other one."""
    if database != "postgresql":
        # Where all are at home; one of them refuses SQLite.
        return []
    found = []
    for peer in PEERS:
        if find_spec(peer.package) is None:
            _say(f"{peer.name} isn't installed and is left out; tests/benchmarks/requirements.txt names it.")
        elif peer.needs_broker and not by_celery.has_broker():
            _say(f"{peer.name} is left out, because no Redis answers at {by_celery.BROKER}.")
        else:
            _ask(peer, "prepare", {})
            found.append(peer)
    return found


def rows(number: int) -> list[int]:
    """The ids of so many new rows with the columns of a member.

    What a peer makes of one is as long as our body: the tiers and the names that it lacks are filled in.
    """
    member = UserProfile.objects.order_by("pk")[0]
    columns = [column.name for column in Bare._meta.concrete_fields if not column.primary_key]
    values = {name: getattr(member, name) for name in columns} | {"street_address_1": "x" * FILLING}
    return [row.pk for row in Bare.objects.bulk_create([Bare(**values) for _ in range(number)])]


def microseconds_of_a_save(peer: Peer, row_id: int, urls: list[str], number: int) -> float:
    """Of one save that the peer hears of; nobody sends meanwhile, and what waits is thrown away."""
    try:
        return _ask(peer, "saves", {"row": row_id, "urls": urls, "number": number})["microseconds"]
    finally:
        by_celery.forget()


@contextmanager
def sending(peer: Peer, way: str, ids: list[int], url: str) -> Iterator[None]:
    """One delivery for each of these rows waits; then the peer's processes run."""
    try:
        _ask(peer, "backlog", {"ids": ids, "urls": [url]})
        with processes(peer.senders[way], **_environment(peer)):
            yield
    finally:
        by_celery.forget()


@contextmanager
def processes(commands: list[tuple[str, ...]], **environment: str) -> Iterator[None]:
    """These run meanwhile."""
    if not commands:
        yield
        return
    with world.process(*commands[0], **environment), processes(commands[1:], **environment):
        yield


def _ask(peer: Peer, what: str, given: dict[str, object]) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.peers.inside", peer.package, what]
    environment = {**os.environ, **_environment(peer)}
    done = subprocess.run(  # noqa: S603
        command,
        input=json.dumps(given),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=world.ROOT,
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _environment(peer: Peer) -> dict[str, str]:
    bundle = str(_bundle())
    return {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "LIVE_PUSH_BENCHMARK_PEER": peer.package,
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        **by_celery.environment(),
    }


def _bundle() -> Path:
    """The receiver's authority beside the public ones: what a peer loads in production, it loads here."""
    authority = Path(json.loads(os.environ["LIVE_PUSH_BENCHMARK"])["authority"])
    bundle = authority.with_name("public_and_ours.pem")
    if not bundle.exists():
        bundle.write_text(Path(certifi.where()).read_text() + "\n" + authority.read_text())
    return bundle


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201
