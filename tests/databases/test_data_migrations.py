"""A host's data migration works with the historical models that Django gives it: they hold rows and push nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps as installed
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import modify_settings

from live_push.exceptions import SecretMisuse
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    EndpointHour,
    Push,
    Tier,
    TierEvent,
    TierMembership,
    TierProgram,
    UserProfile,
    WorkerHeartbeat,
)
from tests.databases import shop
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, command, deliver

pytestmark = pytest.mark.django_db(transaction=True)

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "the-client's-key"
Migrate = Callable[[Callable[[Any], object]], None]


@pytest.fixture
def migrate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Migrate]:
    """Run a function in a data migration: with models by their names, such as ``models.UserProfile``."""

    class Models:
        def __init__(self, apps: Any) -> None:
            self.__dict__ |= {model.__name__: model for model in apps.get_models()}

    def run(work: Callable[[Any], object]) -> None:
        monkeypatch.setattr(shop, "work", lambda apps: work(Models(apps)))
        call_command("migrate", "shop", verbosity=0)

    with modify_settings(INSTALLED_APPS={"append": "tests.databases.shop"}):
        yield run
        call_command("migrate", "shop", "zero", verbosity=0)


# What a row needs, for each model of ours; those that it refers to are made first.
ROWS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "TierProgram": lambda _: {"name": "Club", "timeframe": "rolling", "length": 12, "is_default": True},
    "Tier": lambda made: {"program": made["TierProgram"], "title": "Gold", "min_value": 1},
    "UserProfile": lambda _: {"user_name": "ada", "third_party_id": "T-1", "total_points": 5, "custom_data": {"a": 1}},
    "TierMembership": lambda made: {
        "profile": made["UserProfile"],
        "tier": made["Tier"],
        "date_reached": MOMENT,
        "date_assigned": MOMENT,
        "expiration_date": MOMENT,
        "assigned_by_event": "start",
        "last_event_at": MOMENT,
    },
    "TierEvent": lambda made: {
        "profile": made["UserProfile"],
        "event": "start",
        "cause": "enrolment",
        "due_at": MOMENT,
        "applied_at": MOMENT,
        "to_title": "Gold",
        "tier_score_before": 0,
        "tier_score_after": 0,
        "timeframe_score_before": 0,
        "timeframe_score_after": 0,
    },
    "ClientEndpoint": lambda _: {"name": "acme", "url": "https://acme.example.com/", "withheld_fields": ["city"]},
    "EndpointHealth": lambda made: {"endpoint": made["ClientEndpoint"], "failures_in_row": 2},
    "ListedBranding": lambda made: {"endpoint": made["ClientEndpoint"], "client_branding_id": "north"},
    "EndpointHour": lambda made: {"endpoint": made["ClientEndpoint"], "hour": MOMENT, "within_ms": 5, "attempts": 1},
    "Confirmation": lambda made: {
        "endpoint": made["ClientEndpoint"],
        "profile": made["UserProfile"],
        "sequence": 1,
        "confirmed_at": MOMENT,
        "digest": "",
    },
    "Push": lambda made: {"profile": made["UserProfile"], "sequence": 1, "payload": b"{}", "created_at": MOMENT},
    "Delivery": lambda made: {
        "push": made["Push"],
        "endpoint": made["ClientEndpoint"],
        "profile": made["UserProfile"],
        "position": 1,
        "status": "succeeded",
        "created_at": MOMENT,
        "ended_at": MOMENT,
    },
    "Attempt": lambda made: {"delivery": made["Delivery"], "number": 1, "started_at": MOMENT, "answer": b"ok"},
    "StoredConvergence": lambda _: {"next_slice_at": MOMENT},
    "WorkerHeartbeat": lambda _: {"name": "w", "engine": "worker", "started_at": MOMENT, "seen_at": MOMENT},
}


def test_there_is_a_row_for_each_model() -> None:
    assert ROWS.keys() == {model.__name__ for model in installed.get_app_config("live_push").get_models()}


HOW: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "save": lambda model, row: _saved(model(**row)),
    "create": lambda model, row: model.objects.create(**row),
    "bulk_create": lambda model, row: model.objects.bulk_create([model(**row)])[0],
    "get_or_create": lambda model, row: model.objects.get_or_create(**_first(row), defaults=row)[0],
    "update_or_create": lambda model, row: model.objects.update_or_create(**_first(row), defaults=row)[0],
}


def _saved(row: Any) -> Any:
    row.save()
    return row


def _first(row: dict[str, Any]) -> dict[str, Any]:
    """The row's first column, to look it up by."""
    return dict(list(row.items())[:1])


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_every_model_s_rows_are_created_and_changed(migrate: Migrate, how: Callable[..., Any]) -> None:
    def work(models: Any) -> None:
        made: dict[str, Any] = {}
        for name, row in ROWS.items():
            model = getattr(models, name)
            how(model, row(made))
            made[name] = model.objects.get()
        for name, row in made.items():
            model, values = getattr(models, name), ROWS[name](made)
            row.save()
            row.save(update_fields=list(values)[-1:])
            row.refresh_from_db()
            field, value = list(values.items())[-1]
            model.objects.filter(pk=row.pk).update(**{field: value})
            model.objects.update_or_create(pk=row.pk, defaults=values)
            if not model._meta.get_field(field).primary_key:
                model.objects.bulk_update([row], [field])

    migrate(work)

    profile = UserProfile.objects.get()
    assert (profile.user_name, profile.third_party_id, profile.total_points) == ("ada", "T-1", 5)
    assert ClientEndpoint.objects.get().withheld_fields == ["city"]
    assert bytes(Push.objects.get().payload or b"") == b"{}"
    assert bytes(Attempt.objects.get().answer or b"") == b"ok"
    assert TierMembership.objects.get().next_due_at == MOMENT
    for model in (Tier, TierEvent, TierProgram, Confirmation, Delivery, EndpointHealth, EndpointHour, WorkerHeartbeat):
        assert model.objects.count() == 1


def test_a_profile_s_columns_are_written_as_the_migration_has_them(migrate: Migrate) -> None:
    UserProfileFactory(total_points=5, third_party_id="T-1")

    def work(models: Any) -> None:
        profile = models.UserProfile.objects.get()
        profile.total_points, profile.third_party_id, profile.city = 7, "T-2", "Rome"
        profile.save()

    migrate(work)

    profile = UserProfile.objects.get()
    assert (profile.total_points, profile.third_party_id, profile.city) == (7, "T-2", "Rome")


class TestPushes:
    """Nothing is pushed by itself; the commands find it."""

    def test_a_created_member_is_pushed_by_resending_what_is_stale(self, migrate: Migrate) -> None:
        ClientEndpointFactory()
        migrate(lambda models: models.UserProfile.objects.create(user_name="ada"))
        assert not Push.objects.exists()

        command("resend_profile", "--stale")
        assert len(deliver(OK)) == 1

    def test_a_changed_member_is_found_by_comparing(self, migrate: Migrate) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(OK)
        migrate(lambda models: models.UserProfile.objects.update(city="Rome"))
        command("resend_profile", "--stale")
        assert deliver(OK) == []

        command("resend_profile", "--stale", "--verify")
        (request,) = deliver(OK)
        assert b'"city":"Rome"' in request.body

    def test_a_deleted_member_is_found_by_the_erasure(self, migrate: Migrate) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        migrate(lambda models: models.UserProfile.objects.all().delete())
        command("live_push_erasure", "--check", code=1)

        command("live_push_erasure", "--erase")
        command("live_push_erasure", "--check")

    def test_a_user_is_saved_and_deleted(self, migrate: Migrate) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(user=User.objects.create(username="ada"))
        pushes = Push.objects.count()

        def work(models: Any) -> None:
            user = models.User.objects.get()
            user.first_name = "Grace"
            user.save()
            user.delete()

        migrate(work)

        profile.refresh_from_db()
        assert (profile.user_id, Push.objects.count()) == (None, pushes)


class TestEndpoints:
    """They work from the end of the migration on."""

    @pytest.mark.parametrize("how", HOW.values(), ids=HOW)
    def test_a_new_one_is_delivered_to(self, migrate: Migrate, how: Callable[..., Any]) -> None:
        migrate(lambda models: how(models.ClientEndpoint, {"name": "acme", "url": "https://acme.example.com/"}))
        UserProfileFactory()

        assert len(deliver(OK)) == 1

    def test_one_that_is_off_is_known_to_be_since_then(self, migrate: Migrate) -> None:
        row = {"name": "acme", "url": "https://acme.example.com/", "is_active": False}
        migrate(lambda models: models.ClientEndpoint.objects.create(**row))
        UserProfileFactory()
        ClientEndpoint.objects.update(is_active=True)

        assert len(deliver(OK)) == 1

    def test_the_health_of_those_that_were_there_stays(self, migrate: Migrate) -> None:
        ClientEndpointFactory()
        EndpointHealth.objects.update(failures_in_row=3)
        migrate(lambda models: models.ClientEndpoint.objects.update(contact_email="ops@example.com"))

        assert EndpointHealth.objects.get().failures_in_row == 3


class TestSecrets:
    """A migration keeps what is stored and writes none."""

    @pytest.mark.parametrize("how", HOW.values(), ids=HOW)
    def test_a_new_one_is_refused_with_what_to_do(self, migrate: Migrate, how: Callable[..., Any]) -> None:
        row = {"name": "acme", "url": "https://acme.example.com/"}
        logins = [
            {"auth_method": "api_key", "api_key": KEY},
            {"auth_method": "basic", "username": "test", "password": KEY},
            {"signing_secret": KEY},
            {"previous_signing_secret": KEY},
        ]

        def work(models: Any) -> None:
            for login in logins:
                with pytest.raises(SecretMisuse, match="import the real model") as refused, transaction.atomic():
                    how(models.ClientEndpoint, {**row, **login})
                assert KEY not in str(refused.value)

        migrate(work)

        assert not ClientEndpoint.objects.exists()

    def test_update_is_refused_too(self, migrate: Migrate) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)

        def work(models: Any) -> None:
            with pytest.raises(SecretMisuse), transaction.atomic():
                models.ClientEndpoint.objects.update(api_key=KEY)

        migrate(work)

        assert ClientEndpoint.objects.get().reveal("api_key") == endpoint.reveal("api_key")

    def test_a_stored_one_survives_a_save_and_can_be_removed(self, migrate: Migrate) -> None:
        ClientEndpointFactory(name="acme", api_key_auth=True)
        ClientEndpointFactory(name="globex", api_key_auth=True)

        def work(models: Any) -> None:
            for endpoint in models.ClientEndpoint.objects.all():
                endpoint.contact_email = "ops@example.com"
                if endpoint.name == "globex":
                    endpoint.auth_method, endpoint.api_key = "none", None
                endpoint.save()

        migrate(work)

        kept, removed = ClientEndpoint.objects.order_by("name")
        assert (str(kept.reveal("api_key")), removed.reveal("api_key")) == ("GRscvhg53SsDg1gxxsDgcsf123", None)

    def test_the_real_model_may_be_imported(self, migrate: Migrate) -> None:
        def work(models: Any) -> None:
            endpoint = ClientEndpoint(name="acme", url="https://acme.example.com/", auth_method="api_key", api_key=KEY)
            endpoint.full_clean()
            endpoint.save()

        migrate(work)

        assert ClientEndpoint.objects.get().reveal("api_key") == KEY
