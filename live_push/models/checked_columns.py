"""Columns that check or normalize each value: URLs of endpoints, and JSON."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from live_push.exceptions import EndpointUrlError
from live_push.rules import endpoint_url

from . import validators


class EndpointUrlField(models.CharField):  # type: ignore[type-arg]
    """An endpoint's URL, stored in its normal form also by ``update()`` and ``bulk_update()``.

    A URL that breaks the rule for URLs is stored as it is. Validation refuses it, and each push to it fails.
    """

    default_validators = [validators.endpoint_url]

    def to_python(self, value: Any) -> Any:
        return _in_normal_form(super().to_python(value))

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        return super().get_db_prep_save(_in_normal_form(value), connection)


def _in_normal_form(value: Any) -> Any:
    if isinstance(value, str):
        with suppress(EndpointUrlError):
            return endpoint_url.check(value, allowed_ports=None, addresses=None)
    return value


class CheckedJSONField(models.JSONField):
    """JSON whose validators check every value. Django's field skips them for ``null``, ``[]``, ``{}`` and ``""``."""

    empty_values: list[Any] = []
