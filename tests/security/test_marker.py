"""Planted secrets are looked for wherever anybody could read: they show nowhere."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from django.db import connection

from live_push.testing.https_server import EndpointServer
from tests.conftest import need

from .journey import Journey
from .marker import MARKERS, Places, looks

pytestmark = pytest.mark.django_db(transaction=True)

WHERE = {
    "commands",
    "database",
    "debug pages",
    "error mails",
    "errors",
    "fixtures",
    "logs",
    "mail",
    "pages",
    "pickles",
    "printed",
    "sentry",
    "tracebacks",
}


@pytest.mark.parametrize("transport", ["transport.RequestsTransport", "fast.FastTransport"])
def test_no_secret_shows_anywhere(transport: str) -> None:
    places = Places()
    with EndpointServer() as server:
        Journey(places, server, TRANSPORT=f"live_push.delivery.{transport}").travel()
    assert places.names - {"database file", "broker"} == WHERE
    assert ("broker" in places.names) is (find_spec("celery") is not None)
    assert ("database file" in places.names) is (connection.vendor == "sqlite")
    assert places.leaks() == set()


def test_a_message_to_a_broker_names_a_database_and_nothing_else() -> None:
    need(find_spec("celery"), "To look into a broker's messages, install Celery: pip install 'live-push[celery]'.")
    from kombu import Connection

    from live_push.engines.celery import look

    with Connection("memory://") as broker:
        look.apply_async(("default",), connection=broker)
        message = broker.SimpleQueue("celery").get(block=False)
        message.ack()
    assert message.payload[:2] == [["default"], {}]
    assert message.headers["argsrepr"] == "('default',)"
    assert message.headers["kwargsrepr"] == "{}"


@pytest.mark.parametrize("name", MARKERS)
def test_the_search_finds_a_secret_in_any_look(name: str) -> None:
    for look in looks(MARKERS[name]):
        places = Places()
        places.add("here", b"before " + look + b" after")
        places.add("there", "nothing")
        assert places.leaks() == {("here", name)}
