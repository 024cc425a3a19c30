"""The receivers for Django's signals and for our own.

They react to saves and deletions of profiles, memberships, endpoints and users, and to what ``models/`` and ``tiers/``
announce with a signal because they may not import the outbox or the engines. Each receiver calls the outbox in the
transaction of the change, and the engine is woken after its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from django.apps import AppConfig
from django.apps import apps as installed
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import (
    ModelSignal,
    class_prepared,
    post_delete,
    post_migrate,
    post_save,
    pre_delete,
    pre_save,
)
from django.dispatch import receiver

from . import engines
from .engines import autostart
from .models import ClientEndpoint, EndpointHealth, PushTrigger, TierMembership, UserProfile, linked_user, sequences
from .models.clock import DbNow
from .models.databases import lives_in
from .models.endpoints import begin_health
from .models.transactions import after_commit
from .models.version_column import new_version
from .outbox import announce, erase, record, reopen, snapshots
from .signals import credentials_changed, endpoint_activated, profiles_changed
from .tiers import service as tiers

USER_COLUMNS = ("user", "user_id")
"""The names that ``update_fields`` may contain for the reference to the user."""

R = TypeVar("R", bound=Callable[..., None])


def connect_with_subclasses(signal: ModelSignal, model: type[Model]) -> Callable[[R], R]:
    """Like ``receiver()``, but also connects subclasses, because Django sends a proxy's signals under the proxy class.

    Subclasses that are defined later are connected, too. Senders are connected one by one: a receiver without a sender
    would be called for every model, and a delete receiver without a sender disables Django's fast deletes.
    """

    def connect(function: R) -> R:
        uid = f"live_push.{function.__name__}"

        def connect_sender(sender: type[Model], **kwargs: Any) -> None:
            if issubclass(sender, model):
                signal.connect(function, sender=sender, dispatch_uid=uid)

        for sender in installed.get_models():
            connect_sender(sender)
        class_prepared.connect(connect_sender, weak=False, dispatch_uid=uid)
        return function

    return connect


def _record(profile_ids: Sequence[int], trigger: str, *, using: str, is_stepped: bool = False) -> None:
    """Record pushes for changed profiles in the transaction of the change, and wake the engine after its commit."""
    wake = partial(engines.wake, using)
    record.record(profile_ids, trigger, using=using, after_commit=wake, is_stepped=is_stepped)


@connect_with_subclasses(post_save, UserProfile)
def profile_saved(
    instance: UserProfile,
    created: bool,
    raw: bool,
    using: str,
    update_fields: frozenset[str] | None,
    **kwargs: Any,
) -> None:
    """Record a push for a saved profile. Loading a fixture (``raw``) records none.

    The data of a fixture was pushed when it was created, and the related rows may not be loaded yet.
    """
    if raw:
        return
    if instance.user_id is not None and _is_linked_now(instance, update_fields):
        _copy_user(instance, using=using)
    # A save that bypasses ours, such as save_base(), may name fields without the sequence.
    is_stepped = update_fields is None or not update_fields.isdisjoint(sequences.STEP)
    if created:
        _created([instance.pk], using=using, is_stepped=is_stepped)
    else:
        _record([instance.pk], PushTrigger.UPDATED, using=using, is_stepped=is_stepped)


def _is_linked_now(profile: UserProfile, update_fields: frozenset[str] | None) -> bool:
    is_written = update_fields is None or not update_fields.isdisjoint(USER_COLUMNS)
    return profile.is_changed_here("user_id") and is_written


def _copy_user(profile: UserProfile, *, using: str) -> None:
    change = linked_user.changed_by_link(profile.pk, using=using)
    if change is not None:
        linked_user.write(change, using=using)
        vars(profile).update(change.values)


@receiver(profiles_changed, dispatch_uid="live_push.profiles_changed")
def profiles_announced(profile_ids: list[int], trigger: str, using: str, **kwargs: Any) -> None:
    """Record pushes for the profiles that a queryset or the tier rules changed."""
    if trigger == PushTrigger.CREATED:
        _created(profile_ids, using=using)
    else:
        _record(profile_ids, trigger, using=using)


def _created(profile_ids: list[int], *, using: str, is_stepped: bool = False) -> None:
    tiers.start_members(profile_ids, using=using)
    _record(profile_ids, PushTrigger.CREATED, using=using, is_stepped=is_stepped)


@connect_with_subclasses(post_save, TierMembership)
def membership_saved(instance: TierMembership, raw: bool, using: str, **kwargs: Any) -> None:
    """Record a push for the member whose tier changed."""
    if not raw:
        _record([instance.profile_id], PushTrigger.TIER, using=using)


@connect_with_subclasses(post_delete, TierMembership)
def membership_deleted(instance: TierMembership, using: str, origin: Any, **kwargs: Any) -> None:
    """Record a push for the member who lost a tier, unless the profile itself is being deleted."""
    deleted_model = origin.model if isinstance(origin, QuerySet) else type(origin)
    if not issubclass(deleted_model, UserProfile):
        _record([instance.profile_id], PushTrigger.TIER, using=using)


@connect_with_subclasses(pre_delete, UserProfile)
def profile_deleted(sender: type[UserProfile], instance: UserProfile, using: str, **kwargs: Any) -> None:
    """Erase the member's data from the delivery log, in the transaction that deletes the profile."""
    if sender._meta.concrete_model is not UserProfile:
        # The row of a child model. If the profile is deleted with it, the signal of the profile follows.
        return
    erase.erase([instance.pk], using=using)


@connect_with_subclasses(pre_save, get_user_model())
def user_is_saved(instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """Remember the stored values of a user before the save, for :func:`user_saved`."""
    if not raw and lives_in(UserProfile, using):
        linked_user.remember(instance, update_fields, columns=snapshots.serializer_columns(), using=using)


@connect_with_subclasses(post_save, get_user_model())
def user_saved(instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """Copy what the save changed to the linked member, and record a push for the member.

    In autocommit mode Django has already committed the user's row. The member's values and the push are then written
    in a transaction of their own.
    """
    if raw or not lives_in(UserProfile, using):
        return
    change = linked_user.changed_by_save(instance, update_fields, columns=snapshots.serializer_columns(), using=using)
    if change is None:
        return
    with transaction.atomic(using=using, savepoint=False):
        linked_user.write(change, using=using)
        _record([change.profile_id], PushTrigger.USER, using=using, is_stepped=True)


@connect_with_subclasses(post_save, ClientEndpoint)
def endpoint_loaded(instance: ClientEndpoint, raw: bool, using: str, **kwargs: Any) -> None:
    """Add the health row of an endpoint that was loaded from a fixture.

    A fixture bypasses ``save()`` and may lack the health row. An endpoint without one is never claimed.
    """
    if not raw:
        return
    # A fixture also brings a version of its own, which workers may have read already.
    ClientEndpoint.objects.using(using).filter(pk=instance.pk).update()
    if not EndpointHealth.objects.using(using).filter(pk=instance.pk).exists():
        begin_health([instance], using=using)


@receiver(post_migrate, dispatch_uid="live_push.migrated")
def endpoints_of_migrations_get_health(app_config: AppConfig, using: str, apps: Any = None, **kwargs: Any) -> None:
    """Add the health rows of endpoints that a data migration created, because migrations bypass our ``save()``."""
    if app_config.label != "live_push" or apps is None:
        return
    try:
        # The historical models: the tables may be older than the code.
        endpoints, healths = apps.get_model("live_push.ClientEndpoint"), apps.get_model("live_push.EndpointHealth")
    except LookupError:
        return
    if router.allow_migrate_model(using, endpoints):
        endpoints._default_manager.using(using).update(version=new_version())
        new = endpoints._default_manager.using(using).filter(health=None).values_list("pk", "is_active")
        healths._default_manager.using(using).bulk_create(
            healths(endpoint_id=pk, inactive_since=None if is_active else DbNow()) for pk, is_active in new
        )


@receiver(endpoint_activated, dispatch_uid="live_push.endpoint_activated")
def endpoint_switched_on(endpoint_id: int, using: str, **kwargs: Any) -> None:
    """Resend what an endpoint missed while it was inactive, in the transaction that activates it."""
    reopen.reactivate(endpoint_id, using=using)
    after_commit(engines.wake, using, using=using)


@receiver(credentials_changed, dispatch_uid="live_push.credentials_changed")
def endpoint_credentials_changed(endpoint_id: int, problem: str, using: str, **kwargs: Any) -> None:
    """Announce after the commit that an endpoint's secrets became unreadable or readable."""
    after_commit(partial(announce.announce_credentials, endpoint_id, problem, using=using), using=using)


@receiver(request_started, dispatch_uid="live_push.request_started")
def first_request(**kwargs: Any) -> None:
    """Start the worker thread of this process if the settings ask for one and it is not running."""
    # With wrong settings nothing can be sent, so nothing is started. All our functions raise that error, but the pages
    # of the host project must not fail because of it.
    with suppress(ImproperlyConfigured, ImportError):
        autostart.start_if_wanted()
