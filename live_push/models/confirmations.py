"""What each endpoint has accepted of each profile, which shows whether the endpoint is behind."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .endpoints import ClientEndpoint


class Confirmation(models.Model):
    """The newest state of a profile that an endpoint has accepted: its sequence, the time, and the snapshot's digest.

    A confirmation is kept when the deliveries are pruned. While ``uncertain_since`` is set, the client may have
    processed an older state after the newest one that it accepted, so the endpoint counts as behind.
    """

    # Without constraints: checking them would lock the endpoint and the profile after the delivery, against the order
    # in which locks are taken.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="confirmations", db_index=False, db_constraint=False
    )
    profile = models.ForeignKey(
        "live_push.UserProfile", on_delete=models.CASCADE, related_name="confirmations", db_constraint=False
    )
    sequence = models.BigIntegerField()
    confirmed_at = models.DateTimeField()
    digest = models.CharField(max_length=64)
    # Only for endpoints that get only changes: the digest of the accepted body, see live_push.outbox.contents. Empty
    # while the client may have processed another body. The default is the database's, because other endpoints'
    # confirmations are written without this column.
    content_digest = models.CharField(max_length=64, blank=True, default="", db_default="")
    # Cleared when the client accepts a state whose attempt was started later.
    uncertain_since = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = _("confirmation")
        verbose_name_plural = _("confirmations")
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "profile"], name="live_push_one_confirmation_per_pair"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id}/{self.profile_id}: {self.sequence}"
