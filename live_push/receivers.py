"""What we hear: saves and deletions of profiles, memberships and auth users, and what the lower rooms announce."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.signals import request_started
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import ModelSignal, class_prepared, post_delete, post_save, pre_delete
from django.dispatch import receiver

from . import api, conf
from .delivery import notices
from .engines import autostart
from .models import ClientEndpoint, EndpointHealth, PushTrigger, TierMembership, UserProfile
from .models.commits import after_commit
from .models.endpoints import begin_health
from .signals import credentials_changed, endpoint_activated, profiles_changed
from .tiers import service as tiers

Hearer = TypeVar("Hearer", bound=Callable[..., None])


def heard(signal: ModelSignal, model: type[Model]) -> Callable[[Hearer], Hearer]:
    """Like ``receiver()``, for a model and each that is made from it: a proxy is a sender of its own.

    Each by its name, because a deletion that anybody may hear of is a slow one.
    """

    def connect(function: Hearer) -> Hearer:
        def listen(sender: type[Model], **kwargs: Any) -> None:
            if issubclass(sender, model):
                signal.connect(function, sender=sender, dispatch_uid=f"live_push.{function.__name__}")

        for known in apps.get_models():
            listen(known)
        class_prepared.connect(listen, weak=False, dispatch_uid=f"live_push.{function.__name__}")
        return function

    return connect


@heard(post_save, UserProfile)
def profile_saved(instance: UserProfile, created: bool, raw: bool, using: str, **kwargs: Any) -> None:
    """Fixtures (``raw``) push nothing: what they load was pushed when it was made, or is half loaded yet."""
    if raw:
        return
    if created:
        if instance.user_id is not None:
            _follow(instance.pk, instance.user, using=using)
        _created([instance.pk], using=using)
    else:
        api.record_change([instance.pk], PushTrigger.UPDATED, using=using)


@receiver(profiles_changed, dispatch_uid="live_push.profiles_changed")
def profiles_announced(profile_ids: list[int], trigger: str, using: str, **kwargs: Any) -> None:
    if trigger == PushTrigger.CREATED:
        _created(profile_ids, using=using)
    else:
        api.record_change(profile_ids, trigger, using=using)


def _created(profile_ids: list[int], *, using: str) -> None:
    tiers.start(profile_ids, using=using)
    api.record_change(profile_ids, PushTrigger.CREATED, using=using)


@heard(post_save, TierMembership)
def membership_saved(instance: TierMembership, raw: bool, using: str, **kwargs: Any) -> None:
    if not raw:
        api.record_change([instance.profile_id], PushTrigger.TIER, using=using)


@heard(post_delete, TierMembership)
def membership_deleted(instance: TierMembership, using: str, origin: Any, **kwargs: Any) -> None:
    # Where the profile itself is going, there is nothing left to push.
    going = origin.model if isinstance(origin, QuerySet) else type(origin)
    if not issubclass(going, UserProfile):
        api.record_change([instance.profile_id], PushTrigger.TIER, using=using)


@heard(pre_delete, UserProfile)
def profile_deleted(instance: UserProfile, using: str, **kwargs: Any) -> None:
    api.erase([instance.pk], using=using)


@receiver(post_save, dispatch_uid="live_push.user_saved")
def user_saved(sender: type, instance: Any, raw: bool, using: str, **kwargs: Any) -> None:
    """Saving the linked auth user copies its values and pushes.

    The user's save is not ours: in autocommit its row is committed before this runs.
    """
    # A proxy of the user model is a sender of its own.
    if raw or not issubclass(sender, get_user_model()):
        return
    with transaction.atomic(using=using, savepoint=False):
        profile_id = UserProfile._base_manager.using(using).filter(user=instance).values_list("pk", flat=True).first()
        if profile_id is not None:
            _follow(profile_id, instance, using=using)
            api.record_change([profile_id], PushTrigger.USER, using=using)


def _follow(profile_id: int, user: Any, *, using: str) -> None:
    values = {name: getattr(user, source) for name, source in conf.current().USER_FIELDS.items()}
    UserProfile._base_manager.using(using).filter(pk=profile_id).update(**values)


@heard(post_save, ClientEndpoint)
def endpoint_loaded(instance: ClientEndpoint, raw: bool, using: str, **kwargs: Any) -> None:
    """A fixture bypasses ``save()`` and may lack the health row, without which an endpoint is never claimed."""
    if raw and not EndpointHealth.objects.using(using).filter(pk=instance.pk).exists():
        begin_health([instance], using=using)


@receiver(endpoint_activated, dispatch_uid="live_push.endpoint_activated")
def endpoint_switched_on(endpoint_id: int, using: str, **kwargs: Any) -> None:
    api.reactivate(endpoint_id, using=using)


@receiver(credentials_changed, dispatch_uid="live_push.credentials_changed")
def credentials_lost_or_found(endpoint_id: int, problem: str, using: str, **kwargs: Any) -> None:
    after_commit(partial(notices.announce_credentials, endpoint_id, problem, using=using), using=using)


@receiver(request_started, dispatch_uid="live_push.request_started")
def first_request(**kwargs: Any) -> None:
    autostart.start_if_wanted()
