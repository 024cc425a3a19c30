"""One state for an endpoint, wherever it is asked for: command, list, filter, overview, banner and worker."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from django.test import Client

from live_push.figures import attention, pages
from live_push.figures.status import status
from live_push.models import ClientEndpoint, EndpointHealth, EndpointState, WorkerHeartbeat
from live_push.models.clock import stopped
from live_push.models.endpoint_state import in_state, state_of
from tests.admin.pages import url
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)
RESTS: dict[str, datetime | None] = {
    "no rest": None,
    "a rest that is over": START - SECOND,
    "a rest that ends now": START,
    "a rest under way": START + SECOND,
}
BREAKERS = ("closed", "open", "half_open")


def every_endpoint() -> None:
    """One endpoint for each combination of what its state depends on, and of what it does not depend on."""
    for is_active, needs, breaker, rest in itertools.product((True, False), (False, True), BREAKERS, RESTS):
        name = f"{'on' if is_active else 'off'}, {'needs' if needs else 'has'} credentials, {breaker}, {rest}"
        endpoint = ClientEndpointFactory(name=name, is_active=is_active)
        EndpointHealth.objects.filter(endpoint=endpoint).update(
            needs_credentials=needs, breaker_state=breaker, rests_until=RESTS[rest]
        )


def test_the_condition_of_a_query_and_the_word_for_a_row_agree() -> None:
    every_endpoint()
    words = {
        endpoint.name: state_of(endpoint, endpoint.health, START)
        for endpoint in ClientEndpoint.objects.select_related("health")
    }
    found = {
        endpoint.name: state
        for state in EndpointState
        for endpoint in ClientEndpoint.objects.filter(in_state(state, START))
    }
    assert found == words
    assert set(words.values()) == {*EndpointState}


def test_the_command_the_list_the_filter_and_the_overview_agree(admin_client: Client) -> None:
    with stopped(START):
        every_endpoint()
        told = {endpoint.name: endpoint.state for endpoint in status(using="default").endpoints}
        filtered = {
            endpoint.name: state
            for state in EndpointState.values
            for endpoint in admin_client.get(url("clientendpoint_changelist"), {"state": state}).context["cl"].queryset
        }
        assert filtered == told
        rows = admin_client.get(url("overview")).context["rows"]
        for row in rows:
            word = str(row["badge"].word).replace(" ", "_")
            assert word.startswith(told[row["endpoint"].name]), row["endpoint"].name


@pytest.mark.parametrize("breaker", ["open", "half_open"])
def test_an_endpoint_whose_rest_is_just_over_is_active_for_everyone(breaker: str, admin_client: Client) -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        EndpointHealth.objects.update(
            breaker_state=breaker, failures_in_row=5, rest_seconds=30, rests_until=START, failing_since=START
        )
    with stopped(START + attention.OVERDUE_AFTER):
        EndpointHealth.objects.update(rests_until=START + attention.OVERDUE_AFTER)
        (endpoint,) = status(using="default").endpoints
        assert (endpoint.state, endpoint.rests_until) == ("active", None)
        changelist = url("clientendpoint_changelist")
        assert list(admin_client.get(changelist, {"state": "resting"}).context["cl"].queryset) == []
        assert "Only one push at a time" in admin_client.get(changelist, {"state": "active"}).content.decode()
        # Its work is due, so a missing worker is told, and a worker that comes sends one push.
        assert not status(using="default").is_healthy
        assert pages.undelivered_since() == START
        assert len(deliver(OK)) == 1
        WorkerHeartbeat.objects.all().delete()
        assert status(using="default").endpoints[0].state == "active"
