"""The profiles of members: one column for every key of the contract that is not derived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models, router, transaction
from django.db.models import Exists, Max, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from live_push.rules.batched import batched
from live_push.signals import profiles_changed

from . import validators
from .audience import Audience, ListedBranding
from .birth_date_column import BirthDateField
from .checked_columns import CheckedJSONField
from .column_types import (
    BirthDate,
    CustomData,
    Flag,
    Moment,
    OptionalDate,
    OptionalMoment,
    OptionalText,
    OptionalWholeNumber,
    WholeNumber,
)
from .databases import set_null_where_it_lives, written_to
from .owned_columns import OwnedBigIntegerField
from .sequences import STEP, SavedAtField, SequenceField
from .text_columns import OptionalCharField, OptionalIdField, ThirdPartyIdField, TrackedCharField, TrackedEmailField
from .tracked import (
    RemembersStored,
    TrackedBigIntegerField,
    TrackedBooleanField,
    TrackedDateField,
    TrackedDateTimeField,
    TrackedOneToOneField,
)
from .transactions import locked

POINT_PERIODS = {"monthly_points": "monthly_points_period", "weekly_points": "weekly_points_period"}
"""By counter of points, the column with the start of the counter's period. If it is null, the counter is current."""

IDS_PER_STATEMENT = 10_000
"""The most ids that one statement names: well below the number of parameters that any database accepts."""


class UserProfileQuerySet(models.QuerySet["UserProfile"]):
    """Bulk writes announce what they changed, because Django sends no signal for them."""

    def update(self, **kwargs: Any) -> int:
        kwargs = {period: None for counter, period in POINT_PERIODS.items() if counter in kwargs} | kwargs
        using = written_to(self)
        with transaction.atomic(using=using, savepoint=False):
            # Select the ids first: after the update the filter may no longer match, and it could match rows that other
            # transactions inserted in between.
            ids = locked_ids(self, using=using)
            rows = 0
            for batch in batched(ids, IDS_PER_STATEMENT):
                rows += super(UserProfileQuerySet, self.filter(pk__in=batch)).update(**kwargs)
            self._announce(ids, "updated", using=using)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[UserProfile], *args: Any, **kwargs: Any) -> list[UserProfile]:
        objs, using = list(objs), written_to(self)
        with transaction.atomic(using=using, savepoint=False):
            newest = self.model._base_manager.using(using).aggregate(newest=Max("pk"))["newest"] or 0
            created = super().bulk_create(objs, *args, **kwargs)
            ids = [profile.pk for profile in created if profile.pk is not None]
            for profile in created:
                profile.remember_stored()
            if len(ids) < len(created):
                # If conflicts are ignored, the database does not say which rows it inserted. They are the newest ones.
                newer = self.model._base_manager.using(using).filter(pk__gt=newest)
                ids = sorted({*ids, *newer.values_list("pk", flat=True)})
            self._announce(ids, "created", using=using)
        return created

    def in_audience_of(self, endpoint_id: int) -> UserProfileQuerySet:
        """Return the profiles that the endpoint's audience holds. The three queries below return only these."""
        everyone = apps.get_model("live_push", "ClientEndpoint").objects.filter(pk=endpoint_id, audience=Audience.ALL)
        listed = ListedBranding.objects.filter(endpoint=endpoint_id, client_branding_id=OuterRef("client_branding_id"))
        return self.filter(Exists(everyone) | Exists(listed))

    def behind_or_never_sent(self, endpoint_id: int) -> UserProfileQuerySet:
        """Return the profiles whose current state the endpoint has not accepted for certain."""
        confirmed = _confirmed(endpoint_id, sequence__gte=OuterRef("changed_sequence"), uncertain_since=None)
        return self.in_audience_of(endpoint_id).exclude(confirmed)

    def behind(self, endpoint_id: int) -> UserProfileQuerySet:
        """Return the profiles of which the endpoint has accepted a state, but the last one was perhaps an older one."""
        uncertain = Q(uncertain_since__isnull=False)
        older = Q(sequence__lt=OuterRef("changed_sequence"))
        return self.in_audience_of(endpoint_id).filter(_confirmed(endpoint_id, older | uncertain))

    def never_sent(self, endpoint_id: int) -> UserProfileQuerySet:
        """Return the profiles of which the endpoint has accepted nothing yet."""
        return self.in_audience_of(endpoint_id).exclude(_confirmed(endpoint_id))

    def without_waiting(self, endpoint_id: int) -> UserProfileQuerySet:
        """Return the profiles of which no waiting delivery will send the current state to the endpoint."""
        live = apps.get_model("live_push", "Delivery").objects.live().filter(endpoint=endpoint_id)
        current = live.filter(profile=OuterRef("pk"), position__gte=OuterRef("changed_sequence"))
        # A resend is superseded by what was recorded after it, which may be older than the current state.
        younger = live.filter(profile=OuterRef("profile"), pk__gt=OuterRef("pk"), position__lt=OuterRef("position"))
        # Not EXISTS: PostgreSQL would join all waiting deliveries, and before their first ANALYZE all with each other.
        waiting = Subquery(current.exclude(Exists(younger)).values("pk")[:1])
        return self.alias(waiting_id=waiting).filter(waiting_id=None)

    def _announce(self, ids: Sequence[int], trigger: str, *, using: str) -> None:
        if ids:
            profiles_changed.send(sender=self.model, profile_ids=list(ids), trigger=trigger, using=using)


def locked_ids(profiles: models.QuerySet[UserProfile], *, using: str) -> list[int]:
    """Lock the rows of these profiles in the order of their ids, until the transaction ends, and return the ids."""
    matching = UserProfile._base_manager.using(using).filter(pk__in=profiles.order_by().values("pk"))
    return list(locked(matching).order_by("pk").values_list("pk", flat=True))


def _confirmed(endpoint_id: int, *conditions: Q, **more: Any) -> Exists:
    confirmations = apps.get_model("live_push", "Confirmation").objects
    return Exists(confirmations.filter(*conditions, endpoint=endpoint_id, profile=OuterRef("pk"), **more))


def _text(label: Any, **kwargs: Any) -> OptionalText:
    return OptionalCharField(label, max_length=255, null=True, blank=True, **kwargs)


def _followed_text(label: Any) -> OptionalText:
    return TrackedCharField(label, max_length=255, null=True, blank=True)


def _count(label: Any) -> WholeNumber:
    return models.BigIntegerField(label, default=0)


def _points(label: Any) -> WholeNumber:
    return TrackedBigIntegerField(label, default=0)


def _flag(label: Any) -> Flag:
    return models.BooleanField(label, default=False)


class UserProfile(RemembersStored):
    """A member of the loyalty program. Every save is pushed to every active endpoint that receives the member."""

    user = TrackedOneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("auth user"),
        on_delete=set_null_where_it_lives,
        null=True,
        blank=True,
        related_name="live_push_profile",
        help_text=_("While a user is linked, names, e-mail and last login follow it and can't be edited here."),
    )

    user_name = _followed_text(_("user name"))
    email_address: OptionalText = TrackedEmailField(_("e-mail address"), null=True, blank=True, db_index=True)
    email_is_verified = _flag(_("e-mail is verified"))
    first_name = _followed_text(_("first name"))
    middle_name = _text(_("middle name"))
    last_name = _followed_text(_("last name"))
    gender = _text(_("gender"))
    date_of_birth: BirthDate = BirthDateField(
        _("date of birth"), null=True, blank=True, help_text=_("A day such as 1974-07-06 is kept as 12:00 UTC.")
    )
    lang_pref = _text(_("language"))

    street_address_1 = _text(_("street address 1"))
    street_address_2 = _text(_("street address 2"))
    postal_code = _text(_("postal code"))
    city = _text(_("city"))
    state = _text(pgettext_lazy("address", "state"))
    region = _text(_("region"))
    country = _text(_("country"), help_text=_("The two-letter code, such as US."))
    mobile_phone_number = _text(_("mobile phone number"), help_text=_("Digits only."))
    date_mobile_verified = models.DateTimeField(_("mobile number verified at"), null=True, blank=True)

    is_active: Flag = TrackedBooleanField(_("active"), default=True)
    receive_email_updates = _flag(_("receives e-mail updates"))
    receive_sms_messages = _flag(_("receives SMS messages"))
    activity_stream_opt_in = models.BooleanField(_("opted in to the activity stream"), null=True, blank=True)
    password_generated = _flag(_("password was generated"))

    total_points = _points(_("total points"))
    redeemable_points = _points(_("redeemable points"))
    monthly_points = _points(_("points this month"))
    # The first day of the month in which monthly_points were earned.
    monthly_points_period: OptionalDate = TrackedDateField(null=True, blank=True, editable=False)
    weekly_points = _points(_("points this week"))
    # The Monday of the week in which weekly_points were earned.
    weekly_points_period: OptionalDate = TrackedDateField(null=True, blank=True, editable=False)
    num_points_purchased = _count(_("points purchased"))
    fan_rank = models.BigIntegerField(_("rank"), null=True, blank=True, default=0)

    third_party_id: OptionalText = ThirdPartyIdField(
        _("third-party ID"),
        max_length=100,
        null=True,
        blank=True,
        unique=True,
        help_text=_("The client's own id of this member; may be captured from an endpoint's answer."),
    )
    # The sequence of the push from whose answer third_party_id was captured.
    third_party_id_sequence: OptionalWholeNumber = OwnedBigIntegerField(null=True, editable=False)
    facebook_user_id = _text(_("Facebook id"))
    fsq_user_id = _text(_("Foursquare id"))
    google_user_id = _text(_("Google id"))
    inst_user_id = _text(_("Instagram id"))
    twitter_user_id = _text(_("Twitter id"))
    yahoo_user_id = _text(_("Yahoo id"))
    num_facebook_friends = _count(_("Facebook friends"))
    num_twitter_followers = _count(_("Twitter followers"))

    sign_up_type_id = models.BigIntegerField(_("sign-up type"), null=True, blank=True)
    sign_up_channel_id = models.BigIntegerField(_("sign-up channel"), null=True, blank=True)
    sign_up_campaign = _text(_("sign-up campaign"))
    client_branding_id: OptionalText = OptionalIdField(
        _("client branding"), max_length=validators.BRANDING_CHARACTERS, null=True, blank=True
    )
    ip_address = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    custom_data: CustomData = CheckedJSONField(
        _("custom data"),
        validators=[validators.validate_custom_data],
        null=True,
        blank=True,
        help_text=_('One JSON object of texts, numbers and flags, such as {"employee_id": "e1"}.'),
    )

    date_created = models.DateTimeField(_("created"), default=timezone.now)
    date_last_login: OptionalMoment = TrackedDateTimeField(_("last login"), null=True, blank=True)
    date_last_updated: Moment = SavedAtField(_("last updated"), default=timezone.now, editable=False)

    # The sequence of the last change. An endpoint that has only accepted lower sequences is behind.
    changed_sequence: WholeNumber = SequenceField(default=0, editable=False)
    # The sequence of the last push.
    push_sequence: WholeNumber = SequenceField(default=0, editable=False)

    objects = UserProfileQuerySet.as_manager()

    class Meta:
        verbose_name = _("user profile")
        verbose_name_plural = _("user profiles")
        permissions = [("change_third_party_id", _("Can change the third-party ID"))]
        indexes = [
            models.Index(fields=["date_last_updated"], name="live_push_last_updated"),
            models.Index(fields=["client_branding_id"], name="live_push_branding"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(third_party_id__isnull=True) | ~Q(third_party_id=""),
                name="live_push_third_party_id_not_blank",
                violation_error_message=_("A third-party ID is a text of 1 to 100 characters, or nothing."),
            ),
        ]

    def __str__(self) -> str:
        return self.user_name or f"#{self.pk}"

    def save(
        self, *args: Any, using: str | None = None, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        names = None if update_fields is None else set(update_fields)
        for counter, period in POINT_PERIODS.items():
            # If the host project sets a counter itself, it belongs to the current month or week, and not to the one in
            # which points were last awarded.
            if self.is_changed_here(counter) and not self.is_changed_here(period):
                setattr(self, period, None)
            if names and counter in names:
                names.add(period)
        if names:
            names |= STEP.keys()
        using = using or router.db_for_write(type(self), instance=self)
        # post_save records the push. In autocommit mode it would run after the commit of the row, and a crash in
        # between would lose the push.
        with transaction.atomic(using=using, savepoint=False):
            super().save(*args, using=using, update_fields=names, **kwargs)
