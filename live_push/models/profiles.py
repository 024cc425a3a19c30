"""A member's profile: one attribute for every key of the contract that is not derived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from live_push.chunks import chunks
from live_push.contract.values import custom_data
from live_push.exceptions import PayloadError
from live_push.signals import profiles_changed
from live_push.unseen import UNSTORABLE

from .clock import DbNow
from .columns import BirthDateField, OwnedBigIntegerField, OwnedDateTimeField, ThirdPartyIdField, unseen_error
from .guarded import GuardedBigIntegerField, GuardedDateField, RemembersStored
from .locking import locked
from .tiers import Tier

# The period that a counter belongs to; without one it counts as that of the present.
PERIODS = {"monthly_points": "monthly_points_period", "weekly_points": "weekly_points_period"}

# One UPDATE names at most so many ids; well below what any database accepts as parameters of one statement.
IDS_PER_STATEMENT = 10_000


class UserProfileQuerySet(models.QuerySet["UserProfile"]):
    """Bulk writes announce what they changed, because Django sends no signal for them."""

    def update(self, **kwargs: Any) -> int:
        kwargs = {period: None for counter, period in PERIODS.items() if counter in kwargs} | kwargs
        with transaction.atomic(using=self.db, savepoint=False):
            # Afterwards the filter may no longer match, and rows that others insert meanwhile must not slip in.
            matching = self.model._base_manager.using(self.db).filter(pk__in=self.order_by().values("pk"))
            ids = list(locked(matching).order_by("pk").values_list("pk", flat=True))
            rows = 0
            for some in chunks(ids, IDS_PER_STATEMENT):
                rows += super(UserProfileQuerySet, self.filter(pk__in=some)).update(**kwargs)
            self._announce(ids, "updated")
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[UserProfile], *args: Any, **kwargs: Any) -> list[UserProfile]:
        objs = list(objs)
        with transaction.atomic(using=self.db, savepoint=False):
            newest = self.model._base_manager.using(self.db).aggregate(newest=Max("pk"))["newest"] or 0
            created = super().bulk_create(objs, *args, **kwargs)
            ids = [profile.pk for profile in created if profile.pk is not None]
            for profile in created:
                profile.remember_stored()
            if len(ids) < len(created):
                # With ignored conflicts the database does not say which rows it inserted: they are the newest ones.
                newer = self.model._base_manager.using(self.db).filter(pk__gt=newest)
                ids = sorted({*ids, *newer.values_list("pk", flat=True)})
            self._announce(ids, "created")
        return created

    def stale(self, endpoint_id: int) -> UserProfileQuerySet:
        """Those whose current state the endpoint has not accepted: behind, or never sent."""
        return self.exclude(_confirmed(endpoint_id, sequence__gte=OuterRef("changed_sequence")))

    def behind(self, endpoint_id: int) -> UserProfileQuerySet:
        """Those of which the endpoint has accepted a state, but not the latest."""
        return self.filter(_confirmed(endpoint_id, sequence__lt=OuterRef("changed_sequence")))

    def never_sent(self, endpoint_id: int) -> UserProfileQuerySet:
        """Those of which the endpoint has accepted nothing yet."""
        return self.exclude(_confirmed(endpoint_id))

    def without_waiting(self, endpoint_id: int) -> UserProfileQuerySet:
        """Those whose current state does not wait to be sent to the endpoint already."""
        live = apps.get_model("live_push", "Delivery").objects.live().filter(endpoint=endpoint_id)
        current = live.filter(profile=OuterRef("pk"), position__gte=OuterRef("changed_sequence"))
        # A resend gives way to what was recorded after it, and that may be older than the current state.
        younger = live.filter(profile=OuterRef("profile"), pk__gt=OuterRef("pk"), position__lt=OuterRef("position"))
        return self.exclude(Exists(current.exclude(Exists(younger))))

    def _announce(self, ids: Sequence[int], trigger: str) -> None:
        if ids:
            profiles_changed.send(sender=self.model, profile_ids=list(ids), trigger=trigger, using=self.db)

    def snapshot_rows(self, columns: Sequence[str] = ()) -> Any:
        """One dict a profile with all that the payload serializer reads, tier block and the database's time included.

        ``columns`` are further ORM paths that a host's own serializer asked for.
        """
        tier = "tier_membership__tier__"
        next_tier = Tier.objects.filter(
            program=OuterRef(f"{tier}program"), min_value=OuterRef(f"{tier}max_value") + 1
        ).order_by()
        own = [field.attname for field in self.model._meta.concrete_fields]
        return self.annotate(
            now=DbNow(),
            tier_title=F(f"{tier}title"),
            tier_min_value=F(f"{tier}min_value"),
            tier_max_value=F(f"{tier}max_value"),
            tier_maintain_score=F(f"{tier}maintain_score"),
            tier_timeframe=F(f"{tier}program__timeframe"),
            tier_time_zone=F(f"{tier}program__time_zone"),
            tier_next_title=Subquery(next_tier.values("title")[:1]),
            tier_next_min_value=Subquery(next_tier.values("min_value")[:1]),
            tier_next_max_value=Subquery(next_tier.values("max_value")[:1]),
            tier_score=F("tier_membership__tier_score"),
            tier_timeframe_score=F("tier_membership__timeframe_score"),
            tier_date_reached=F("tier_membership__date_reached"),
            tier_date_assigned=F("tier_membership__date_assigned"),
            tier_expiration_date=F("tier_membership__expiration_date"),
            tier_reset_date=F("tier_membership__reset_date"),
            tier_assigned_by_event=F("tier_membership__assigned_by_event"),
        ).values(*own, *SNAPSHOT_ANNOTATIONS, *columns)


def _confirmed(endpoint_id: int, **conditions: Any) -> Exists:
    confirmations = apps.get_model("live_push", "Confirmation").objects
    return Exists(confirmations.filter(endpoint=endpoint_id, profile=OuterRef("pk"), **conditions))


SNAPSHOT_ANNOTATIONS = (
    "now",
    "tier_title",
    "tier_min_value",
    "tier_max_value",
    "tier_maintain_score",
    "tier_timeframe",
    "tier_time_zone",
    "tier_next_title",
    "tier_next_min_value",
    "tier_next_max_value",
    "tier_score",
    "tier_timeframe_score",
    "tier_date_reached",
    "tier_date_assigned",
    "tier_expiration_date",
    "tier_reset_date",
    "tier_assigned_by_event",
)


def _text(label: Any, **kwargs: Any) -> models.CharField[str | None, str | None]:
    return models.CharField(label, max_length=255, null=True, blank=True, **kwargs)


def _count(label: Any) -> models.BigIntegerField[int, int]:
    return models.BigIntegerField(label, default=0)


def _points(label: Any) -> GuardedBigIntegerField:
    return GuardedBigIntegerField(label, default=0)


def _flag(label: Any, default: bool = False) -> models.BooleanField[bool, bool]:
    return models.BooleanField(label, default=default)


class UserProfile(RemembersStored):
    """A member of the loyalty program; every save of it is pushed to every active endpoint."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("auth user"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="live_push_profile",
        help_text=_("While a user is linked, names, e-mail and last login follow it and can't be edited here."),
    )

    user_name = _text(_("user name"))
    email_address = models.EmailField(_("e-mail address"), null=True, blank=True, db_index=True)
    email_is_verified = _flag(_("e-mail is verified"))
    first_name = _text(_("first name"))
    middle_name = _text(_("middle name"))
    last_name = _text(_("last name"))
    gender = _text(_("gender"))
    date_of_birth = BirthDateField(
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

    is_active = _flag(_("active"), default=True)
    receive_email_updates = _flag(_("receives e-mail updates"))
    receive_sms_messages = _flag(_("receives SMS messages"))
    activity_stream_opt_in = models.BooleanField(_("opted in to the activity stream"), null=True, blank=True)
    password_generated = _flag(_("password was generated"))

    total_points = _points(_("total points"))
    redeemable_points = _points(_("redeemable points"))
    monthly_points = _points(_("points this month"))
    # First day of the month that monthly_points belongs to.
    monthly_points_period = GuardedDateField(null=True, blank=True, editable=False)
    weekly_points = _points(_("points this week"))
    # Monday of the week that weekly_points belongs to.
    weekly_points_period = GuardedDateField(null=True, blank=True, editable=False)
    num_points_purchased = _count(_("points purchased"))
    fan_rank = models.BigIntegerField(_("rank"), null=True, blank=True, default=0)

    third_party_id = ThirdPartyIdField(
        _("third-party ID"),
        max_length=100,
        null=True,
        blank=True,
        unique=True,
        help_text=_("The client's own id of this member; may be captured from an endpoint's answer."),
    )
    # Sequence of the push whose answer third_party_id was captured from.
    third_party_id_sequence = OwnedBigIntegerField(null=True, editable=False)
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
    client_branding_id = _text(_("client branding"))
    ip_address = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    custom_data = models.JSONField(
        _("custom data"),
        null=True,
        blank=True,
        help_text=_('One JSON object of texts, numbers and flags, such as {"employee_id": "e1"}.'),
    )

    date_created = models.DateTimeField(_("created"), default=timezone.now)
    date_last_login = models.DateTimeField(_("last login"), null=True, blank=True)
    date_last_updated = OwnedDateTimeField(_("last updated"), default=timezone.now, editable=False)

    # The last sequence that was drawn.
    push_sequence = OwnedBigIntegerField(default=0, editable=False)
    # Sequence of the last change: an endpoint that accepted less is behind.
    changed_sequence = OwnedBigIntegerField(default=0, editable=False)

    objects = UserProfileQuerySet.as_manager()

    class Meta:
        verbose_name = _("user profile")
        verbose_name_plural = _("user profiles")
        permissions = [("change_third_party_id", _("Can change the third-party ID"))]
        indexes = [models.Index(fields=["date_last_updated"], name="live_push_last_updated")]
        constraints = [
            models.CheckConstraint(
                condition=Q(third_party_id__isnull=True) | ~Q(third_party_id=""),
                name="live_push_third_party_id_not_blank",
                violation_error_message=_("A third-party ID is a text of 1 to 100 characters, or nothing."),
            ),
        ]

    def __str__(self) -> str:
        return self.user_name or f"#{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        for counter, period in PERIODS.items():
            # What the host counted itself is of now, not of the month or week in which points were last awarded.
            if self.is_changed_here(counter) and not self.is_changed_here(period):
                setattr(self, period, None)
            if counter in (kwargs.get("update_fields") or ()):
                kwargs["update_fields"] = [*kwargs["update_fields"], period]
        # In autocommit post_save would run after the row's own commit: a crash in between would lose the push.
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            super().save(*args, **kwargs)

    def clean(self) -> None:
        super().clean()
        try:
            custom_data("custom data", self.custom_data if self.custom_data is not None else {})
        except PayloadError as error:
            raise ValidationError({"custom_data": str(error)}) from None
        texts = [text for pair in (self.custom_data or {}).items() for text in pair if isinstance(text, str)]
        if found := UNSTORABLE.search("".join(texts)):
            raise ValidationError({"custom_data": unseen_error(found[0])})
