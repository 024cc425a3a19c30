"""Django's own tasks, with a real backend and real workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from live_push import engines
from live_push.figures.status import status
from live_push.models import Delivery, TierEvent
from live_push.models.clock import stopped
from live_push.testing.https_server import EndpointServer
from tests.conftest import need
from tests.engines.processes import running
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, deliver

pytestmark = pytest.mark.django_db(transaction=True)

ENGINE = "live_push.engines.django_tasks.DjangoTasksEngine"
DATABASE_BACKEND = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
OUR_PACKAGE = "django.tasks" if find_spec("django.tasks") else "django_tasks"


@pytest.fixture(autouse=True)
def _engine() -> Iterator[None]:
    need(find_spec(OUR_PACKAGE), "Django 5.2 has its tasks as a package: pip install django-tasks.")
    # Before the setting changes: the one validates its task when imported, the other hears of changes of the setting.
    import_module("live_push.engines.django_tasks")
    import_module(f"{OUR_PACKAGE}.signals")
    engines.base._load.cache_clear()
    yield
    engines.base._load.cache_clear()


@pytest.fixture
def table() -> Iterator[Any]:
    """The table of a backend with workers, empty, and the backend configured."""
    how = "A backend with workers is needed: pip install django-tasks-db, on Django 5.2 'django-tasks-db[compat]'."
    need(find_spec("django_tasks_db"), how)
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "django_tasks_db"], TASKS=DATABASE_BACKEND):
        call_command("migrate", "django_tasks_database", verbosity=0)
        model = apps.get_model("django_tasks_database", "DBTaskResult")
        # Not installed any more when the test's other tables are emptied.
        model.objects.all().delete()
        yield model.objects
        model.objects.all().delete()
        # Installing it put it into the admin, where it would outlive its app.
        if admin.site.is_registered(model):
            admin.site.unregister(model)


@pytest.fixture
def client() -> Iterator[EndpointServer]:
    with EndpointServer() as server:
        yield server


def finish() -> bool:
    """Wait until the engine in force has sent its hints."""
    return engines.current_engine()._waker.finish(10)


@pytest.mark.usefixtures("table")
def test_a_commit_wakes_a_worker(client: EndpointServer) -> None:
    live_push = {**client.settings, "ENGINE": ENGINE}
    arguments = ("django", "db_worker", "--interval", "0.1", "--no-startup-delay", "--no-reload", "-v", "0")
    workers = running(*arguments, live_push=live_push, LIVE_PUSH_TEST_TASKS=json.dumps(DATABASE_BACKEND))
    with workers, override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        ClientEndpointFactory(url=client.url)
        profile = UserProfileFactory()
        (received,) = client.wait_for(1, timeout=60)
    assert received.json()["id"] == profile.pk


def test_a_task_carries_the_name_of_the_database_and_nothing_of_the_member(table: Any) -> None:
    ClientEndpointFactory(basic=True)
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        profile = UserProfileFactory()
        assert finish()
    task = table.get()
    assert task.args_kwargs == {"args": ["default"], "kwargs": {}}
    assert task.run_after is None or task.run_after.year == 9999
    whole = json.dumps({field.attname: str(getattr(task, field.attname)) for field in task._meta.concrete_fields})
    for private in (profile.email_address, profile.last_name, "password123"):
        assert private not in whole


def test_a_save_that_is_rolled_back_enqueues_nothing(table: Any) -> None:
    ClientEndpointFactory()
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            UserProfileFactory()
            1 / 0  # noqa: B018
        assert finish()
    assert not table.exists()


class BrokenBackend:
    """Stands for a backend whose broker is down."""

    def __init__(self, alias: str, params: object) -> None:
        pass

    def validate_task(self, task: object) -> None:
        pass

    def enqueue(self, task: object, args: object, kwargs: object) -> None:
        raise ConnectionRefusedError


def test_a_backend_that_fails_fails_no_save() -> None:
    ClientEndpointFactory()
    tasks = {"default": {"BACKEND": "tests.engines.test_django_tasks.BrokenBackend"}}
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}, TASKS=tasks):
        UserProfileFactory()
        assert finish()
        assert engines.current_engine()._waker._bad_until > time.monotonic()
    deliver(OK)
    assert Delivery.objects.get().status == "succeeded"


def test_a_doubled_task_does_nothing(client: EndpointServer) -> None:
    look = import_module("live_push.engines.django_tasks").look
    ClientEndpointFactory(url=client.url)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=client.settings):
        assert [look.call("default"), look.call("default")] == [1, 0]
    assert len(client.received) == 1


def test_the_clock_of_the_tiers_is_a_task(table: Any) -> None:
    tiers = import_module("live_push.django_tasks").tiers
    TierProgramFactory(timeframe="rolling", length=1)
    with stopped(datetime(2026, 1, 31, tzinfo=UTC)):
        UserProfileFactory()
    tiers.enqueue()
    assert table.get().args_kwargs == {"args": [], "kwargs": {}}
    with stopped(datetime(2026, 3, 1, tzinfo=UTC)):
        call_command("db_worker", "--batch", "--no-startup-delay", "--no-reload", verbosity=0)
    assert table.get().return_value == 1
    (event,) = TierEvent.objects.filter(cause="clock")
    assert (event.event, event.due_at) == ("maintain", datetime(2026, 2, 28, tzinfo=UTC))


def test_cron_delivers_what_no_wake_up_was_received_for(
    client: EndpointServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ClientEndpointFactory(url=client.url)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=client.settings):
        call_command("live_push_worker", "--once")
    assert len(client.received) == 1
    assert "1 attempt made" in capsys.readouterr().out
    assert status(using="default").worker_seen


@pytest.mark.parametrize(
    ("backend", "found"),
    [
        pytest.param(f"{OUR_PACKAGE}.backends.immediate.ImmediateBackend", ["live_push.E006"], id="inside the save"),
        pytest.param(f"{OUR_PACKAGE}.backends.dummy.DummyBackend", [], id="never, as in tests"),
    ],
)
def test_a_backend_that_runs_tasks_at_once_is_an_error(backend: str, found: list[str]) -> None:
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}, TASKS={"default": {"BACKEND": backend}}):
        assert [message.id for message in engines.current_engine().check()] == found


@pytest.mark.usefixtures("table")
def test_a_backend_with_workers_is_none() -> None:
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        assert engines.current_engine().check() == []
