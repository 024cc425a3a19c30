"""What an endpoint's attempts came to, hour by hour; it outlives the delivery log."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from live_push.delivery.result import ErrorCode

from .columns import IdField
from .endpoints import ClientEndpoint

HOUR = timedelta(hours=1)

# A conflict of ids is a note on an attempt that succeeded.
WAS_ACCEPTED = models.Q(error_code__in=("", ErrorCode.ID_CONFLICT.value))


class EndpointHourQuerySet(models.QuerySet["EndpointHour"]):
    def since(self, moment: datetime) -> EndpointHourQuerySet:
        """The hours that ended after that moment."""
        return self.filter(hour__gt=moment - HOUR)

    def accepted(self) -> EndpointHourQuerySet:
        """Attempts that were accepted."""
        return self.filter(WAS_ACCEPTED)

    def failed(self) -> EndpointHourQuerySet:
        """Attempts that were not."""
        return self.exclude(WAS_ACCEPTED)

    def in_conflict(self) -> EndpointHourQuerySet:
        """Attempts that were accepted with the third-party id of another member."""
        return self.filter(error_code=ErrorCode.ID_CONFLICT.value)


class EndpointHour(models.Model):
    """How many attempts of one endpoint ended alike in one hour: with the same error code, about as fast.

    One count a row, so that settling only ever adds. Without an error code the attempts succeeded, and so they did
    with that of a conflict of ids. ``within_ms`` is the
    upper bound of the durations counted here, in milliseconds.
    """

    # No constraint: checking it would lock the endpoint's row after its health, against the order of all others.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="hours", db_index=False, db_constraint=False
    )
    # When it began.
    hour = models.DateTimeField()
    error_code = IdField(max_length=30, blank=True, default="")
    within_ms = models.PositiveIntegerField()
    attempts = models.PositiveIntegerField()

    objects = EndpointHourQuerySet.as_manager()

    class Meta:
        verbose_name = _("endpoint hour")
        verbose_name_plural = _("endpoint hours")
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "endpoint", "error_code", "within_ms"], name="live_push_one_count_per_hour"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.hour:%Y-%m-%d %H}: {self.attempts} {self.error_code or 'accepted'}"
