"""Where a client wants its pushes, and how that place is doing."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, router, transaction
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy as _

from live_push import conf, endpoint_url
from live_push.concealed import Masked
from live_push.contract import headers
from live_push.contract.payload import PayloadOptions, check_withheld
from live_push.delivery import retry
from live_push.delivery.breaker import Breaker
from live_push.exceptions import EndpointUrlError, PayloadError, SecretMisuse, SecretUnreadable
from live_push.fields import EncryptedTextField
from live_push.ids import as_id
from live_push.signals import credentials_changed, endpoint_activated

from . import credentials
from .clock import DbNow
from .columns import IdField, readable
from .locking import locked

logger = logging.getLogger("live_push.models")


class AuthMethod(models.TextChoices):
    """How we log in at the client's endpoint."""

    NONE = "none", _("no authentication")
    BASIC = "basic", _("Basic: user name and password")
    API_KEY = "api_key", _("API key in the header x-api-key")


class Ordering(models.TextChoices):
    """What happens to an older update of a profile when a newer one exists."""

    IN_ORDER = "in_order", _("in order: an update whose attempt failed gives way to a newer one")
    LATEST_ONLY = "latest_only", _("latest only: a newer update replaces one that was not accepted yet")
    STRICT = "strict", _("strict: every update, and the next waits until the older one ended")


SECRET_COLUMNS = frozenset({"password", "api_key", "signing_secret", "previous_signing_secret"})


class ClientEndpointQuerySet(models.QuerySet["ClientEndpoint"]):
    def active(self) -> ClientEndpointQuerySet:
        """Those that pushes are recorded for."""
        return self.filter(is_active=True)

    def named(self, words: Iterable[str]) -> ClientEndpointQuerySet:
        """Those whose unique name, or else whose id, is among the words."""
        words = list(words)
        ids = [pk for pk in map(as_id, words) if pk is not None]
        return self.filter(Q(name__in=words) | Q(pk__in=ids))

    def update(self, **kwargs: Any) -> int:
        for name in kwargs.keys() & SECRET_COLUMNS:
            raise SecretMisuse(f"{name} is a secret: assign it to an instance and save(); update() can't encrypt.")
        if "is_active" not in kwargs:
            return super().update(**kwargs)
        with transaction.atomic(using=self.db, savepoint=False):
            others = self.model._base_manager.using(self.db).filter(pk__in=self.order_by().values("pk"))
            before = dict(locked(others).order_by("pk").values_list("pk", "is_active"))
            rows = super(ClientEndpointQuerySet, self.filter(pk__in=before)).update(**kwargs)
            for pk, was_active in before.items():
                announce_switch(pk, was_active=was_active, is_active=bool(kwargs["is_active"]), using=self.db)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[ClientEndpoint], *args: Any, **kwargs: Any) -> list[ClientEndpoint]:
        """All or none: each is validated as a form would, because no ``save()`` sees it, and gets its health row.

        Raises ``ValidationError``, with the name of the endpoint as a note, and ``ValueError`` for the options that
        meet conflicts: a secret is bound to the row that it was encrypted for.
        """
        if args[1:] or kwargs.keys() - {"batch_size"}:
            raise ValueError("Endpoints can't be created over existing ones: get() those that exist, and save() them.")
        objs = list(objs)
        with transaction.atomic(using=self.db, savepoint=False):
            for endpoint in objs:
                endpoint.refuse_nonsense()
                credentials.date(endpoint, {}, using=self.db)
            created = super().bulk_create(objs, *args, **kwargs)
            # Not every database tells the ids.
            rows = self.model._base_manager.using(self.db).filter(uid__in=[endpoint.uid for endpoint in objs])
            begin_health(list(rows), using=self.db)
        return created


def announce_switch(endpoint_id: int, *, was_active: bool, is_active: bool, using: str) -> None:
    """Note when an endpoint is switched off; announce when it is switched on again, in the same transaction."""
    if was_active and not is_active:
        EndpointHealth.objects.using(using).filter(pk=endpoint_id).update(inactive_since=DbNow())
    elif is_active and not was_active:
        endpoint_activated.send(sender=ClientEndpoint, endpoint_id=endpoint_id, using=using)


class ClientEndpoint(models.Model):
    """An https address of a client's that every profile is pushed to.

    Credentials are write-only: set them as text, ``reveal()`` is for the one place that sends.
    """

    # Given in Python before the first insert, because secrets are bound to it.
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = IdField(_("name"), max_length=100, unique=True, validators=[readable])
    url = models.CharField(
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
    disabled_reason = models.CharField(_("reason for disabling"), max_length=200, blank=True, default="")
    contact_email = models.EmailField(
        _("contact"),
        blank=True,
        default="",
        help_text=_("Gets a notice when this endpoint fails, is disabled or recovers."),
    )

    auth_method = models.CharField(
        _("authentication"), max_length=10, choices=AuthMethod.choices, default=AuthMethod.NONE
    )
    username = models.CharField(_("user name"), max_length=255, blank=True, default="")
    password = EncryptedTextField(_("password"), bound_to=("uid", "origin"))
    api_key = EncryptedTextField(_("API key"), bound_to=("uid", "origin"))
    # Of the password or the key: null where none is stored, or since when is not known.
    credentials_changed_at = models.DateTimeField(null=True, blank=True, editable=False)
    signing_secret = EncryptedTextField(_("signing secret"), bound_to=("uid",))
    previous_signing_secret = EncryptedTextField(_("previous signing secret"), bound_to=("uid",))
    previous_signing_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    extra_headers = models.JSONField(
        _("extra headers"),
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
    # Unique where set: the profile has one id, so two active endpoints must not fight over it.
    capture_marker = models.GeneratedField(
        expression=Case(When(is_active=True, capture_third_party_id=True, then=Value(1)), default=None),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    ordering = models.CharField(_("ordering"), max_length=12, choices=Ordering.choices, default=Ordering.IN_ORDER)
    retry_policy = models.CharField(
        _("retry policy"),
        max_length=50,
        default=retry.CROWDTWIST.name,
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
    withheld_fields = models.JSONField(
        _("withheld fields"),
        default=list,
        blank=True,
        help_text=_('Top-level keys sent as null to this endpoint, such as ["dateOfBirth"].'),
    )
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
            # Not unique=True: Django reads a unique field when it validates, and a generated one has no value before.
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
        """Scheme, host and port, as credentials are bound to them."""
        return endpoint_url.origin(self.url)

    @property
    def options(self) -> PayloadOptions:
        """What this endpoint wants different in its payloads."""
        return PayloadOptions(
            timeframe_score_alias=self.timeframe_score_alias,
            null_levels_as_objects=self.null_levels_as_objects,
            mobile_verified_as_date=self.mobile_verified_as_date,
            withheld_fields=tuple(self.withheld_fields),
        )

    @property
    def policy(self) -> retry.Policy:
        """The retry policy in force: that of the promise where the one it names has gone from the settings."""
        try:
            return retry.policy(self.retry_policy, conf.current().RETRY_POLICIES)
        except ValueError as error:
            logger.error("Endpoint %s is retried by %s. %s", self.pk, retry.CROWDTWIST.name, error)  # noqa: TRY400
            return retry.CROWDTWIST

    def reveal(self, name: str) -> Masked | None:
        """The text of a secret column; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        field: EncryptedTextField = self._meta.get_field(name)  # type: ignore[assignment]
        return field.reveal(self)

    def auth(self) -> headers.Auth:
        """The credentials for the request; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        if self.auth_method == AuthMethod.BASIC:
            return headers.Auth.basic(self.username, self.reveal("password") or "")
        if self.auth_method == AuthMethod.API_KEY:
            key = self.reveal("api_key")
            if key is None:
                raise SecretUnreadable("This endpoint has no API key yet. Enter it.")
            return headers.Auth.api_key(key)
        return headers.Auth.none()

    def signing_secrets(self, at: datetime) -> list[str]:
        """The secrets that sign a request made then, newest first: none, one, or two while a rotation overlaps."""
        secrets = [self.reveal("signing_secret")]
        if self.previous_signing_secret_until is not None and at < self.previous_signing_secret_until:
            secrets.append(self.reveal("previous_signing_secret"))
        return [secret for secret in secrets if secret]

    def credentials_problem(self) -> str:
        """Why its secrets can't be read, in a sentence for operators; empty where they can."""
        try:
            self.auth()
            self.reveal("signing_secret")
            self.reveal("previous_signing_secret")
        except SecretUnreadable as error:
            return str(error)
        except ValueError:
            # They can be read but not sent; each attempt will say why.
            return ""
        return ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            rows = ClientEndpoint.objects.using(using).filter(pk=self.pk)
            stored = locked(rows).values("is_active", "url", *credentials.CREDENTIALS).first()
            written = kwargs.get("update_fields")
            if (stored is None or stored["url"] != self.url) and (written is None or "url" in written):
                # A script that forgets full_clean() meets the rule too, but for ports and networks: whoever saves may
                # have other settings than whoever sends, and is asked there.
                self._normalise_url(allowed_ports=None, private_allowed=True)
            if credentials.date(self, stored or {}, using=using, written=written) and written is not None:
                kwargs["update_fields"] = {*written, credentials.DATE}
            super().save(*args, **kwargs)
            if stored is None:
                begin_health([self], using=using)
            else:
                self._note_credentials(using=using)
                announce_switch(self.pk, was_active=stored["is_active"], is_active=self.is_active, using=using)

    def _note_credentials(self, *, using: str) -> None:
        problem = self.credentials_problem()
        noted = EndpointHealth.objects.using(using).filter(pk=self.pk, needs_credentials=problem == "")
        if noted.update(needs_credentials=problem != ""):
            credentials_changed.send(sender=ClientEndpoint, endpoint_id=self.pk, problem=problem, using=using)

    def refuse_nonsense(self) -> None:
        """``full_clean()`` that says which endpoint it is about."""
        try:
            self.full_clean()
        except ValidationError as error:
            error.add_note(f"This is about the endpoint {self.name!r}.")
            raise

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Normalises the URL before the other rules look at it."""
        excluded = set(exclude or ())
        if "url" not in excluded and self.url:
            settings = conf.current()
            self._normalise_url(
                allowed_ports=settings.ALLOWED_PORTS, private_allowed=bool(settings.ALLOWED_PRIVATE_NETWORKS)
            )
        super().clean_fields(exclude=exclude)

    def _normalise_url(self, **rule: Any) -> None:
        try:
            self.url = endpoint_url.check(self.url, **rule)
        except EndpointUrlError as error:
            raise ValidationError({"url": str(error)}) from None

    def clean(self) -> None:
        super().clean()
        problems: dict[str, str] = {}
        self._judge("extra_headers", lambda: headers.check_extra_headers(_object(self.extra_headers)), problems)
        self._judge("withheld_fields", lambda: check_withheld(_texts(self.withheld_fields)), problems)
        self._judge("retry_policy", lambda: retry.policy(self.retry_policy, conf.current().RETRY_POLICIES), problems)
        self._judge_credentials(problems)
        if problems:
            raise ValidationError(problems)
        self._refuse_second_capture()

    @staticmethod
    def _judge(name: str, rule: Any, problems: dict[str, str]) -> None:
        try:
            rule()
        except (ValueError, PayloadError) as error:
            problems[name] = str(error)

    def _judge_credentials(self, problems: dict[str, str]) -> None:
        basic, api_key = self.auth_method == AuthMethod.BASIC, self.auth_method == AuthMethod.API_KEY
        if not basic and (self.username or self.password is not None):
            problems["auth_method"] = str(
                _("User name and password are set, but the method is not Basic. Clear them, or choose Basic.")
            )
        elif not api_key and self.api_key is not None:
            problems["auth_method"] = str(
                _("An API key is set, but the method is not API key. Clear it, or choose API key.")
            )
        elif basic and not self.username:
            problems["auth_method"] = str(_("Basic needs a user name. Enter the one that the client gave."))
        elif self.capture_third_party_id and self.auth_method != AuthMethod.NONE:
            problems["capture_third_party_id"] = str(
                _("Third-party ID synchronization is available without authentication only. Switch one of them off.")
            )
        try:
            if basic:
                headers.check_basic(self.username, self.reveal("password") or "")
            elif api_key:
                headers.check_api_key(self.reveal("api_key") or "")
        except SecretUnreadable as error:
            # Whoever lost a key must still be able to switch the endpoint off.
            if self.is_active:
                problems["auth_method"] = str(error)
        except ValueError as error:
            problems.setdefault("auth_method", str(error))

    def _refuse_second_capture(self) -> None:
        if not (self.capture_third_party_id and self.is_active):
            return
        other = ClientEndpoint.objects.active().filter(capture_third_party_id=True).exclude(pk=self.pk).first()
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


def _object(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"Extra headers are one JSON object of texts; found {type(value).__name__}.")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("Withheld fields are a JSON list of the body's top-level keys.")
    return value


BREAKER_STATES = {
    "closed": _("closed: it is tried"),
    "open": _("open: it rests, then is probed"),
    "half_open": _("half-open: one probe is under way"),
}


class EndpointHealth(models.Model):
    """How an endpoint is doing, for all workers; its row is the lock under which the endpoint's work is shared out.

    A table of its own, so that saving an endpoint's form never writes an old state back.
    """

    endpoint = models.OneToOneField(ClientEndpoint, on_delete=models.CASCADE, primary_key=True, related_name="health")
    breaker_state = models.CharField(max_length=10, choices=BREAKER_STATES, default="closed")
    failures_in_row = models.PositiveIntegerField(default=0)
    rest_seconds = models.PositiveIntegerField(default=0)
    # The breaker's rest, the client's own wish for rest, or the probe's lease.
    rests_until = models.DateTimeField(null=True, blank=True)
    # Whose push the last probe was.
    probe_profile_id = models.BigIntegerField(null=True, blank=True)
    # Leased places on the wire: worker to [count, leased until, epoch seconds].
    slots = models.JSONField(default=dict, blank=True)
    # Requests that may start at once, as of rate_at.
    rate_allowance = models.FloatField(default=0)
    rate_at = models.DateTimeField(null=True, blank=True)
    needs_credentials = models.BooleanField(default=False)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_failure_at = models.DateTimeField(null=True, blank=True)
    # First failure since the last success.
    failing_since = models.DateTimeField(null=True, blank=True)
    failing_noticed_at = models.DateTimeField(null=True, blank=True)

    inactive_since = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    # The last look for changes that were under way at the activation and so neither side could see.
    caught_up_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("endpoint health")
        verbose_name_plural = _("endpoint health")

    def __str__(self) -> str:
        return f"{self.endpoint_id}: {self.breaker_state}"

    @property
    def breaker(self) -> Breaker:
        """The breaker's state as the pure rules take it; assign what they return."""
        return Breaker(self.breaker_state, self.failures_in_row, self.rest_seconds, self.rests_until)  # type: ignore[arg-type]

    @breaker.setter
    def breaker(self, breaker: Breaker) -> None:
        self.breaker_state, self.failures_in_row = breaker.state, breaker.failures_in_row
        self.rest_seconds, self.rests_until = breaker.rest_seconds, breaker.rests_until


def begin_health(endpoints: Sequence[ClientEndpoint], *, using: str) -> None:
    """Make the health rows of endpoints that are new: without one an endpoint is never claimed."""
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


class Confirmation(models.Model):
    """What an endpoint has accepted of a profile: the newest sequence, when, and the digest of its snapshot.

    It outlives the deliveries it came from.
    """

    # No constraints: checking them would lock these rows after the delivery's, against the order of all others.
    endpoint = models.ForeignKey(
        ClientEndpoint, on_delete=models.CASCADE, related_name="confirmations", db_index=False, db_constraint=False
    )
    profile = models.ForeignKey(
        "live_push.UserProfile", on_delete=models.CASCADE, related_name="confirmations", db_constraint=False
    )
    sequence = models.BigIntegerField()
    confirmed_at = models.DateTimeField()
    digest = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("confirmation")
        verbose_name_plural = _("confirmations")
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "profile"], name="live_push_one_confirmation_per_pair"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id}/{self.profile_id}: {self.sequence}"
