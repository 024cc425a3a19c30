"""Tier programs, their tiers, the members' tier memberships, and the history of tier events."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.db import models, router, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Least
from django.utils.translation import gettext_lazy as _

from live_push.exceptions import TierError
from live_push.rules.messages import Message
from live_push.rules.tiers import lifecycle as tier_rules
from live_push.rules.tiers import timeframes
from live_push.rules.tiers.ladder import Ladder, Level, Rung, from_base_to_top, ladder_problem, place_problem
from live_push.rules.translation import validation_error

from . import validators
from .column_types import GeneratedMoment, GeneratedNumber

MAX_LENGTH = 36_525
"""Maximum length of a rolling timeframe, in its unit: a century of days."""

MONTHS_OF_30_DAYS = (4, 6, 9, 11)


class TierProgram(models.Model):
    """A ladder of tiers, and the rules by which members reach and lose them.

    Members can't start in a program without tiers.
    """

    class Timeframe(models.TextChoices):
        """When tiers expire."""

        FIXED = "fixed", _("fixed: every year on the same day")
        ROLLING = "rolling", _("rolling: a length after the tier was assigned")
        NONE = "none", _("none: nothing ever expires")

    class LengthUnit(models.TextChoices):
        """The unit of a rolling timeframe's length."""

        DAYS = timeframes.LengthUnit.DAYS.value, _("days")
        MONTHS = timeframes.LengthUnit.MONTHS.value, _("months")

    class DropPolicy(models.TextChoices):
        """To which tier a member drops."""

        BALANCE_BASED = tier_rules.DropPolicy.BALANCE_BASED.value, _("to the tier that the score qualifies for")
        ONE_DOWN = tier_rules.DropPolicy.ONE_DOWN.value, _("one tier down")

    name = models.CharField(_("name"), max_length=100, unique=True, validators=[validators.readable])
    is_default = models.BooleanField(
        _("default"),
        default=False,
        help_text=_("New members start in the default program. Only one program can be the default."),
    )
    timeframe = models.CharField(_("timeframe"), max_length=10, choices=Timeframe.choices, default=Timeframe.NONE)
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default="UTC",
        validators=[validators.time_zone],
        help_text=_("IANA name such as Europe/Vienna; its calendar decides days, weeks and months."),
    )
    reset_month = models.PositiveSmallIntegerField(_("reset month"), null=True, blank=True, help_text=_("Fixed only."))
    reset_day = models.PositiveSmallIntegerField(
        _("reset day"),
        null=True,
        blank=True,
        help_text=_("Fixed only. In a year without 29 February, the reset is on 28 February."),
    )
    expires_after_resets = models.PositiveSmallIntegerField(
        _("expires after resets"),
        default=1,
        help_text=_("Fixed only. A tier expires at this reset after it was assigned."),
    )
    length = models.PositiveIntegerField(_("length"), null=True, blank=True, help_text=_("Rolling only."))
    length_unit = models.CharField(
        _("length unit"), max_length=10, choices=LengthUnit.choices, default=LengthUnit.MONTHS
    )
    drop_policy = models.CharField(
        _("drop policy"), max_length=20, choices=DropPolicy.choices, default=DropPolicy.BALANCE_BASED
    )
    base_expires = models.BooleanField(
        _("base tier expires"),
        default=True,
        help_text=_("On: the base tier has an expiry, at which members maintain it. Off: it never expires."),
    )
    update_assigns = models.BooleanField(
        _("score updates are assigning events"),
        default=True,
        help_text=_(
            "On: a change of the score alone is sent as assignedByEvent “update”. Off: the previous event stays."
        ),
    )
    # Null unless the program is the default, so that the unique constraint allows one default. A partial unique
    # constraint is not an option, because MariaDB does not have them.
    default_marker: GeneratedNumber = models.GeneratedField(
        expression=Case(When(is_default=True, then=Value(1)), default=None),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    class Meta:
        verbose_name = _("tier program")
        verbose_name_plural = _("tier programs")
        constraints = [
            models.UniqueConstraint(
                fields=["default_marker"],
                name="live_push_one_default_program",
                violation_error_message=_("Another program is the default; switch the default off there first."),
            ),
            models.CheckConstraint(
                condition=~Q(timeframe="fixed")
                | (
                    Q(reset_month__isnull=False, reset_day__isnull=False)
                    & Q(reset_month__range=(1, 12), reset_day__range=(1, 31))
                    & ~Q(reset_month=2, reset_day__gt=29)
                    & ~Q(reset_month__in=MONTHS_OF_30_DAYS, reset_day__gt=30)
                ),
                name="live_push_reset_day_comes",
                violation_error_message=_("A fixed timeframe needs a reset month and a day that this month has."),
            ),
            models.CheckConstraint(
                condition=~Q(timeframe="rolling") | Q(length__isnull=False),
                name="live_push_rolling_has_length",
                violation_error_message=_("A rolling timeframe needs a length."),
            ),
            models.CheckConstraint(
                condition=Q(length__isnull=True) | Q(length__range=(1, MAX_LENGTH)),
                name="live_push_length_in_range",
                violation_error_message=_("The length must be a number from 1 to 36525."),
            ),
            models.CheckConstraint(
                condition=Q(expires_after_resets__range=(1, 100)),
                name="live_push_expiry_in_range",
                violation_error_message=_("A tier expires after 1 to 100 resets."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        # A form excludes the fields that it does not show. With the marker excluded, it would not check that there is
        # only one default program.
        super().validate_constraints(set(exclude or ()) - {"default_marker"})

    def timeframe_rule(self) -> timeframes.Timeframe:
        """Return the timeframe as the rules use it. Raises ``TierError`` if its settings are not valid."""
        zone = timeframes.zone_named(self.time_zone)
        if self.timeframe == self.Timeframe.FIXED:
            if self.reset_month is None or self.reset_day is None:
                raise TierError(Message("fixed_without_reset", name=repr(self.name)))
            return timeframes.FixedTimeframe(self.reset_month, self.reset_day, self.expires_after_resets, zone)
        if self.timeframe == self.Timeframe.ROLLING:
            if self.length is None:
                raise TierError(Message("rolling_without_length", name=repr(self.name)))
            return timeframes.RollingTimeframe(self.length, timeframes.LengthUnit(self.length_unit), zone)
        return timeframes.NoTimeframe()

    def rules(self, tiers: Iterable[Tier]) -> tier_rules.Program:
        """Return the program with these tiers as the rules use it. Raises ``TierError`` if the ladder is not valid."""
        return tier_rules.Program(
            ladder=Ladder(tuple(tier.as_level() for tier in from_base_to_top(tiers))),
            timeframe=self.timeframe_rule(),
            drop_policy=tier_rules.DropPolicy(self.drop_policy),
            base_expires=self.base_expires,
            update_assigns=self.update_assigns,
        )


class Tier(models.Model):
    """One tier of a program. Its bounds are whole points and inclusive.

    Whether the tiers of a program form a valid ladder can't be a database constraint, because an edit changes two tiers
    one after the other. Instead, a form with all tiers of a program calls :func:`check_ladder`, ``clean()`` compares
    one tier with the stored others, and the tier rules raise ``TierError`` for a program that is not valid.
    """

    # A form with all tiers of a program sets this, because it checks its tiers against each other, not against the
    # stored ones.
    is_judged_with_others = False

    program = models.ForeignKey(TierProgram, on_delete=models.CASCADE, related_name="tiers", verbose_name=_("program"))
    title = models.CharField(_("title"), max_length=100, validators=[validators.readable])
    min_value = models.BigIntegerField(
        _("from"), null=True, blank=True, help_text=_("Lowest score of the tier; empty for the base tier.")
    )
    max_value = models.BigIntegerField(
        _("to"), null=True, blank=True, help_text=_("Highest score of the tier; empty for the top tier.")
    )
    maintain_score = models.BigIntegerField(
        _("score to maintain"),
        null=True,
        blank=True,
        help_text=_("The score that keeps the tier at its expiry; empty means the lowest score of the tier."),
    )

    class Meta:
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")
        ordering = ["program", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["program", "title"],
                name="live_push_tier_title",
                violation_error_message=_("The program already has a tier with this title."),
            ),
            models.CheckConstraint(
                condition=Q(min_value__isnull=True) | Q(min_value__range=(1, tier_rules.MAX_POINTS)),
                name="live_push_tier_min_in_range",
                violation_error_message=_("A tier begins at 1 or higher; the base tier has no minimum."),
            ),
            models.CheckConstraint(
                condition=Q(max_value__isnull=True) | Q(max_value__range=(0, tier_rules.MAX_POINTS)),
                name="live_push_tier_max_in_range",
                violation_error_message=_("A tier ends at 0 or higher; the top tier has no maximum."),
            ),
            models.CheckConstraint(
                condition=Q(min_value__isnull=True) | Q(max_value__isnull=True) | Q(min_value__lte=F("max_value")),
                name="live_push_tier_min_before_max",
                violation_error_message=_("The end of a tier must not be below its beginning."),
            ),
            models.CheckConstraint(
                condition=Q(maintain_score__isnull=True) | Q(maintain_score__range=(0, tier_rules.MAX_POINTS)),
                name="live_push_maintain_score_in_range",
                violation_error_message=_("The score to maintain is 0 or higher."),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        super().clean()
        if self.program_id is None or self.is_judged_with_others:
            return
        # Not from a replica, which may not have the others yet.
        stored = Tier.objects.using(router.db_for_write(Tier, instance=self))
        others = stored.filter(program=self.program_id).exclude(pk=self.pk)
        if problem := place_problem(self, others, is_new=self._state.adding):
            raise validation_error(problem)

    def as_level(self) -> Level:
        """Return the tier as the rules use it."""
        return Level(
            title=self.title,
            min_value=self.min_value,
            max_value=self.max_value,
            maintain_score=self.maintain_score,
        )


def check_ladder(tiers: Iterable[Rung]) -> None:
    """Raise ``ValidationError``, which names the tiers, unless these tiers of one program form a valid ladder."""
    if problem := ladder_problem(tiers):
        raise validation_error(problem)


# The meaning of each event is in live_push.rules.tiers.lifecycle.Event.
EVENT_CHOICES = [
    (tier_rules.Event.START.value, _("start")),
    (tier_rules.Event.UPDATE.value, _("update")),
    (tier_rules.Event.JUMP.value, _("jump")),
    (tier_rules.Event.DROP.value, _("drop")),
    (tier_rules.Event.MAINTAIN.value, _("maintain")),
    (tier_rules.Event.RESET.value, _("reset")),
]
CAUSE_CHOICES = [
    (tier_rules.Cause.ENROLMENT.value, _("enrolment")),
    (tier_rules.Cause.POINTS.value, _("points")),
    (tier_rules.Cause.CLOCK.value, _("the clock")),
    (tier_rules.Cause.OVERRIDE.value, _("manual override")),
    (tier_rules.Cause.REEVALUATION.value, _("edited ladder")),
]


class TierMembershipQuerySet(models.QuerySet["TierMembership"]):
    """Queries on tier memberships."""

    def due(self, now: datetime) -> TierMembershipQuerySet:
        """Return the memberships with an expiry or a reset up to and including ``now``, in order of that date."""
        return self.filter(next_due_at__lte=now).order_by("next_due_at", "profile_id")


class TierMembership(models.Model):
    """The tier, scores and dates of one member. Only the tier service writes it; use ``award_points`` to add points."""

    profile = models.OneToOneField(
        "live_push.UserProfile",
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="tier_membership",
        verbose_name=_("profile"),
    )
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="memberships", verbose_name=_("tier"))
    tier_score = models.BigIntegerField(_("tier score"), default=0, help_text=_("Points earned while in the tier."))
    timeframe_score = models.BigIntegerField(
        _("timeframe score"), default=0, help_text=_("Points earned since the tier last expired or the counters reset.")
    )
    date_reached = models.DateTimeField(_("reached"), help_text=_("Moves with start, jump and drop."))
    date_assigned = models.DateTimeField(_("assigned"), help_text=_("Moves with every event but update."))
    expiration_date = models.DateTimeField(_("expires"), null=True, blank=True)
    reset_date = models.DateTimeField(_("resets"), null=True, blank=True)
    assigned_by_event = models.CharField(_("assigned by"), max_length=10, choices=EVENT_CHOICES)
    in_maintenance = models.BooleanField(
        _("in maintenance"),
        default=False,
        help_text=_("The scores were reset, and the tier has not been earned again yet."),
    )
    last_event_at = models.DateTimeField(_("last event"), help_text=_("Points can't be awarded for an earlier time."))
    # Coalesce is needed, because LEAST with a null is null on some databases and the other value on others.
    next_due_at: GeneratedMoment = models.GeneratedField(
        expression=Least(Coalesce("expiration_date", "reset_date"), Coalesce("reset_date", "expiration_date")),
        output_field=models.DateTimeField(null=True),
        db_persist=True,
    )

    objects = TierMembershipQuerySet.as_manager()

    class Meta:
        verbose_name = _("tier membership")
        verbose_name_plural = _("tier memberships")
        constraints = [
            models.CheckConstraint(
                condition=Q(tier_score__gte=0, timeframe_score__gte=0), name="live_push_scores_not_negative"
            ),
        ]
        indexes = [models.Index(fields=["next_due_at", "profile"], name="live_push_tier_due")]

    def __str__(self) -> str:
        return f"#{self.profile_id}: {self.tier}"

    def save(
        self, *args: Any, using: str | None = None, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        names = None if update_fields is None else set(update_fields)
        using = using or router.db_for_write(type(self), instance=self)
        # post_save records the push. In autocommit mode it would run after the commit of the row, and a crash in
        # between would lose the push.
        with transaction.atomic(using=using, savepoint=False):
            super().save(*args, using=using, update_fields=names, **kwargs)


class TierEvent(models.Model):
    """One event in the history of a member's tier.

    The titles are copies, so that the history stays correct after the tiers of the program change.
    """

    profile = models.ForeignKey(
        "live_push.UserProfile", on_delete=models.CASCADE, related_name="tier_events", verbose_name=_("profile")
    )
    event = models.CharField(_("event"), max_length=10, choices=EVENT_CHOICES)
    cause = models.CharField(_("cause"), max_length=15, choices=CAUSE_CHOICES)
    due_at = models.DateTimeField(_("due"), help_text=_("The date of the event."))
    applied_at = models.DateTimeField(
        _("applied"), help_text=_("When the event was recorded; this may be later than its date.")
    )
    from_title = models.CharField(_("from tier"), max_length=100, null=True, blank=True)
    to_title = models.CharField(_("to tier"), max_length=100)
    tier_score_before = models.BigIntegerField(_("tier score before"))
    tier_score_after = models.BigIntegerField(_("tier score after"))
    timeframe_score_before = models.BigIntegerField(_("timeframe score before"))
    timeframe_score_after = models.BigIntegerField(_("timeframe score after"))

    class Meta:
        verbose_name = _("tier event")
        verbose_name_plural = _("tier events")
        ordering = ["profile", "id"]

    def __str__(self) -> str:
        return f"#{self.profile_id}: {self.event}, {self.from_title} → {self.to_title}"
