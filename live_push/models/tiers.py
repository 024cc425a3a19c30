"""Tier programs, their ladders, where each member stands, and how they got there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Least
from django.utils.translation import gettext_lazy as _

from live_push.exceptions import TierError
from live_push.tiers import rules as tier_rules
from live_push.tiers import timeframes
from live_push.tiers.ladder import Ladder, Level, Rung, from_base_to_top, ladder_problem, place_problem

from .columns import readable

# The longest a rolling timeframe may last, in its unit, and the most resets a tier may be kept for: a century of days.
LONGEST = 36_525

THIRTY_DAYS = (4, 6, 9, 11)


class TierProgram(models.Model):
    """A ladder of tiers and the rules by which members climb and lose them.

    A program without tiers is as good as none: nobody starts in it.
    """

    class Timeframe(models.TextChoices):
        """What makes a tier expire."""

        FIXED = "fixed", _("fixed: every year on the same day")
        ROLLING = "rolling", _("rolling: a length after the tier was assigned")
        NONE = "none", _("none: nothing ever expires")

    class LengthUnit(models.TextChoices):
        """What the length of a rolling timeframe counts."""

        DAYS = timeframes.LengthUnit.DAYS.value, _("days")
        MONTHS = timeframes.LengthUnit.MONTHS.value, _("months")

    class DropPolicy(models.TextChoices):
        """Where a member goes who has not maintained the tier."""

        BALANCE_BASED = tier_rules.DropPolicy.BALANCE_BASED.value, _("to the tier that the score qualifies for")
        ONE_DOWN = tier_rules.DropPolicy.ONE_DOWN.value, _("one tier down")

    name = models.CharField(_("name"), max_length=100, unique=True, validators=[readable])
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("New members start in the default program. At most one program is it.")
    )
    timeframe = models.CharField(_("timeframe"), max_length=10, choices=Timeframe.choices, default=Timeframe.NONE)
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default="UTC",
        help_text=_("IANA name such as Europe/Vienna; its calendar decides days, weeks and months."),
    )
    reset_month = models.PositiveSmallIntegerField(_("reset month"), null=True, blank=True, help_text=_("Fixed only."))
    reset_day = models.PositiveSmallIntegerField(
        _("reset day"), null=True, blank=True, help_text=_("Fixed only. 29 February is the 28th in a common year.")
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
        help_text=_("The base tier is maintained at its expiry; otherwise it has no expiry."),
    )
    update_assigns = models.BooleanField(
        _("score updates are assigning events"),
        default=True,
        help_text=_("A mere change of score becomes assignedByEvent; otherwise the assigning event stays."),
    )
    # Null unless the default, and so unique only then.
    default_marker = models.GeneratedField(
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
                violation_error_message=_("Another program is the default; take it from that one first."),
            ),
            models.CheckConstraint(
                condition=~Q(timeframe="fixed")
                | (
                    Q(reset_month__isnull=False, reset_day__isnull=False)
                    & Q(reset_month__range=(1, 12), reset_day__range=(1, 31))
                    & ~Q(reset_month=2, reset_day__gt=29)
                    & ~Q(reset_month__in=THIRTY_DAYS, reset_day__gt=30)
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
                condition=Q(length__isnull=True) | Q(length__range=(1, LONGEST)),
                name="live_push_length_in_range",
                violation_error_message=_("The length is a number from 1 to a century of days."),
            ),
            models.CheckConstraint(
                condition=Q(expires_after_resets__range=(1, 100)),
                name="live_push_expiry_in_range",
                violation_error_message=_("A tier expires after 1 to 100 resets."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        try:
            timeframes.zone_named(self.time_zone)
        except TierError as error:
            raise ValidationError({"time_zone": str(error)}) from None

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        # A form leaves out what it does not show, and with the marker the rule that there is one default.
        super().validate_constraints(set(exclude or ()) - {"default_marker"})

    def timeframe_rule(self) -> timeframes.Timeframe:
        """The timeframe as the rules use it; raises ``TierError`` where its settings make none."""
        zone = timeframes.zone_named(self.time_zone)
        if self.timeframe == self.Timeframe.FIXED:
            if self.reset_month is None or self.reset_day is None:
                raise TierError(f"The fixed timeframe of {self.name!r} needs a reset month and a reset day.")
            return timeframes.FixedTimeframe(self.reset_month, self.reset_day, self.expires_after_resets, zone)
        if self.timeframe == self.Timeframe.ROLLING:
            if self.length is None:
                raise TierError(f"The rolling timeframe of {self.name!r} needs a length.")
            return timeframes.RollingTimeframe(self.length, timeframes.LengthUnit(self.length_unit), zone)
        return timeframes.NoTimeframe()

    def rules(self, tiers: Iterable[Tier]) -> tier_rules.Program:
        """The program with these tiers as the rules use it; raises ``TierError`` where they are no ladder."""
        return tier_rules.Program(
            ladder=Ladder(tuple(tier.as_level() for tier in from_base_to_top(tiers))),
            timeframe=self.timeframe_rule(),
            drop_policy=tier_rules.DropPolicy(self.drop_policy),
            base_expires=self.base_expires,
            update_assigns=self.update_assigns,
        )


class Tier(models.Model):
    """One rung of a program's ladder; bounds are whole points, inclusive.

    That the rungs of a program make a ladder can't be a constraint of the database: an edit moves two rungs, one row
    after the other. :func:`check_ladder` says it for a form, ``clean()`` as far as it shows in one tier, and the rules
    refuse to work with anything else.
    """

    # Set by a form that holds all tiers of a program, and so judges those of the form and not the stored ones.
    is_judged_with_others = False

    program = models.ForeignKey(TierProgram, on_delete=models.CASCADE, related_name="tiers", verbose_name=_("program"))
    title = models.CharField(_("title"), max_length=100, validators=[readable])
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
        help_text=_("Keeps the tier when it expires; empty means its lowest."),
    )

    class Meta:
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")
        ordering = ["program", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["program", "title"],
                name="live_push_tier_title",
                violation_error_message=_("The program has a tier of this title."),
            ),
            models.CheckConstraint(
                condition=Q(min_value__isnull=True) | Q(min_value__range=(1, tier_rules.MOST_POINTS)),
                name="live_push_tier_min_in_range",
                violation_error_message=_("A tier begins at 1 or higher; the base tier has no minimum."),
            ),
            models.CheckConstraint(
                condition=Q(max_value__isnull=True) | Q(max_value__range=(0, tier_rules.MOST_POINTS)),
                name="live_push_tier_max_in_range",
                violation_error_message=_("A tier ends at 0 or higher; the top tier has no maximum."),
            ),
            models.CheckConstraint(
                condition=Q(min_value__isnull=True) | Q(max_value__isnull=True) | Q(min_value__lte=F("max_value")),
                name="live_push_tier_min_before_max",
                violation_error_message=_("A tier ends where it begins, or higher."),
            ),
            models.CheckConstraint(
                condition=Q(maintain_score__isnull=True) | Q(maintain_score__range=(0, tier_rules.MOST_POINTS)),
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
        others = Tier.objects.filter(program=self.program_id).exclude(pk=self.pk)
        if problem := place_problem(self, others, is_new=self._state.adding):
            raise ValidationError(problem, code="ladder")

    def as_level(self) -> Level:
        """The tier as the rules use it."""
        return Level(
            title=self.title,
            min_value=self.min_value,
            max_value=self.max_value,
            maintain_score=self.maintain_score,
        )


def check_ladder(tiers: Iterable[Rung]) -> None:
    """Raise ``ValidationError`` naming the tiers where these are no ladder; for a form that holds all of a program."""
    if problem := ladder_problem(tiers):
        raise ValidationError(problem, code="ladder")


EVENT_CHOICES = [  # what each means stands beside Event in the rules
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
    def due(self, now: datetime) -> TierMembershipQuerySet:
        """Those whose expiry or reset has come, the longest due first."""
        return self.filter(next_due_at__lte=now).order_by("next_due_at", "profile_id")


class TierMembership(models.Model):
    """Where one member stands. Written by the tier service; points move through ``award_points``."""

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
        help_text=_("The counters were reset; the tier has yet to be earned."),
    )
    last_event_at = models.DateTimeField(_("last event"), help_text=_("Points can't be awarded for an earlier moment."))
    # Written out, because LEAST of a null is null on some databases and the other value on others.
    next_due_at = models.GeneratedField(
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

    def save(self, *args: Any, **kwargs: Any) -> None:
        # In autocommit post_save would run after the row's own commit: a crash in between would lose the push.
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            super().save(*args, **kwargs)


class TierEvent(models.Model):
    """One thing that happened to a member's tier. Titles are copied, so that history outlives the ladder."""

    profile = models.ForeignKey(
        "live_push.UserProfile", on_delete=models.CASCADE, related_name="tier_events", verbose_name=_("profile")
    )
    event = models.CharField(_("event"), max_length=10, choices=EVENT_CHOICES)
    cause = models.CharField(_("cause"), max_length=15, choices=CAUSE_CHOICES)
    due_at = models.DateTimeField(_("due"), help_text=_("The instant whose date the event carries."))
    applied_at = models.DateTimeField(_("applied"), help_text=_("When it was recorded; later than due in a late run."))
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
