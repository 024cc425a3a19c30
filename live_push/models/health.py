"""The health of an endpoint: its breaker, leased slots, rate limit and failures."""

from __future__ import annotations

from datetime import date

from django.db import models
from django.utils.translation import gettext_lazy as _

from live_push.rules.breaker import Breaker
from live_push.rules.failing import Failing

from .column_types import JsonObject, TextList

BREAKER_STATES = {
    "closed": _("closed: it is tried"),
    "open": _("open: it rests, then is probed"),
    "half_open": _("half-open: one probe is under way"),
}


class EndpointHealth(models.Model):
    """The health of an endpoint, shared by all workers. A worker locks this row while it claims the endpoint's work.

    This is a table of its own, so that saving a form of the endpoint can't write an old state back.
    """

    endpoint = models.OneToOneField(
        "live_push.ClientEndpoint", on_delete=models.CASCADE, primary_key=True, related_name="health"
    )
    breaker_state = models.CharField(max_length=10, choices=BREAKER_STATES, default="closed")
    failures_in_row = models.PositiveIntegerField(default=0)
    rest_seconds = models.PositiveIntegerField(default=0)
    # The end of a rest: of the breaker, of one that the client asked for, or of the probe's lease.
    rests_until = models.DateTimeField(null=True, blank=True)
    # The profile whose push was the last probe.
    probe_profile_id = models.BigIntegerField(null=True, blank=True)
    # The slots that each worker has leased, that is, how many requests it may have in flight: the name of the worker to
    # [number of slots, end of the lease in epoch seconds].
    slots: JsonObject = models.JSONField(default=dict, blank=True)
    # How many requests could start at rate_at under the rate limit.
    rate_allowance = models.FloatField(default=0)
    rate_at = models.DateTimeField(null=True, blank=True)
    needs_credentials = models.BooleanField(default=False)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_failure_at = models.DateTimeField(null=True, blank=True)
    # The first of the failures that count, see live_push.rules.failing.
    failing_since = models.DateTimeField(null=True, blank=True)
    # The UTC days on which attempts have failed since then, as ISO texts.
    failing_days: TextList = models.JSONField(default=list, blank=True)
    # When the warning about these failures was sent.
    failing_noticed_at = models.DateTimeField(null=True, blank=True)

    inactive_since = models.DateTimeField(null=True, blank=True)
    # When the endpoint was activated, or its audience was widened.
    activated_at = models.DateTimeField(null=True, blank=True)
    # When outbox.catch_up last looked for changes that were under way during the activation.
    caught_up_at = models.DateTimeField(null=True, blank=True)
    # When to look again for waiting deliveries of members outside the audience; null for at once.
    outside_check_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("endpoint health")
        verbose_name_plural = _("endpoint health")

    def __str__(self) -> str:
        return f"{self.endpoint_id}: {self.breaker_state}"

    @property
    def breaker(self) -> Breaker:
        """The breaker's state for :mod:`live_push.rules.breaker`. Assign the state that a rule returns."""
        return Breaker(self.breaker_state, self.failures_in_row, self.rest_seconds, self.rests_until)  # type: ignore[arg-type]

    @breaker.setter
    def breaker(self, breaker: Breaker) -> None:
        self.breaker_state, self.failures_in_row = breaker.state, breaker.failures_in_row
        self.rest_seconds, self.rests_until = breaker.rest_seconds, breaker.rests_until

    @property
    def failing(self) -> Failing:
        """The failures for :mod:`live_push.rules.failing`. Assign the state that a rule returns."""
        days = tuple(date.fromisoformat(day) for day in self.failing_days)
        return Failing(self.failing_since, self.last_failure_at, days, self.failing_noticed_at)

    @failing.setter
    def failing(self, failing: Failing) -> None:
        self.failing_since, self.last_failure_at = failing.since, failing.last_at
        self.failing_days = [day.isoformat() for day in failing.days]
