"""Users in a second database: without our tables there, nothing of ours happens; with them, profiles follow."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import override_settings

from live_push import api
from live_push.models import ClientEndpoint, Push, UserProfile
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "legacy"])


def test_a_user_is_saved_there(legacy: str) -> None:
    user = User(username="ada")
    user.save(using=legacy)
    user.first_name = "Ada"
    user.save()

    assert User.objects.using(legacy).get().first_name == "Ada"


def test_a_superuser_is_created_there(legacy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "secret")
    name = {"username": "boss", "email": "boss@example.com"}
    call_command("createsuperuser", database=legacy, interactive=False, verbosity=0, **name)

    assert User.objects.using(legacy).get().is_superuser


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_users_are_deleted_there(legacy: str, many: bool) -> None:
    user = User.objects.using(legacy).create(username="ada")
    users = User.objects.using(legacy).all()
    (users if many else user).delete()

    assert not users.exists()


def test_a_namesake_here_is_not_touched(legacy: str) -> None:
    ClientEndpointFactory()
    here = User.objects.create(username="ada", first_name="Ada")
    profile = UserProfileFactory(user=here)
    there = User.objects.using(legacy).create(pk=here.pk, username="bob", first_name="Bob")
    pushes = Push.objects.count()
    there.save()
    there.delete()

    profile.refresh_from_db()
    assert (profile.first_name, profile.user_id, Push.objects.count()) == ("Ada", here.pk, pushes)


def test_a_user_here_is_still_followed_and_let_go(legacy: str) -> None:
    ClientEndpointFactory()
    user = User.objects.create(username="ada", first_name="Ada")
    profile = UserProfileFactory(user=user)
    user.first_name = "Grace"
    user.save()
    profile.refresh_from_db()
    assert profile.first_name == "Grace"

    user.delete()
    profile.refresh_from_db()
    assert profile.user_id is None


@override_settings(DATABASE_ROUTERS=[])
def test_where_our_tables_are_a_profile_follows_its_user(legacy: str) -> None:
    call_command("migrate", database=legacy, verbosity=0)
    ClientEndpoint(name="acme", url="https://acme.example.com/").save(using=legacy)
    user = User.objects.using(legacy).create(username="ada")
    UserProfile(user=user).save(using=legacy)
    user.first_name = "Ada"
    user.save()

    assert UserProfile.objects.using(legacy).get().first_name == "Ada"
    assert Push.objects.using(legacy).filter(trigger="user").exists()
    user.delete()
    assert UserProfile.objects.using(legacy).get().user_id is None

    # Where no router decides, rows are written where they came from, as Django's save() does.
    assert api.push_profile(UserProfile.objects.using(legacy).get()) == 1
    assert api.push_profiles(UserProfile.objects.using(legacy).all()) == 1
    assert api.award_points(UserProfile.objects.using(legacy).get(), 5) == []
    assert UserProfile.objects.using(legacy).update(city="Rome") == 1
    pushes = Push.objects.using(legacy).order_by("pk").values_list("trigger", flat=True)
    assert list(pushes)[-4:] == ["resend", "resend", "updated", "updated"]
    assert not Push.objects.exists()
    assert not UserProfile.objects.exists()
