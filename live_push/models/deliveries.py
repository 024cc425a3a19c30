"""The outbox, which is also the delivery log: pushes, their deliveries to endpoints, and the attempts of each."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy as _

from live_push.rules.result import ErrorCode
from live_push.rules.retry import Policy
from live_push.secrets.fields import StoredBytesField

from .audience import in_audience
from .clock import DbNow
from .column_types import GeneratedNumber, OptionalBytes, OptionalText, Text
from .endpoints import ClientEndpoint
from .message_column import MessageField
from .profiles import UserProfile
from .text_columns import IdField

END_OF_LINE = 2**63 - 1
"""The position of a delivery whose push has no sequence yet: it comes after all others of its pair."""


class PushTrigger(models.TextChoices):
    """What caused a push."""

    CREATED = "created", _("profile created")
    UPDATED = "updated", _("profile updated")
    TIER = "tier", _("tier changed")
    USER = "user", _("auth user saved")
    RESEND = "resend", _("resent by hand")


class DeliveryStatus(models.TextChoices):
    """The state of a delivery."""

    PENDING = "pending", _("pending")  # waits for its next attempt
    SENDING = "sending", _("sending")  # claimed by a worker, under a lease
    SUCCEEDED = "succeeded", _("succeeded")  # the endpoint accepted it
    FAILED = "failed", _("failed")  # given up; can be redelivered
    # Superseded, unchanged, erased, outside the audience, or cancelled by an operator.
    CANCELLED = "cancelled", _("cancelled")


class DeliveryReason(models.TextChoices):
    """Why a delivery ended, or why it waits."""

    NONE = "", ""
    EXHAUSTED = "exhausted", _("the retry schedule ended")
    GONE = "gone", _("the endpoint answered 410 Gone")
    TOO_LARGE = "too_large", _("the endpoint answered 413 Content Too Large")
    STALLED = "stalled", _("sent alone, its worker died five times")
    PAYLOAD = "payload", _("the payload could not be built")
    SUPERSEDED = "superseded", _("a newer state made it pointless")
    ERASED = "erased", _("the member was deleted")
    UNCHANGED = "unchanged", _("it held nothing new for the endpoint")
    WITHDRAWN = "withdrawn", _("an operator cancelled it")
    AUDIENCE = "audience", _("the member is outside the endpoint's audience")


class Priority(models.IntegerChoices):
    """Which due deliveries are sent first: those with the lowest number."""

    LIVE = 0, _("live update")
    RETRY = 1, _("retry")
    RESEND = 2, _("resend")


class Push(models.Model):
    """One event: the state of a profile at one commit.

    ``payload`` is the stored snapshot. It is null until a resend is first sent, because its body is drawn then. It is
    also null if the payload could not be built, and ``error`` says why.
    """

    event_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    profile = models.ForeignKey(UserProfile, on_delete=models.SET_NULL, null=True, related_name="pushes")
    sequence = models.BigIntegerField(null=True)
    trigger = models.CharField(max_length=10, choices=PushTrigger.choices)
    payload: OptionalBytes = StoredBytesField(null=True)
    digest = models.CharField(max_length=64, blank=True, default="")
    error: Text = MessageField()
    # Set when the member is deleted: a keyed hash of the profile id. With the key and the id, one can still find which
    # endpoints received the member's data.
    subject = models.CharField(max_length=64, null=True, editable=False)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("push")
        verbose_name_plural = _("pushes")
        indexes = [models.Index(fields=["trigger"], name="live_push_trigger")]

    def __str__(self) -> str:
        return str(self.event_id)

    @property
    def short_id(self) -> str:
        """Return the first two groups of the event id, for lists.

        The first group would not be enough: the ids of one bulk resend differ in the second group only, see
        :mod:`live_push.outbox.event_ids`.
        """
        return str(self.event_id)[:13]


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Queries on deliveries."""

    def due(self, now: datetime | DbNow) -> DeliveryQuerySet:
        """Return the pending deliveries whose next attempt is due. Only pending ones have a next attempt."""
        return self.filter(next_attempt_at__lte=now)

    def sending(self) -> DeliveryQuerySet:
        """Return the deliveries that a worker holds."""
        # The second condition adds nothing, but with it SQLite knows that its index of ended deliveries finds few rows.
        return self.filter(status=DeliveryStatus.SENDING, ended_at=None)

    def isolated(self) -> DeliveryQuerySet:
        """Return the waiting deliveries that are sent one by one, because a worker died while it was sending them."""
        # The code follows from the stalls, but its index finds these few among a million that wait.
        return self.filter(next_attempt_at__isnull=False, stalls__gt=0, last_error_code=ErrorCode.LEASE_LOST.value)

    def live(self) -> DeliveryQuerySet:
        """Return the deliveries that have not ended: the pending and the sending ones."""
        return self.filter(status__in=[DeliveryStatus.PENDING, DeliveryStatus.SENDING])

    def outside_audience(self) -> DeliveryQuerySet:
        """Return the deliveries whose endpoint's audience does not hold the member, as the member's row is now."""
        return self.filter(~in_audience("endpoint", "profile"))


class Delivery(models.Model):
    """One push for one endpoint.

    ``claims_made`` counts how often a worker took the delivery, ``attempts_made`` how often it was sent, or at least
    dialled. A run begins when the delivery is recorded or redelivered, or when its endpoint is activated again. The
    retry policy counts the attempts of the run.
    """

    # Neither this key nor the endpoint needs an index of its own: a constraint and the index of due deliveries begin
    # with them.
    push = models.ForeignKey(Push, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    # A constraint would make MariaDB lock the endpoint's row to check it, and saves of profiles would wait for an
    # operator who saves the endpoint.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    profile = models.ForeignKey(UserProfile, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    # The place among the deliveries of the same endpoint and profile: the push's sequence, or END_OF_LINE.
    position = models.BigIntegerField()
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    reason = models.CharField(max_length=12, choices=DeliveryReason.choices, default=DeliveryReason.NONE, blank=True)
    priority = models.PositiveSmallIntegerField(choices=Priority.choices, default=Priority.LIVE)
    # Set while the delivery is pending, and only then.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    claims_made = models.PositiveIntegerField(default=0)
    attempts_made = models.PositiveIntegerField(default=0)
    # The number of attempts in the current run.
    run_attempts = models.PositiveIntegerField(default=0)
    # The start of the first attempt of the current run.
    run_started_at = models.DateTimeField(null=True, blank=True)
    # Whether an operator began the current run.
    redelivered = models.BooleanField(default=False)
    # How often the worker died while it sent this delivery.
    stalls = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    # The worker that claimed the delivery last. If its heartbeat stops, the deliveries that it did not start are
    # released.
    claimed_by: OptionalText = IdField(max_length=100, null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    # The start of the attempt under way.
    dialled_at = models.DateTimeField(null=True, blank=True)
    last_error_code = models.CharField(max_length=30, blank=True, default="")
    last_status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # 1 while sending, else null. A unique constraint ignores nulls, so the database itself refuses two deliveries in
    # flight for the same endpoint and profile.
    in_flight: GeneratedNumber = models.GeneratedField(
        expression=Case(When(status=DeliveryStatus.SENDING, then=Value(1)), default=None),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    # Not stored. The time after which the request of the attempt under way must not be written, in seconds of the
    # local clock.
    not_after: float | None = None

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        permissions = [
            ("view_delivery_content", _("Can see what was sent and answered")),
            ("resend_delivery", _("Can redeliver and resend")),
            ("cancel_delivery", _("Can cancel deliveries that wait")),
            ("erase_delivery_content", _("Can erase what was sent and answered")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["push", "endpoint"], name="live_push_one_delivery_per_endpoint"),
            models.UniqueConstraint(fields=["endpoint", "profile", "in_flight"], name="live_push_one_in_flight"),
            models.CheckConstraint(
                condition=Q(status=DeliveryStatus.PENDING, next_attempt_at__isnull=False)
                | (~Q(status=DeliveryStatus.PENDING) & Q(next_attempt_at__isnull=True)),
                name="live_push_pending_has_next_attempt",
            ),
        ]
        # The columns that the start of an attempt writes are in no index. So PostgreSQL can write the row anew without
        # touching an index (HOT).
        indexes = [
            models.Index(fields=["endpoint", "priority", "next_attempt_at", "id"], name="live_push_due"),
            models.Index(fields=["endpoint", "profile", "status", "position"], name="live_push_line"),
            models.Index(fields=["status", "ended_at"], name="live_push_ended"),
            models.Index(fields=["last_error_code", "id"], name="live_push_cause"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


def is_run_over(started_at: datetime | None, policy: Policy, now: datetime) -> bool:
    """Return whether a run is over, so that no more attempts may start. A run without an attempt has not begun."""
    return started_at is not None and policy.is_over((now - started_at).total_seconds())


class AttemptTrigger(models.TextChoices):
    """What caused an attempt."""

    PUSH = "push", _("first attempt")
    RETRY = "retry", _("retry on schedule")
    REDELIVER = "redeliver", _("redelivered by hand")


class Attempt(models.Model):
    """One HTTP request, or at least one dial. Unknown values are empty, such as the status code without an answer."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    trigger = models.CharField(max_length=10, choices=AttemptTrigger.choices)
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=30, blank=True, default="")
    detail: Text = MessageField()
    answer: OptionalBytes = StoredBytesField(null=True, blank=True)
    # The SHA-256 of the body that was sent.
    body_digest = models.CharField(max_length=64, blank=True, default="")
    captured_id: OptionalText = IdField(max_length=100, null=True, blank=True)
    replaced_id: OptionalText = IdField(max_length=100, null=True, blank=True)
    capture_conflict = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["delivery", "number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="live_push_attempt_number")]

    def __str__(self) -> str:
        return f"{self.delivery_id}#{self.number}"
