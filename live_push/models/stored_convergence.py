"""The convergence as workers have counted it, so that commands and pages need not read every member."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .column_types import JsonObject


class StoredConvergence(models.Model):
    """The last complete count of the convergence, and the count that is under way. The table has one row.

    A count reads the members in slices. ``live_push.figures.convergence_slices.ConvergenceCount`` describes the two
    columns with counts. An empty column stands for no count.
    """

    THE_ROW = 1

    id = models.SmallIntegerField(primary_key=True, default=THE_ROW)
    complete: JsonObject = models.JSONField(default=dict)
    under_way: JsonObject = models.JSONField(default=dict)
    # When the next slice may be counted. The worker that counts a slice sets this time to the end of its lease, and so
    # keeps the other workers away. Each worker writes a later time than the last one, so the time also identifies the
    # worker: it writes its result only if the time is still the one that it has set.
    next_slice_at = models.DateTimeField()

    class Meta:
        verbose_name = _("stored convergence")
        verbose_name_plural = _("stored convergence")

    def __str__(self) -> str:
        return f"next slice at {self.next_slice_at}"
