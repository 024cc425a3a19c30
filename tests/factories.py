"""Rows for tests: one factory for each model that a test starts from."""

from __future__ import annotations

from datetime import UTC, datetime

import factory
from django.utils.text import slugify
from factory.django import DjangoModelFactory

from live_push.models import AuthMethod, ClientEndpoint, Tier, TierProgram, UserProfile


class UserProfileFactory(DjangoModelFactory[UserProfile]):
    """A member with a name and an address of their own."""

    class Meta:
        model = UserProfile
        skip_postgeneration_save = True

    user_name = factory.Sequence(lambda number: f"member{number}")
    email_address = factory.LazyAttribute(lambda profile: f"{profile.user_name}@example.com")
    first_name = "Ada"
    last_name = factory.Sequence(lambda number: f"Lovelace {number}")
    country = "US"


class GoldenProfileFactory(UserProfileFactory):
    """The member of the published sample."""

    id = 6566
    user_name = "gtwist12"
    email_address = "george.twist@example.com"
    email_is_verified = True
    first_name = "George"
    last_name = "Twist"
    gender = "Male"
    date_of_birth = datetime(1974, 7, 6, 20, tzinfo=UTC)
    postal_code = "10001"
    city = "New York City"
    state = "NY"
    region = "Northeast"
    mobile_phone_number = "12312312321"
    receive_email_updates = True
    activity_stream_opt_in = True
    total_points = 5200
    redeemable_points = 5200
    sign_up_type_id = 3
    client_branding_id = "0"
    date_created = datetime(2017, 3, 23, 18, 28, 45, tzinfo=UTC)
    date_last_login = datetime(2017, 3, 23, 17, 28, 45, tzinfo=UTC)


class ClientEndpointFactory(DjangoModelFactory[ClientEndpoint]):
    """An endpoint without authentication, at an address that nobody answers."""

    class Meta:
        model = ClientEndpoint
        skip_postgeneration_save = True

    name = factory.Sequence(lambda number: f"client-{number}")
    url = factory.LazyAttribute(
        lambda endpoint: f"https://{slugify(endpoint.name).replace('_', '-') or 'client'}.example.com/push"
    )

    class Params:
        basic = factory.Trait(auth_method=AuthMethod.BASIC, username="test", password="password123")
        api_key_auth = factory.Trait(auth_method=AuthMethod.API_KEY, api_key="GRscvhg53SsDg1gxxsDgcsf123")
        capturing = factory.Trait(capture_third_party_id=True)


class TierProgramFactory(DjangoModelFactory[TierProgram]):
    """The default program, in which nothing expires, with three tiers."""

    class Meta:
        model = TierProgram
        skip_postgeneration_save = True

    name = factory.Sequence(lambda number: f"Program {number}")
    is_default = True

    @factory.post_generation
    def ladder(self, create: bool, extracted: object, **kwargs: object) -> None:
        for title, lowest, highest in (("Tier 1", None, 999), ("Tier 2", 1000, 2499), ("Tier 3", 2500, None)):
            Tier.objects.create(program=self, title=title, min_value=lowest, max_value=highest)
