"""The outbox and its log: what is pushed, to whom, and each attempt."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy as _

from live_push.delivery.retry import Policy
from live_push.fields import StoredBytesField

from .clock import DbNow
from .columns import IdField
from .endpoints import ClientEndpoint
from .profiles import UserProfile

# The end of a pair's line: where a delivery stands whose push has not drawn its sequence yet.
END_OF_LINE = 2**63 - 1


class PushTrigger(models.TextChoices):
    """What caused a push."""

    CREATED = "created", _("profile created")
    UPDATED = "updated", _("profile updated")
    TIER = "tier", _("tier changed")
    USER = "user", _("auth user saved")
    RESEND = "resend", _("resent by hand")


class DeliveryStatus(models.TextChoices):
    """Where a delivery stands."""

    PENDING = "pending", _("pending")  # waits for its next attempt
    SENDING = "sending", _("sending")  # claimed by a worker, under a lease
    SUCCEEDED = "succeeded", _("succeeded")  # the endpoint accepted it
    FAILED = "failed", _("failed")  # given up; can be redelivered
    CANCELLED = "cancelled", _("cancelled")  # made pointless, or withdrawn


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
    WITHDRAWN = "withdrawn", _("an operator cancelled it")


class Priority(models.IntegerChoices):
    """Which due delivery goes first."""

    LIVE = 0, _("live update")
    RETRY = 1, _("retry")
    RESEND = 2, _("resend")


class Push(models.Model):
    """One event: what a profile looked like at one commit.

    ``payload`` is the stored snapshot; empty while a resend has not been sent yet (it is drawn then), and where the
    payload could not be built (``error`` says why).
    """

    event_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    profile = models.ForeignKey(UserProfile, on_delete=models.SET_NULL, null=True, related_name="pushes")
    sequence = models.BigIntegerField(null=True)
    trigger = models.CharField(max_length=10, choices=PushTrigger.choices)
    payload = StoredBytesField(null=True)
    digest = models.CharField(max_length=64, blank=True, default="")
    error = models.CharField(max_length=500, blank=True, default="")
    # Of a deleted member: a keyed hash of the id, so that whoever knows both finds who was sent what is gone here.
    subject = models.CharField(max_length=64, null=True, editable=False)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("push")
        verbose_name_plural = _("pushes")
        indexes = [models.Index(fields=["trigger"], name="live_push_trigger")]

    def __str__(self) -> str:
        return str(self.event_id)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self, now: datetime | DbNow) -> DeliveryQuerySet:
        """Pending deliveries whose time has come (only pending ones have a next attempt)."""
        return self.filter(next_attempt_at__lte=now)

    def live(self) -> DeliveryQuerySet:
        """Those that are not over: pending or sending."""
        return self.filter(status__in=[DeliveryStatus.PENDING, DeliveryStatus.SENDING])

    def redeliverable(self) -> DeliveryQuerySet:
        """Those that ended without being accepted and still have something to send."""
        return self.filter(status__in=[DeliveryStatus.FAILED, DeliveryStatus.CANCELLED], push__payload__isnull=False)


class Delivery(models.Model):
    """One push for one endpoint.

    Two counters: ``claims_made`` (taken by a worker) and ``attempts_made`` (sent, or at least dialled). A run begins
    with the recording, a redelivery or a re-activation; the retry policy counts from it.
    """

    # No indexes of their own: the constraint and the index of due deliveries begin with these columns.
    push = models.ForeignKey(Push, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    # No constraint either: to check it MariaDB locks the endpoint's row, so that each save would wait for operators.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    profile = models.ForeignKey(UserProfile, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    # Place in its pair's line: the push's sequence, or the end of the line.
    position = models.BigIntegerField()
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    reason = models.CharField(max_length=12, choices=DeliveryReason.choices, default=DeliveryReason.NONE, blank=True)
    priority = models.PositiveSmallIntegerField(choices=Priority.choices, default=Priority.LIVE)
    # Set exactly while pending.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    claims_made = models.PositiveIntegerField(default=0)
    attempts_made = models.PositiveIntegerField(default=0)
    # Attempts in the current run.
    run_attempts = models.PositiveIntegerField(default=0)
    # First attempt of the current run.
    run_started_at = models.DateTimeField(null=True, blank=True)
    # The current run was begun by hand.
    redelivered = models.BooleanField(default=False)
    # How often a worker died on it.
    stalls = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    # Start of the attempt under way.
    dialled_at = models.DateTimeField(null=True, blank=True)
    last_error_code = models.CharField(max_length=30, blank=True, default="")
    last_status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # Null unless sending, and so unique only then: the database itself refuses two in flight for one pair.
    in_flight = models.GeneratedField(
        expression=Case(When(status=DeliveryStatus.SENDING, then=Value(1)), default=None),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

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
        indexes = [
            models.Index(fields=["endpoint", "priority", "next_attempt_at", "id"], name="live_push_due"),
            models.Index(fields=["endpoint", "profile", "status", "position"], name="live_push_line"),
            models.Index(fields=["leased_until"], name="live_push_lease"),
            models.Index(fields=["status", "ended_at"], name="live_push_ended"),
            models.Index(fields=["last_error_code", "id"], name="live_push_cause"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


def is_run_over(started_at: datetime | None, policy: Policy, now: datetime) -> bool:
    """Whether nothing of a run that began then may be sent any more; one without an attempt has not begun."""
    return started_at is not None and policy.is_over((now - started_at).total_seconds())


class AttemptTrigger(models.TextChoices):
    """What caused an attempt."""

    PUSH = "push", _("first attempt")
    RETRY = "retry", _("retry on schedule")
    REDELIVER = "redeliver", _("redelivered by hand")


class Attempt(models.Model):
    """One HTTP request, or at least a dial. Nothing here is invented: no answer means no status code."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    trigger = models.CharField(max_length=10, choices=AttemptTrigger.choices)
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=30, blank=True, default="")
    detail = models.CharField(max_length=500, blank=True, default="")
    answer = StoredBytesField(null=True, blank=True)
    # SHA-256 of the bytes sent.
    body_digest = models.CharField(max_length=64, blank=True, default="")
    captured_id = IdField(max_length=100, null=True, blank=True)
    replaced_id = IdField(max_length=100, null=True, blank=True)
    capture_conflict = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["delivery", "number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="live_push_attempt_number")]

    def __str__(self) -> str:
        return f"{self.delivery_id}#{self.number}"


class WorkerHeartbeat(models.Model):
    """A worker that was seen: how operators and the admin know that somebody delivers."""

    name = IdField(max_length=100, primary_key=True)
    engine = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return str(self.name)
