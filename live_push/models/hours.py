"""Hourly statistics of each endpoint's attempts. They are kept when the delivery log is pruned."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from live_push.rules.result import ErrorCode

from .column_types import Text
from .endpoints import ClientEndpoint
from .text_columns import IdField

HOUR = timedelta(hours=1)

WAS_ACCEPTED = models.Q(error_code__in=("", ErrorCode.ID_CONFLICT.value))
"""The condition for attempts that were accepted. A conflict of third-party ids does not make an attempt fail."""


class EndpointHourQuerySet(models.QuerySet["EndpointHour"]):
    """Queries on the hourly statistics."""

    def since(self, moment: datetime) -> EndpointHourQuerySet:
        """Return the rows of hours that ended after this time."""
        return self.filter(hour__gt=moment - HOUR)

    def accepted(self) -> EndpointHourQuerySet:
        """Return the rows of accepted attempts."""
        return self.filter(WAS_ACCEPTED)

    def failed(self) -> EndpointHourQuerySet:
        """Return the rows of attempts that were not accepted."""
        return self.exclude(WAS_ACCEPTED)

    def in_conflict(self) -> EndpointHourQuerySet:
        """Return the rows of attempts that were accepted, but with the third-party id of another member."""
        return self.filter(error_code=ErrorCode.ID_CONFLICT.value)


class EndpointHour(models.Model):
    """How many attempts of one endpoint ended in one hour with the same error code and with a similar duration.

    ``error_code`` is empty for attempts that succeeded, except for those with a conflict of third-party ids.
    ``within_ms`` is the upper bound of the durations that are counted here, in milliseconds. Each row holds one count,
    so that settling only has to add to it.
    """

    # Without a constraint: checking it would lock the endpoint after its health, against the order in which locks are
    # taken.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="hours", db_index=False, db_constraint=False
    )
    # The start of the hour.
    hour = models.DateTimeField()
    error_code: Text = IdField(max_length=30, blank=True, default="")
    within_ms = models.PositiveIntegerField()
    attempts = models.PositiveIntegerField()
    # How many deliveries ended without an attempt because they held nothing new. Their row has no attempts.
    left_out = models.PositiveIntegerField(default=0, db_default=0)

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
