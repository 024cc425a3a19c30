"""Validators of single fields.

They stand on the fields, so that forms, serializers and imports run them too, not only ``full_clean()``.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from live_push import conf
from live_push.contract import headers, values
from live_push.contract.options import check_ignored, check_withheld
from live_push.exceptions import EndpointUrlError, PayloadError, TierError
from live_push.rules import endpoint_url as url
from live_push.rules import retry
from live_push.rules.invisible import INVISIBLE, UNSTORABLE
from live_push.rules.messages import Message, message_of
from live_push.rules.networks import AddressRule, parse_networks
from live_push.rules.tiers import timeframes
from live_push.rules.translation import validation_error

BRANDING_CHARACTERS: Final = 255
"""The longest ``client_branding_id``."""


def readable(value: str) -> None:
    """Refuse invisible characters in a name: they could control a terminal, forge a log line or reverse the text."""
    if match := INVISIBLE.search(value):
        raise _invisible_character(match[0])


def _invisible_character(character: str) -> ValidationError:
    return ValidationError(
        _("This contains the character U+%(code)s, which can't be seen; leave it out."),
        params={"code": f"{ord(character):04X}"},
    )


def validate_custom_data(value: Any) -> None:
    """Refuse custom data that can't be sent.

    Custom data is null, or one object whose values are texts, finite numbers, booleans and nulls.
    """
    if value is None:
        return
    try:
        values.custom_data("custom data", value)
    except PayloadError as error:
        raise validation_error(message_of(error)) from None
    texts = [text for pair in value.items() for text in pair if isinstance(text, str)]
    if match := UNSTORABLE.search("".join(texts)):
        raise _invisible_character(match[0])


def endpoint_url(value: str) -> None:
    """Refuse a URL that the address guard refuses, or whose port is not allowed."""
    settings = conf.current()
    addresses = AddressRule(
        parse_networks(settings.ALLOWED_PRIVATE_NETWORKS), parse_networks(settings.EXTRA_BLOCKED_NETWORKS)
    )
    try:
        url.check(value, allowed_ports=settings.ALLOWED_PORTS, addresses=addresses)
    except EndpointUrlError as error:
        raise validation_error(message_of(error)) from None


def extra_headers(value: Any) -> None:
    """Refuse headers that can't be sent, or that an endpoint may not set."""
    if not isinstance(value, dict):
        raise validation_error(Message("extra_headers_json", type=type(value).__name__))
    try:
        headers.check_extra_headers(value)
    except ValueError as error:
        raise validation_error(message_of(error)) from None


def withheld_fields(value: Any) -> None:
    """Refuse a value that is not a list of keys that may be withheld."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise validation_error(Message("withheld_json"))
    try:
        check_withheld(value)
    except PayloadError as error:
        raise validation_error(message_of(error)) from None


def ignored_keys(value: Any) -> None:
    """Refuse a value that is not a list of keys of the body."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise validation_error(Message("ignored_json"))
    try:
        check_ignored(value)
    except PayloadError as error:
        raise validation_error(message_of(error)) from None


def branding(value: Any) -> None:
    """Refuse a value that can't be the ``client_branding_id`` of a member. PostgreSQL can't store the character 0."""
    if not isinstance(value, str) or not 0 < len(value) <= BRANDING_CHARACTERS or "\0" in value:
        raise validation_error(Message("branding", most=BRANDING_CHARACTERS, found=repr(value)))


def retry_policy(value: str) -> None:
    """Refuse a name that is neither a built-in retry policy nor one of the settings."""
    try:
        retry.policy(value, conf.current().RETRY_POLICIES)
    except ValueError as error:
        raise validation_error(message_of(error)) from None


def time_zone(value: str) -> None:
    """Refuse a text that is not the name of an IANA time zone."""
    try:
        timeframes.zone_named(value)
    except TierError as error:
        raise validation_error(message_of(error)) from None
