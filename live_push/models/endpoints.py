"""The endpoints of clients: where profiles are pushed to, and how."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, router, transaction
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy as _

from live_push import conf
from live_push.contract.options import PayloadOptions, ignored_by_default
from live_push.exceptions import EndpointUrlError, SecretMisuse
from live_push.rules import endpoint_url, retry
from live_push.rules.messages import message_of
from live_push.rules.parse_id import parse_id
from live_push.rules.translation import validation_error
from live_push.signals import credentials_changed, endpoint_activated

from . import validators
from .audience import Audience, EndpointAudience, note_change
from .checked_columns import CheckedJSONField, EndpointUrlField
from .clock import DbNow
from .column_types import GeneratedNumber, Text, TextByName, TextList, WholeNumber
from .content_version import DECIDE_CONTENT, renew_content_version
from .credentials import CREDENTIALS, DECIDE_CREDENTIALS, SECRET_COLUMNS, AuthMethod, EndpointCredentials
from .databases import written_to
from .health import EndpointHealth
from .message_column import MessageField
from .text_columns import IdField
from .transactions import locked
from .version_column import VersionField, new_version

logger = logging.getLogger("live_push.models")


class Ordering(models.TextChoices):
    """What happens to an older update of a profile when a newer one exists."""

    IN_ORDER = "in_order", _("in order: an update whose attempt failed gives way to a newer one")
    LATEST_ONLY = "latest_only", _("latest only: a newer update replaces one that was not accepted yet")
    STRICT = "strict", _("strict: every update, and the next waits until the older one ended")


class ClientEndpointQuerySet(models.QuerySet["ClientEndpoint"]):
    """Bulk writes that refuse secrets, announce activations and create health rows, as ``save()`` does."""

    def active(self) -> ClientEndpointQuerySet:
        """Return the active endpoints. Pushes are recorded for these only."""
        return self.filter(is_active=True)

    def named(self, names: Iterable[str]) -> ClientEndpointQuerySet:
        """Return the endpoints with one of these names. A number also selects the endpoint with this id."""
        names = list(names)
        ids = [pk for pk in map(parse_id, names) if pk is not None]
        return self.filter(Q(name__in=names) | Q(pk__in=ids))

    def update(self, **kwargs: Any) -> int:
        for name in kwargs.keys() & SECRET_COLUMNS:
            raise SecretMisuse(f"{name} is a secret: assign it to an instance and save(); update() can't encrypt.")
        kwargs["version"] = new_version()
        if kwargs.keys() & DECIDE_CONTENT:
            kwargs["content_version"] = new_version()
        if kwargs.keys().isdisjoint({"is_active", "audience"}):
            return super().update(**kwargs)
        using = written_to(self)
        with transaction.atomic(using=using, savepoint=False):
            endpoints = self.model._base_manager.using(using)
            matching = endpoints.filter(pk__in=self.order_by().values("pk"))
            before = dict(locked(matching).order_by("pk").values_list("pk", "is_active"))
            rows = super(ClientEndpointQuerySet, self.filter(pk__in=before)).update(**kwargs)
            # Read the values back, because bulk_update() and others pass expressions.
            after = dict(endpoints.filter(pk__in=before).order_by("pk").values_list("pk", "is_active"))
            for pk, is_active in after.items():
                announce_switch(pk, was_active=before[pk], is_active=is_active, using=using)
            if "audience" in kwargs:
                note_change(before, is_wider=True, using=using)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[ClientEndpoint], *args: Any, **kwargs: Any) -> list[ClientEndpoint]:
        """Create all endpoints or none. Each is validated like in a form, and gets its health row.

        Raises ``ValidationError`` with the name of the endpoint as a note. Raises ``ValueError`` for the options that
        handle conflicts: a secret is bound to the row for which it was encrypted, so it can't be written to another.
        """
        if args[1:] or kwargs.keys() - {"batch_size"}:
            raise ValueError("Endpoints can't be created over existing ones: get() those that exist, and save() them.")
        objs, using = list(objs), written_to(self)
        with transaction.atomic(using=using, savepoint=False):
            for endpoint in objs:
                endpoint.refuse_nonsense()
                endpoint.date_credentials({}, using=using)
            created = super().bulk_create(objs, *args, **kwargs)
            # Not every database returns the ids of inserted rows.
            rows = self.model._base_manager.using(using).filter(uid__in=[endpoint.uid for endpoint in objs])
            begin_health(list(rows), using=using)
        return created


def announce_switch(endpoint_id: int, *, was_active: bool, is_active: bool, using: str) -> None:
    """Record the time if an endpoint was switched off; send ``endpoint_activated`` if it was switched on.

    Call it in the transaction of the change.
    """
    if was_active and not is_active:
        EndpointHealth.objects.using(using).filter(pk=endpoint_id).update(inactive_since=DbNow())
    elif is_active and not was_active:
        endpoint_activated.send(sender=ClientEndpoint, endpoint_id=endpoint_id, using=using)


class ClientEndpoint(EndpointCredentials, EndpointAudience):
    """An https address of a client, to which every profile is pushed.

    Credentials are write-only: assign them as text. Only the code that makes requests calls ``reveal()``.
    """

    name: Text = IdField(_("name"), max_length=100, unique=True, validators=[validators.readable])
    url: Text = EndpointUrlField(
        "URL", max_length=2048, help_text=_("Must begin with https://. Profiles are sent there by POST.")
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_(
            "While it is off nothing is recorded for this endpoint; "
            "switching it on sends the current state of every profile that changed meanwhile."
        ),
    )
    disabled_reason: Text = MessageField(_("reason for disabling"))
    contact_email = models.EmailField(
        _("contact"),
        blank=True,
        default="",
        help_text=_("Gets a notice when this endpoint fails, is disabled or recovers."),
    )

    extra_headers: TextByName = CheckedJSONField(
        _("extra headers"),
        validators=[validators.extra_headers],
        default=dict,
        blank=True,
        help_text=_('Static headers, such as {"X-Source": "loyalty"}. They are kept in plain text: no secrets here.'),
    )

    capture_third_party_id = models.BooleanField(
        _("third-party ID synchronization"),
        default=False,
        help_text=_(
            "Store the third_party_id of each answer with the member. "
            "The answer must then carry one. Only without authentication, and on one active endpoint."
        ),
    )
    # 1 for an active endpoint that captures ids, else null. The unique constraint on it allows only one such endpoint,
    # because a profile has one third-party id.
    capture_marker: GeneratedNumber = models.GeneratedField(
        expression=Case(When(is_active=True, capture_third_party_id=True, then=Value(1)), default=None),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    ordering = models.CharField(_("ordering"), max_length=12, choices=Ordering.choices, default=Ordering.IN_ORDER)
    retry_policy = models.CharField(
        _("retry policy"),
        max_length=50,
        default=retry.CROWDTWIST.name,
        validators=[validators.retry_policy],
        help_text=_("crowdtwist: five times an hour for up to eight hours. Others: standard_webhooks, or your own."),
    )
    max_in_flight = models.PositiveSmallIntegerField(
        _("requests at the same time"), default=8, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    rate_limit_per_second = models.FloatField(
        _("requests per second"), null=True, blank=True, validators=[MinValueValidator(0.001)]
    )

    timeframe_score_alias = models.BooleanField(
        _("also send timeframe_score"),
        default=False,
        help_text=_("tierInfo carries timeframe_score beside timeframeScore, with the same value."),
    )
    null_levels_as_objects = models.BooleanField(
        _("empty object instead of a null level"),
        default=False,
        help_text=_("Where nextLevel would be null, an object whose three members are null is sent."),
    )
    mobile_verified_as_date = models.BooleanField(
        _("date of mobile verification"),
        default=False,
        help_text=_("dateMobileVerified carries epoch seconds instead of 1."),
    )
    withheld_fields: TextList = CheckedJSONField(
        _("withheld fields"),
        validators=[validators.withheld_fields],
        default=list,
        blank=True,
        help_text=_('Top-level keys sent as null to this endpoint, such as ["dateOfBirth"].'),
    )
    only_changes = models.BooleanField(
        _("only changes"),
        default=False,
        help_text=_("Do not send an update whose body holds nothing new for this endpoint."),
    )
    ignored_keys: TextList = CheckedJSONField(
        _("ignored keys"),
        validators=[validators.ignored_keys],
        default=ignored_by_default,
        blank=True,
        help_text=_('With “only changes”: top-level keys whose change alone is not sent, such as ["dateLastLogin"].'),
    )
    # The digests of accepted bodies contain it. A new version makes all earlier digests of the endpoint void.
    content_version: WholeNumber = models.BigIntegerField(default=new_version, editable=False)
    # Workers keep endpoints in memory. A worker starts an attempt only if it has read this version of the row.
    version: WholeNumber = VersionField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ClientEndpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("client endpoint")
        verbose_name_plural = _("client endpoints")
        ordering = ["name"]
        permissions = [
            ("send_test_push", _("Can send a test push")),
            ("pause_clientendpoint", _("Can pause and resume client endpoints")),
            ("change_endpoint_credentials", _("Can change credentials and signing secrets")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(url__startswith="https://"),
                name="live_push_https_only",
                violation_error_message=_("The URL must begin with https://."),
            ),
            models.CheckConstraint(
                condition=Q(auth_method=AuthMethod.BASIC) | Q(username="", password__isnull=True),
                name="live_push_basic_credentials",
                violation_error_message=_("User name and password belong to Basic authentication only: clear them."),
            ),
            models.CheckConstraint(
                condition=Q(auth_method=AuthMethod.API_KEY) | Q(api_key__isnull=True),
                name="live_push_api_key_credentials",
                violation_error_message=_("An API key belongs to API key authentication only: clear it."),
            ),
            models.CheckConstraint(
                condition=Q(capture_third_party_id=False) | Q(auth_method=AuthMethod.NONE),
                name="live_push_capture_without_auth",
                violation_error_message=_("Third-party ID synchronization is available without authentication only."),
            ),
            # Not unique=True: Django reads a unique field when it validates, but a generated field has no value before
            # the row is saved.
            models.UniqueConstraint(
                fields=["capture_marker"],
                name="live_push_one_capturing_endpoint",
                violation_error_message=_("Another active endpoint synchronizes the third-party ID."),
            ),
            models.CheckConstraint(condition=Q(max_in_flight__gte=1), name="live_push_max_in_flight_positive"),
            models.CheckConstraint(
                condition=Q(rate_limit_per_second__isnull=True) | Q(rate_limit_per_second__gt=0),
                name="live_push_rate_limit_positive",
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)

    @property
    def origin(self) -> str:
        """The URL's scheme, host and port, to which the credentials are bound."""
        return endpoint_url.origin(self.url)

    @property
    def options(self) -> PayloadOptions:
        """The options of this endpoint that change its payloads."""
        return PayloadOptions(
            timeframe_score_alias=self.timeframe_score_alias,
            null_levels_as_objects=self.null_levels_as_objects,
            mobile_verified_as_date=self.mobile_verified_as_date,
            withheld_fields=tuple(self.withheld_fields),
        )

    @property
    def policy(self) -> retry.Policy:
        """The retry policy in force. If the settings no longer define the endpoint's policy, the default one."""
        try:
            return retry.policy(self.retry_policy, conf.current().RETRY_POLICIES)
        except ValueError as error:
            logger.error("Endpoint %s is retried by %s. %s", self.pk, retry.CROWDTWIST.name, error)  # noqa: TRY400
            return retry.CROWDTWIST

    def save(
        self, *args: Any, using: str | None = None, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        names = None if update_fields is None else set(update_fields)
        if names == set():
            # With an empty list of fields, Django writes nothing.
            return
        if names is not None:
            names.add("version")
        # Leave deferred columns out, because this save does not change them.
        written = {name for name in self.__dict__ if names is None or name in names}
        using = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            rows = ClientEndpoint.objects.using(using).filter(pk=self.pk)
            columns = ("is_active", "audience", "content_version", *CREDENTIALS, *DECIDE_CONTENT)
            stored = locked(rows).values(*columns).first()
            self.keep_audience(stored, names)
            if "url" in written and (stored is None or stored["url"] != self.url):
                # Check the URL also without full_clean(), except for ports and networks: they depend on the settings of
                # the process that sends, which checks them.
                self._normalise_url(allowed_ports=None, addresses=None)
            if self.date_credentials(stored or {}, using=using, written=written) and names is not None:
                names.add("credentials_changed_at")
            if stored is not None and renew_content_version(self, stored, written) and names is not None:
                names.add("content_version")
            super().save(*args, using=using, update_fields=names, **kwargs)
            if stored is None:
                begin_health([self], using=using)
                return
            if written & DECIDE_CREDENTIALS:
                self._note_credentials(using=using)
            if "audience" in written and stored["audience"] != self.audience:
                note_change([self.pk], is_wider=self.audience == Audience.ALL, using=using)
            if "is_active" in written:
                announce_switch(self.pk, was_active=stored["is_active"], is_active=self.is_active, using=using)

    def _note_credentials(self, *, using: str) -> None:
        problem = self.credentials_problem()
        noted = EndpointHealth.objects.using(using).filter(pk=self.pk, needs_credentials=problem == "")
        if noted.update(needs_credentials=problem != ""):
            credentials_changed.send(sender=ClientEndpoint, endpoint_id=self.pk, problem=problem, using=using)

    def refuse_nonsense(self) -> None:
        """Like ``full_clean()``, but add the endpoint's name to the error."""
        try:
            self.full_clean()
        except ValidationError as error:
            error.add_note(f"This is about the endpoint {self.name!r}.")
            raise

    def _normalise_url(self, **rule: Any) -> None:
        try:
            self.url = endpoint_url.check(self.url, **rule)
        except EndpointUrlError as error:
            raise ValidationError({"url": validation_error(message_of(error))}) from None

    def clean(self) -> None:
        super().clean()
        problems: dict[str, Any] = dict(self.login_problems(must_be_readable=self.is_active))
        if self.capture_third_party_id and self.auth_method != AuthMethod.NONE:
            problems["capture_third_party_id"] = _(
                "Third-party ID synchronization is available without authentication only. Switch one of them off."
            )
        if problems:
            raise ValidationError(problems)
        self._refuse_second_capture()

    def _refuse_second_capture(self) -> None:
        if not (self.capture_third_party_id and self.is_active):
            return
        # Not from a replica, which may not have the other endpoint yet.
        stored = ClientEndpoint.objects.using(router.db_for_write(ClientEndpoint, instance=self))
        other = stored.active().filter(capture_third_party_id=True).exclude(pk=self.pk).first()
        if other is not None:
            raise ValidationError(
                {
                    "capture_third_party_id": _(
                        "Endpoint “%(name)s” already synchronizes the third-party ID, and a member has only one. "
                        "Switch it off there first."
                    )
                    % {"name": other.name}
                }
            )


def begin_health(endpoints: Sequence[ClientEndpoint], *, using: str) -> None:
    """Create the health rows of new endpoints. Without a health row, no worker claims an endpoint's deliveries."""
    problems = {endpoint.pk: endpoint.credentials_problem() for endpoint in endpoints}
    EndpointHealth.objects.using(using).bulk_create(
        EndpointHealth(
            endpoint_id=endpoint.pk,
            inactive_since=None if endpoint.is_active else DbNow(),
            needs_credentials=problems[endpoint.pk] != "",
        )
        for endpoint in endpoints
    )
    for pk, problem in problems.items():
        if problem:
            credentials_changed.send(sender=ClientEndpoint, endpoint_id=pk, problem=problem, using=using)
