"""The heartbeats of workers. They show operators that deliveries are being sent."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .column_types import Text
from .text_columns import IdField


class WorkerHeartbeat(models.Model):
    """A worker, and when its heartbeat was last seen. A worker with a recent heartbeat is alive.

    ``is_asleep`` is set on PostgreSQL while the worker waits to be notified of recorded pushes.
    """

    name: Text = IdField(max_length=100, primary_key=True)
    engine = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    is_asleep = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return str(self.name)
