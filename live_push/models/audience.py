"""The audience of an endpoint: the members that it receives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self

from django.db import models, router, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from . import validators
from .clock import db_now
from .column_types import Text
from .health import EndpointHealth
from .text_columns import IdField
from .transactions import locked


class Audience(models.TextChoices):
    """Which members an endpoint receives."""

    ALL = "all", _("all members")
    LISTED = "listed", _("only members with one of the listed brandings")


class EndpointAudience(models.Model):
    """The part of an endpoint that says which members it receives. :meth:`set_audience` changes it."""

    audience = models.CharField(
        _("audience"),
        max_length=6,
        choices=Audience.choices,
        default=Audience.ALL,
        help_text=_("Which members are sent to this endpoint. Members outside its audience are never sent."),
    )

    # The stored audience when this instance was read or written.
    _known_audience: str | None = None

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        endpoint: Self = super().from_db(*args, **kwargs)
        endpoint._note_audience(None)
        return endpoint

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        names = None if fields is None else list(fields)
        super().refresh_from_db(using, names, from_queryset)
        self._note_audience(names)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        names = None if update_fields is None else list(update_fields)
        super().save(*args, update_fields=names, **kwargs)
        self._note_audience(names)

    def _note_audience(self, names: Collection[str] | None) -> None:
        if names is None or "audience" in names:
            self._known_audience = self.__dict__.get("audience")

    def keep_audience(self, stored: Mapping[str, Any] | None, names: Collection[str] | None) -> None:
        """Take the stored audience for a save of all columns, unless this instance was given another one.

        An instance that was read before the audience was narrowed must not widen it again.
        """
        if stored is not None and names is None and self.__dict__.get("audience") == self._known_audience is not None:
            self.audience = stored["audience"]

    @property
    def brandings(self) -> list[str]:
        """The listed brandings, sorted. They count only if the audience is ``listed``."""
        listed = ListedBranding.objects.using(router.db_for_write(ListedBranding, instance=self))
        return sorted(listed.filter(endpoint=self.pk).values_list("client_branding_id", flat=True))

    def set_audience(self, brandings: Iterable[str] | None) -> None:
        """Send only the members whose ``client_branding_id`` is one of these to the endpoint; ``None``: all members.

        An empty list holds no member. Members who enter are sent at their next update or by a catch-up; those who
        changed within the last hour are sent at once, because their change may have been under way. Raises
        ``ValidationError`` for a branding that :func:`~live_push.models.validators.branding` refuses.
        """
        if isinstance(brandings, str | Mapping):
            raise TypeError(f"Brandings are a list of texts, not {brandings!r}.")
        wanted = set() if brandings is None else set(brandings)
        for branding in wanted:
            validators.branding(branding)
        using = router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            stored = locked(type(self)._base_manager.using(using).filter(pk=self.pk))
            was_listed = stored.values_list("audience", flat=True).get() == Audience.LISTED
            rows = ListedBranding.objects.using(using).filter(endpoint=self.pk)
            listed = set(rows.values_list("client_branding_id", flat=True))
            rows.filter(client_branding_id__in=listed - wanted).delete()
            rows.bulk_create(
                ListedBranding(endpoint_id=self.pk, client_branding_id=branding) for branding in sorted(wanted - listed)
            )
            self.audience = Audience.ALL if brandings is None else Audience.LISTED
            # Even if only the list differs: the new version tells workers and stored figures of the change.
            self.save(using=using, update_fields=["audience"])
            note_change([self.pk], is_wider=was_listed and bool(brandings is None or wanted - listed), using=using)


def note_change(endpoint_ids: Iterable[int], *, is_wider: bool, using: str) -> None:
    """Let housekeeping look after a change of audiences: for what waits outside, and for changes under way.

    Call it in the transaction of the change. The transaction of a change that is under way does not see an audience
    that ``is_wider``, so it is looked for like after an activation.
    """
    noted: dict[str, Any] = {"outside_check_at": None}
    if is_wider:
        noted |= {"activated_at": db_now(using), "caught_up_at": None}
    EndpointHealth.objects.using(using).filter(pk__in=list(endpoint_ids)).update(**noted)


def in_audience(endpoint: str, profile: str) -> Q:
    """Return the condition that the audience holds the member. The arguments are the ORM paths to both."""
    branding = OuterRef(f"{profile}__client_branding_id")
    listed = ListedBranding.objects.filter(endpoint=OuterRef(endpoint), client_branding_id=branding)
    return Q(**{f"{endpoint}__audience": Audience.ALL}) | Q(Exists(listed))


class ListedBranding(models.Model):
    """A branding in the list of an endpoint. Write it with :meth:`EndpointAudience.set_audience`."""

    endpoint = models.ForeignKey(
        "live_push.ClientEndpoint", on_delete=models.CASCADE, related_name="listed_brandings", db_index=False
    )
    client_branding_id: Text = IdField(_("client branding"), max_length=validators.BRANDING_CHARACTERS)

    class Meta:
        verbose_name = _("listed branding")
        verbose_name_plural = _("listed brandings")
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "client_branding_id"], name="live_push_branding_listed_once"),
            # A member without a branding has null, or a blank text if another program wrote it, and is in no list.
            models.CheckConstraint(condition=~Q(client_branding_id=""), name="live_push_listed_branding_not_blank"),
        ]

    def __str__(self) -> str:
        return str(self.client_branding_id)
