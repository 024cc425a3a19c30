"""What a member takes over from the linked auth user, what it keeps, and that the user's save never fails for it."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, update_last_login
from django.core import serializers
from django.db import connection, models
from django.db.models.functions import Upper
from django.db.models.signals import ModelSignal, post_delete, post_save, pre_delete, pre_save
from django.test import Client, override_settings
from django.test.utils import isolate_apps

from live_push.contract.payload import ProfilePayload
from live_push.models import Push, PushTrigger, UserProfile, linked_user
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import statements

pytestmark = pytest.mark.django_db(transaction=True)

User: Any = get_user_model()
LONG = "x" * 300


@pytest.fixture
def user() -> Any:
    """A user without names, as in a shop where one signs up with an e-mail address."""
    return User.objects.create_user("ada", "ada@example.com")


@pytest.fixture
def member(user: Any) -> UserProfile:
    """The user's profile, which has names; what was pushed when it was made is forgotten."""
    ClientEndpointFactory()
    profile = UserProfile.objects.create(user=user, first_name="Ada", last_name="Lovelace")
    Push.objects.all().delete()
    return profile


def stored(*names: str) -> Any:
    """What the only member's row holds."""
    row = UserProfile.objects.values(*names).get()
    return row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)


def pushed() -> list[dict[str, Any]]:
    """The bodies recorded for saves of the user."""
    pushes = Push.objects.order_by("sequence")
    assert {push.trigger for push in pushes} <= {PushTrigger.USER}
    return [json.loads(push.payload or b"") for push in pushes]


@contextmanager
def listening(signal: ModelSignal, listener: Callable[[Any], object]) -> Iterator[None]:
    """A host's receiver of the user's signals, called once."""

    def receiver(instance: Any, **kwargs: Any) -> None:
        signal.disconnect(receiver, sender=User)
        listener(instance)

    signal.connect(receiver, sender=User)
    yield
    signal.disconnect(receiver, sender=User)


class TestAFullSave:
    def test_copies_what_it_changed_and_pushes_it(self, user: Any, member: UserProfile) -> None:
        user.last_name, user.email = "King", "king@example.com"
        user.save()
        assert stored("first_name", "last_name", "email_address") == ("Ada", "King", "king@example.com")
        (body,) = pushed()
        assert (body["firstName"], body["lastName"], body["emailAddress"]) == ("Ada", "King", "king@example.com")

    def test_of_a_new_password_copies_and_pushes_nothing(self, user: Any, member: UserProfile) -> None:
        user.set_password("another one")
        user.save()
        assert (stored("first_name"), pushed()) == ("Ada", [])

    @pytest.mark.parametrize("theirs", ["", "Augusta"], ids=["an empty one", "another one"])
    def test_leaves_a_name_that_differed_before(self, user: Any, member: UserProfile, theirs: str) -> None:
        User.objects.update(first_name=theirs)
        user.refresh_from_db()
        user.email = "king@example.com"
        user.save()
        assert stored("first_name", "email_address") == ("Ada", "king@example.com")

    def test_of_a_user_that_was_read_in_part_is_one_too(self, user: Any, member: UserProfile) -> None:
        partly = User.objects.defer("date_joined").get()
        partly.set_password("another one")
        partly.save()
        assert (stored("first_name"), pushed()) == ("Ada", [])

    @pytest.mark.parametrize("name", ["first_name", "email"])
    def test_that_empties_a_value_stores_and_sends_null(self, user: Any, member: UserProfile, name: str) -> None:
        setattr(user, name, "there for now")
        user.save()
        setattr(user, name, "")
        user.save()
        attribute, key = {"first_name": ("first_name", "firstName"), "email": ("email_address", "emailAddress")}[name]
        assert stored(attribute) is None
        assert pushed()[-1][key] is None

    def test_with_an_expression_copies_what_the_database_made_of_it(self, user: Any, member: UserProfile) -> None:
        user.username = Upper(models.F("username"))
        user.save()
        assert stored("user_name") == "ADA"

    @pytest.mark.parametrize(("signal", "fields"), [(post_save, None), (pre_save, None), (pre_save, ["date_joined"])])
    def test_is_copied_when_a_receiver_saves_the_user_too(
        self, user: Any, member: UserProfile, signal: ModelSignal, fields: list[str] | None
    ) -> None:
        user.first_name = "Augusta"
        with listening(signal, lambda instance: instance.save(update_fields=fields)):
            user.save()
        assert stored("first_name") == "Augusta"

    def test_that_reverts_what_another_wrote_meanwhile_reverts_the_member_too(
        self, user: Any, member: UserProfile
    ) -> None:
        def save_elsewhere(_instance: Any) -> None:
            other = User.objects.get()
            other.email = "newer@example.com"
            other.save()

        with listening(pre_save, save_elsewhere):
            user.save()
        assert User.objects.get().email == "ada@example.com"
        assert stored("email_address") == "ada@example.com"

    def test_that_fails_disturbs_no_later_one(self, user: Any, member: UserProfile) -> None:
        def refuse(_instance: Any) -> None:
            raise ZeroDivisionError

        with listening(pre_save, refuse), pytest.raises(ZeroDivisionError):
            user.save()
        user.first_name = "Augusta"
        user.save()
        copy.copy(user).save()
        assert stored("first_name") == "Augusta"
        assert len(pushed()) == 1


class TestASaveOfSomeFields:
    def test_copies_only_what_it_names(self, user: Any, member: UserProfile) -> None:
        user.first_name, user.last_name = "Augusta", "King"
        user.save(update_fields=["last_name"])
        assert stored("first_name", "last_name") == ("Ada", "King")
        assert len(pushed()) == 1

    def test_copies_what_it_names_where_the_member_holds_something_else(self, user: Any, member: UserProfile) -> None:
        user.save(update_fields=["first_name", "last_name"])
        assert stored("first_name", "last_name") == (None, None)
        user.save(update_fields=["first_name", "last_name"])
        assert len(pushed()) == 1

    def test_that_names_nothing_that_is_followed_reads_and_pushes_nothing(self, user: Any, member: UserProfile) -> None:
        user.set_password("another one")
        assert len(statements(lambda: user.save(update_fields=["password"]))) == 1
        assert pushed() == []

    def test_copies_what_the_database_computes_from_it(
        self, user: Any, member: UserProfile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As though it were a generated column of a host's own user model.
        User.objects.update(last_name="Byron")
        monkeypatch.setattr(User._meta.get_field("last_name"), "generated", True, raising=False)
        monkeypatch.setattr(User._meta.get_field("last_name"), "referenced_fields", frozenset(), raising=False)
        user.save(update_fields=["first_name"])
        assert stored("last_name") == "Byron"


class TestALogin:
    def test_moves_the_last_login_and_wipes_no_name(self, user: Any, member: UserProfile) -> None:
        Client().force_login(user)
        (body,) = pushed()
        assert (body["firstName"], body["lastName"]) == ("Ada", "Lovelace")
        assert stored("date_last_login") == User.objects.get().last_login

    def test_pushes_nothing_where_the_last_login_is_not_followed(self, user: Any, member: UserProfile) -> None:
        with override_settings(LIVE_PUSH={"USER_FIELDS": {"email_address": "email"}}):
            assert len(statements(lambda: update_last_login(User, user))) == 1
        assert (stored("date_last_login"), pushed()) == (None, [])


class TestStatements:
    """Beside the one of the user's own save."""

    def test_a_login_costs_two_and_those_of_the_push(self, user: Any, member: UserProfile) -> None:
        of_a_push = len(statements(member.save)) - 1
        assert len(statements(lambda: update_last_login(User, user))) == 1 + 2 + of_a_push

    def test_a_login_of_a_user_without_a_member_costs_one(self, user: Any) -> None:
        assert len(statements(lambda: update_last_login(User, user))) == 1 + 1

    def test_a_full_save_that_changes_nothing_costs_two(self, user: Any, member: UserProfile) -> None:
        assert len(statements(user.save)) == 1 + 2

    def test_a_full_save_of_a_user_without_a_member_costs_one(self, user: Any) -> None:
        assert len(statements(user.save)) == 1 + 1

    def test_a_new_user_costs_none(self) -> None:
        assert len(statements(lambda: User.objects.create_user("ada"))) == 1

    def test_where_nothing_is_followed_no_save_pushes(self, user: Any, member: UserProfile) -> None:
        with override_settings(LIVE_PUSH={"USER_FIELDS": {}}):
            user.last_name = "King"
            user.save()
        assert pushed() == []


@pytest.fixture
def roomy_columns() -> Iterator[None]:
    """The auth user's texts as a host's own user model may have them: longer than ours."""
    names = ["first_name", "email", "username"]
    fields = {name: User._meta.get_field(name) for name in names}
    roomy = {name: copy.copy(field) for name, field in fields.items()}
    for field in roomy.values():
        field.max_length = 400
    alter(fields, roomy)
    yield
    User.objects.all().delete()
    alter(roomy, fields)


def alter(old: dict[str, Any], new: dict[str, Any]) -> None:
    if connection.vendor == "sqlite":
        # It holds longer texts than a column says.
        return
    with connection.schema_editor() as editor:
        for name, field in old.items():
            editor.alter_field(User, field, new[name])


@pytest.mark.usefixtures("roomy_columns")
class TestAValueThatIsTooLong:
    @pytest.mark.parametrize(
        ("source", "attribute", "kept"),
        [
            pytest.param("first_name", "first_name", LONG[:255], id="a name is cut"),
            pytest.param("email", "email_address", None, id="an e-mail address is left out"),
            pytest.param("username", "user_name", None, id="a user name is left out"),
        ],
    )
    def test_never_fails_the_users_save(
        self,
        user: Any,
        member: UserProfile,
        caplog: pytest.LogCaptureFixture,
        source: str,
        attribute: str,
        kept: str | None,
    ) -> None:
        setattr(user, source, LONG)
        user.save()
        assert getattr(User.objects.get(), source) == LONG
        assert stored(attribute) == kept
        assert len(pushed()) == 1
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("live_push.models.linked_user", logging.WARNING)
        assert attribute in record.getMessage()
        assert "xxx" not in record.getMessage()

    def test_fails_no_login_and_is_told_once(
        self, user: Any, member: UserProfile, caplog: pytest.LogCaptureFixture
    ) -> None:
        user.first_name = LONG
        user.save()
        Client().force_login(user)
        user.save(update_fields=["first_name", "last_login"])
        assert stored("first_name") == LONG[:255]
        assert len(caplog.records) == 1

    def test_fails_no_profile_that_is_linked_to_the_user(self, user: Any) -> None:
        User.objects.update(first_name=LONG, email=LONG)
        UserProfile.objects.create(user=user, email_address="mine@example.com")
        assert stored("first_name", "email_address") == (LONG[:255], None)


class TestAValueThatDoesNotFit:
    @pytest.mark.parametrize(
        "attribute",
        ["fan_rank", "date_of_birth", "ip_address", "custom_data", "receive_sms_messages"],
    )
    def test_leaves_the_members_own_and_is_logged(
        self, user: Any, member: UserProfile, caplog: pytest.LogCaptureFixture, attribute: str
    ) -> None:
        own = stored(attribute)
        with override_settings(LIVE_PUSH={"USER_FIELDS": {attribute: "first_name", "last_name": "last_name"}}):
            user.first_name, user.last_name = "neither a number nor a date", "King"
            user.save()
        assert stored(attribute, "last_name") == (own, "King")
        (record,) = caplog.records
        assert attribute in record.getMessage()
        assert "number" not in record.getMessage()

    def test_leaves_a_flag_where_the_user_has_no_value(self, user: Any, member: UserProfile) -> None:
        with override_settings(LIVE_PUSH={"USER_FIELDS": {"is_active": "last_login"}}):
            user.last_login = None
            user.save(update_fields=["last_login"])
        assert stored("is_active") is True

    def test_is_converted_where_it_can_be(self, user: Any) -> None:
        User.objects.update(first_name="7", last_name="1815-12-10")
        followed = {"city": "id", "sign_up_channel_id": "first_name", "date_of_birth": "last_name"}
        with override_settings(LIVE_PUSH={"USER_FIELDS": followed}):
            UserProfile.objects.create(user=user)
        birth = datetime(1815, 12, 10, 12, tzinfo=UTC)
        assert stored("city", "sign_up_channel_id", "date_of_birth") == (str(user.pk), 7, birth)

    @pytest.mark.parametrize("others", [{"last_name": "last_name"}, {}], ids=["among others", "alone"])
    def test_of_another_member_leaves_the_members_own(
        self, user: Any, member: UserProfile, caplog: pytest.LogCaptureFixture, others: dict[str, str]
    ) -> None:
        UserProfileFactory(third_party_id="T-1", user_name="other")
        with override_settings(LIVE_PUSH={"USER_FIELDS": {"third_party_id": "first_name", **others}}):
            user.first_name, user.last_name = "T-1", "King"
            user.save()
        member.refresh_from_db()
        assert (member.third_party_id, member.last_name) == (None, "King" if others else "Lovelace")
        assert "third_party_id" in caplog.text


class TestALink:
    def test_brings_the_users_values_and_leaves_the_members_own_where_there_are_none(self, user: Any) -> None:
        ClientEndpointFactory()
        profile = UserProfile.objects.create(user=user, first_name="Ada", email_address="old@example.com")
        assert stored("first_name", "email_address", "user_name") == ("Ada", "ada@example.com", "ada")
        assert (profile.first_name, profile.email_address, profile.user_name) == ("Ada", "ada@example.com", "ada")
        assert json.loads(Push.objects.get().payload or b"")["emailAddress"] == "ada@example.com"

    @pytest.mark.parametrize("fields", [None, ["user"], ["user_id", "city"]])
    def test_that_is_made_later_does_so_too(self, user: Any, fields: list[str] | None) -> None:
        profile = UserProfileFactory(email_address=None)
        profile.user = user
        profile.save(update_fields=fields)
        assert stored("email_address") == "ada@example.com"

    def test_is_not_made_by_a_save_that_does_not_write_it(self, user: Any, member: UserProfile) -> None:
        UserProfile.objects.update(email_address="mine@example.com")
        member.user = User.objects.create_user("bob", "bob@example.com")
        member.save(update_fields=["city"])
        assert stored("user", "email_address") == (user.pk, "mine@example.com")

    @pytest.mark.parametrize("fields", [None, ["user"], ["user_id"]])
    def test_copies_nothing_again_when_the_profile_is_saved(self, user: Any, fields: list[str] | None) -> None:
        profile = UserProfileFactory()
        profile.user = user
        profile.save(update_fields=fields)
        profile.email_address = "mine@example.com"
        profile.save()
        UserProfile.objects.get().save()
        assert stored("email_address") == "mine@example.com"

    def test_that_is_cut_leaves_the_profile(self, user: Any, member: UserProfile) -> None:
        read_before = UserProfile.objects.get()
        user.delete()
        assert stored("user", "user_name") == (None, "ada")
        read_before.save()
        assert stored("user") is None


def test_a_profile_that_was_read_before_the_users_save_takes_nothing_back(user: Any, member: UserProfile) -> None:
    user.first_name, user.email, user.is_active = "Augusta", "king@example.com", False
    user.last_login = datetime(2026, 3, 1, tzinfo=UTC)
    user.save()
    member.city = "London"
    member.save()
    names = ("first_name", "email_address", "is_active", "date_last_login", "city")
    assert stored(*names) == ("Augusta", "king@example.com", False, user.last_login, "London")


def test_the_save_of_a_fixture_of_users_copies_nothing(user: Any, member: UserProfile) -> None:
    user.first_name = "Augusta"
    for loaded in serializers.deserialize("json", serializers.serialize("json", [user])):
        loaded.save()
    assert (stored("first_name"), pushed()) == ("Ada", [])


class ReadingTheUser(ProfilePayload):
    """A host's own, which takes a value from the user that no attribute of the profile follows."""

    columns = ("user__is_staff", "user__groups__name", "user__date_joined__year")

    def snapshot(self, row: Any) -> dict[str, Any]:
        return {**super().snapshot(row), "city": "staff" if row["user__is_staff"] else "guest"}


class ReadingNothingThatIsThere(ProfilePayload):
    columns = ("user__no_such_thing",)


class TestASerializerThatReadsTheUser:
    @pytest.fixture(autouse=True)
    def _in_force(self) -> Iterator[None]:
        with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": f"{__name__}.ReadingTheUser"}):
            yield

    @pytest.mark.parametrize("fields", [None, ["is_staff"]])
    def test_makes_a_save_push_that_changes_what_it_reads(
        self, user: Any, member: UserProfile, fields: list[str] | None
    ) -> None:
        user.is_staff = True
        user.save(update_fields=fields)
        assert [body["city"] for body in pushed()] == ["staff"]

    def test_makes_no_other_save_push(self, user: Any, member: UserProfile) -> None:
        user.set_password("another one")
        user.save()
        assert pushed() == []

    def test_fails_no_save_where_it_can_not_be_used(self, user: Any, member: UserProfile) -> None:
        user.last_name = "King"
        for name in ("ReadingNothingThatIsThere", "NoSuchClass"):
            with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": f"{__name__}.{name}"}):
                user.save()
        assert stored("last_name") == "King"


def test_a_crash_after_the_users_commit_is_mended_by_saving_the_value_again(
    user: Any, member: UserProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(linked_user, "write", lambda *args, **kwargs: 1 / 0)
        user.last_name = "King"
        with pytest.raises(ZeroDivisionError):
            user.save()
    assert (User.objects.get().last_name, stored("last_name")) == ("King", "Lovelace")
    user.save(update_fields=["last_name"])
    assert [body["lastName"] for body in pushed()] == ["King"]


class TestOtherUserModels:
    def test_a_proxy_of_the_user_is_the_user(self, user: Any, member: UserProfile) -> None:
        with isolate_apps("live_push"):

            class Colleague(User):  # type: ignore[misc]
                class Meta:
                    app_label = "live_push"
                    proxy = True

        colleague = Colleague.objects.get()
        colleague.last_name = "King"
        colleague.save()
        assert stored("last_name") == "King"
        assert len(pushed()) == 1

    def test_a_model_that_inherits_from_the_users_is_the_user(self, user: Any, member: UserProfile) -> None:
        with isolate_apps("live_push"):

            class Employee(User):  # type: ignore[misc]
                number = models.AutoField(primary_key=True)
                person = models.OneToOneField(User, models.CASCADE, parent_link=True)

                class Meta:
                    app_label = "live_push"

        with connection.schema_editor() as editor:
            editor.create_model(Employee)
        try:
            employee = Employee(person=user, number=user.pk + 100)
            employee.__dict__.update({name: value for name, value in vars(user).items() if not name.startswith("_")})
            employee.last_name = "King"
            employee.save()
            assert stored("last_name") == "King"
            Employee._base_manager.all()._raw_delete("default")
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Employee)


def test_a_user_without_a_profile_is_nobody_here(user: Any) -> None:
    ClientEndpointFactory()
    user.first_name = "Ada"
    user.save()
    assert not Push.objects.exists()


def test_the_last_of_two_logins_stands(user: Any, member: UserProfile) -> None:
    for day in (1, 2):
        user.last_login = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
        user.save(update_fields=["last_login"])
    assert stored("date_last_login") == user.last_login
    assert len(pushed()) == 2


@pytest.mark.parametrize(
    "signal", [pre_save, post_save, pre_delete, post_delete], ids=["pre_save", "post_save", "pre_delete", "post_delete"]
)
def test_a_model_that_is_not_ours_has_no_receiver_of_ours(signal: ModelSignal) -> None:
    # Django skips a signal without a receiver for the sender, so such a save costs nothing more.
    assert not signal.has_listeners(Group)


def test_saving_a_model_that_is_not_ours_executes_its_own_statements_only() -> None:
    assert len(statements(lambda: Group.objects.create(name="editors"))) == 1
