"""The rules of single fields, met by what others write with: serializers of DRF, django-import-export, model forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django import forms
from django.core import serializers as fixtures
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import F, Max
from django.db.models.functions import ExtractYear, Now
from django.test import override_settings

from live_push.models import ClientEndpoint, Push, Tier, TierProgram, UserProfile
from tests.conftest import need
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

try:
    from import_export import resources
    from rest_framework import serializers
except ImportError:
    resources = serializers = None
HOW_TO_GET_THEM = "This test needs djangorestframework and django-import-export: pip install -e '.[test]'"

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(1980, 1, 2, 12, tzinfo=UTC)
BAD_CUSTOM_DATA = [
    pytest.param({"a": {"b": 1}}, id="an object in it"),
    pytest.param({"a": [1]}, id="a list in it"),
    pytest.param([1], id="a list"),
    pytest.param([], id="an empty list"),
    pytest.param("text", id="a text"),
    pytest.param("", id="an empty text"),
    pytest.param(0, id="a number"),
    pytest.param({"a": 2**63}, id="a number that is too long"),
    pytest.param({"a": "\x00"}, id="a character that no database keeps"),
]


def serializer_of(model: type[Any]) -> Any:
    """A DRF serializer of all fields of a model, without a line of its own."""
    need(serializers, HOW_TO_GET_THEM)

    class Serializer(serializers.ModelSerializer):  # type: ignore[misc]
        class Meta:
            fields = "__all__"

    Serializer.Meta.model = model
    return Serializer


def resource(**options: Any) -> Any:
    """A resource of django-import-export, without a line of its own."""
    need(resources, HOW_TO_GET_THEM)
    return resources.modelresource_factory(UserProfile, meta_options=options)()


def imported(resource: Any, **row: object) -> Any:
    """The result of importing one row."""
    import tablib

    return resource.import_data(tablib.Dataset(list(row.values()), headers=list(row)))


def refused(model: type[Any], **data: object) -> set[str]:
    """The names of the fields that a serializer refuses."""
    serializer = serializer_of(model)(data=data, partial=True)
    serializer.is_valid()
    return set(serializer.errors)


def form_for(model: type[Any], *names: str) -> Any:
    return forms.modelform_factory(model, fields=names)


@pytest.fixture(params=["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def _time_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The host's own, from fourteen hours before UTC to eleven after."""
    with override_settings(TIME_ZONE=request.param):
        yield


@pytest.mark.usefixtures("_time_zone")
class TestAPlainDateIsABirthDateAtNoon:
    def test_by_a_serializer(self) -> None:
        data = {"user_name": "ada", "date_of_birth": "1980-01-02"}
        serializer = serializer_of(UserProfile)(data=data)
        serializer.is_valid(raise_exception=True)
        profile = serializer.save()
        profile.refresh_from_db()
        assert profile.date_of_birth == NOON
        assert datetime.fromisoformat(json.loads(json.dumps(serializer.data, default=str))["date_of_birth"]) == NOON

    def test_by_an_import(self) -> None:
        result = imported(resource(), id=None, user_name="ada", date_of_birth="1980-01-02", gender="")
        assert not result.has_errors()
        assert not result.has_validation_errors()
        assert UserProfile.objects.values_list("user_name", "date_of_birth", "gender").get() == ("ada", NOON, None)

    def test_by_an_import_of_what_was_exported(self) -> None:
        UserProfileFactory(date_of_birth="1980-01-02")
        dataset = resource().export()
        UserProfile.objects.all().delete()
        assert not resource().import_data(dataset).has_errors()
        assert UserProfile.objects.get().date_of_birth == NOON

    def test_by_a_form(self) -> None:
        form_for(UserProfile, "date_of_birth")({"date_of_birth": "1980-01-02"}).save()
        assert UserProfile.objects.get().date_of_birth == NOON

    @pytest.mark.parametrize("given", [date(1980, 1, 2), "1980-01-02"])
    def test_by_whatever_writes(self, given: Any) -> None:
        profile = UserProfileFactory(date_of_birth=given)
        others = UserProfile.objects.bulk_create([UserProfile(date_of_birth=given), UserProfile(date_of_birth=given)])
        assert len(others) == 2
        assert set(UserProfile.objects.values_list("date_of_birth", flat=True)) == {NOON}
        UserProfile.objects.update(date_of_birth=date(1990, 5, 6))
        UserProfile.objects.filter(date_of_birth=date(1990, 5, 6)).update(date_of_birth=given)
        assert UserProfile.objects.filter(date_of_birth=given).count() == 3
        profile.date_of_birth = date(1970, 1, 1)
        UserProfile.objects.bulk_update([profile], ["date_of_birth"])
        assert UserProfile.objects.get(pk=profile.pk).date_of_birth == datetime(1970, 1, 1, 12, tzinfo=UTC)

    def test_and_a_fixture_brings_it_back(self) -> None:
        UserProfileFactory(date_of_birth="1980-01-02")
        UserProfileFactory(date_of_birth=None)
        for kind in ("json", "xml"):
            text = fixtures.serialize(kind, UserProfile.objects.all())
            UserProfile.objects.all().delete()
            for loaded in fixtures.deserialize(kind, text):
                loaded.save()
            assert set(UserProfile.objects.values_list("date_of_birth", flat=True)) == {NOON, None}


@pytest.mark.parametrize("text", ["someday", "1974-13-40", "1974-07-06T20:00"])
def test_what_is_no_birth_date_is_refused(text: str) -> None:
    assert refused(UserProfile, date_of_birth=text) == {"date_of_birth"}
    assert "date_of_birth" in form_for(UserProfile, "date_of_birth")({"date_of_birth": text}).errors
    assert imported(resource(), id=None, date_of_birth=text).has_validation_errors()


def test_a_birth_date_is_a_moment_in_queries() -> None:
    profile = UserProfileFactory(date_of_birth="1980-01-02")
    members = UserProfile.objects.filter(date_of_birth__month=1, date_of_birth__day=2, date_of_birth__lt=Now())
    assert members.get() == profile
    assert members.filter(date_of_birth__date=date(1980, 1, 2), date_of_birth__isnull=False).exists()
    assert members.annotate(year=ExtractYear("date_of_birth")).get().year == 1980
    assert members.annotate(noon=F("date_of_birth") + timedelta(hours=1)).get().noon == NOON + timedelta(hours=1)
    assert members.annotate(age=F("date_created") - F("date_of_birth")).get().age == profile.date_created - NOON
    assert members.aggregate(Max("date_of_birth"))["date_of_birth__max"] == NOON
    assert list(UserProfile.objects.datetimes("date_of_birth", "year")) == [datetime(1980, 1, 1, tzinfo=UTC)]
    assert list(UserProfile.objects.order_by("date_of_birth").values_list("date_of_birth__year")) == [(1980,)]
    field = UserProfile._meta.get_field("date_of_birth")
    kind = UserProfile._meta.get_field("date_created").db_type(connection)  # type: ignore[union-attr]
    assert field.db_type(connection) == kind  # type: ignore[union-attr]


class TestCustomDataIsOneFlatObject:
    @pytest.mark.parametrize("custom", BAD_CUSTOM_DATA)
    def test_in_a_serializer(self, custom: Any) -> None:
        assert refused(UserProfile, custom_data=custom) == {"custom_data"}

    @pytest.mark.parametrize("custom", [value for value in BAD_CUSTOM_DATA if value.id != "an empty text"])
    def test_in_an_import_that_validates(self, custom: Any) -> None:
        result = imported(resource(clean_model_instances=True), id=None, custom_data=json.dumps(custom))
        assert result.has_validation_errors()
        assert not UserProfile.objects.exists()

    @pytest.mark.parametrize("custom", BAD_CUSTOM_DATA)
    def test_in_a_form(self, custom: Any) -> None:
        form = form_for(UserProfile, "custom_data")({"custom_data": json.dumps(custom)})
        assert set(form.errors) == {"custom_data"}

    @pytest.mark.parametrize("custom", BAD_CUSTOM_DATA)
    def test_for_whoever_asks_the_field(self, custom: Any) -> None:
        field: Any = UserProfile._meta.get_field("custom_data")
        with pytest.raises(ValidationError):
            field.run_validators(custom)
        with pytest.raises(ValidationError) as error:
            UserProfile(custom_data=custom).full_clean()
        assert len(error.value.message_dict["custom_data"]) == 1

    @pytest.mark.parametrize("custom", [None, {}, {"a": "b", "n": 1, "f": 1.5, "t": True, "z": None}])
    def test_and_such_a_one_is_taken(self, custom: Any) -> None:
        serializer = serializer_of(UserProfile)(data={"custom_data": custom})
        serializer.is_valid(raise_exception=True)
        serializer.save().full_clean()
        assert form_for(UserProfile, "custom_data")({"custom_data": json.dumps(custom)}).is_valid()
        assert not imported(
            resource(clean_model_instances=True), id=None, custom_data=json.dumps(custom)
        ).has_validation_errors()

    def test_and_one_that_is_stored_all_the_same_fails_that_members_pushes_until_it_is_mended(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(custom_data={"a": {"b": 1}})
        other = UserProfileFactory()
        profile.city = "Graz"
        profile.save()
        errors = dict(Push.objects.order_by("sequence").values_list("profile", "error"))
        assert errors == {
            profile.pk: "customData must hold texts, numbers, booleans and nulls only; found dict.",
            other.pk: "",
        }
        profile.custom_data = {"a": 1}
        profile.save()
        newest = Push.objects.latest("sequence")
        assert (newest.profile, newest.error) == (profile, "")
        assert json.loads(newest.payload or b"")["customData"] == {"a": 1}


class TestABlankTextIsNull:
    def test_whatever_writes_it(self) -> None:
        ClientEndpointFactory()
        texts = {"first_name": "", "email_address": "", "third_party_id": "", "city": ""}
        saved = UserProfile.objects.create(**texts)
        UserProfile.objects.bulk_create([UserProfile(**texts)])
        serializer = serializer_of(UserProfile)(data=texts)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        form_for(UserProfile, *texts)(texts).save()
        assert not imported(resource(), id=None, **texts).has_errors()
        assert set(UserProfile.objects.values_list(*texts)) == {(None,) * 4}
        UserProfile.objects.update(**texts)
        UserProfile.objects.bulk_update([saved], [*texts])
        saved.save()
        assert set(UserProfile.objects.values_list(*texts)) == {(None,) * 4}
        for payload in Push.objects.values_list("payload", flat=True):
            assert json.loads(payload or b"")["firstName"] is None

    def test_and_can_be_looked_for_as_it_could(self) -> None:
        UserProfileFactory(first_name="")
        assert UserProfile.objects.filter(first_name__isnull=True).count() == 1
        assert not UserProfile.objects.filter(first_name="").exists()
        assert UserProfile.objects.filter(user_name__startswith="").count() == 1


class TestAnEndpointsRules:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param("url", "https://10.0.0.1/push", id="a private address"),
            pytest.param("url", "https://client.example.com:25/push", id="a port that is not allowed"),
            pytest.param("url", "http://client.example.com/push", id="plain HTTP"),
            pytest.param("extra_headers", {"Authorization": "x"}, id="a header that is ours"),
            pytest.param("extra_headers", ["X-Source"], id="headers in a list"),
            pytest.param("extra_headers", [], id="headers in an empty list"),
            pytest.param("withheld_fields", ["id"], id="a key that can't be withheld"),
            pytest.param("withheld_fields", {}, id="keys in an object"),
            pytest.param("retry_policy", "never", id="a policy that nobody knows"),
        ],
    )
    def test_hold_in_serializers_and_forms(self, name: str, value: Any) -> None:
        assert refused(ClientEndpoint, **{name: value}) == {name}
        text = value if isinstance(value, str) else json.dumps(value)
        form = form_for(ClientEndpoint, name)({name: text}, instance=ClientEndpointFactory.build())
        assert set(form.errors) == {name}
        assert len(form.errors[name]) == 1

    def test_let_a_serializer_make_one(self) -> None:
        data = {
            "name": "crm",
            "url": "https://Client.example.com:443/push",
            "extra_headers": {"X-Source": "loyalty"},
            "withheld_fields": ["dateOfBirth"],
            "retry_policy": "standard_webhooks",
        }
        serializer = serializer_of(ClientEndpoint)(data=data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        assert ClientEndpoint.objects.get().url == "https://client.example.com/push"


def test_a_programs_time_zone_is_one() -> None:
    assert refused(TierProgram, time_zone="Europe/Nowhere") == {"time_zone"}
    assert refused(TierProgram, time_zone="Europe/Vienna") == set()
    form = form_for(TierProgram, "time_zone")({"time_zone": "Europe/Nowhere"}, instance=TierProgramFactory())
    assert set(form.errors) == {"time_zone"}


def test_a_name_that_can_not_be_seen_is_refused() -> None:
    assert refused(Tier, title="Gold\u202e") == {"title"}
