"""Sentences with values, which are written once and read in many languages.

Errors and lines of the log are written before it is known in which language they will be read. A :class:`Message` is
therefore an English text that also has its code and its values. Logs and commands use the text. Pages translate the
template of the code and fill in the values (:mod:`live_push.rules.translation`). The database stores code and values.
::

    raise EndpointUrlError(Message("port_not_allowed", port=22, allowed="443, 8443"))

A plain text can replace a message, such as a sentence from a transport of the host. It is shown the same in every
language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Self


class Message(str):
    """An English sentence that knows the code of its template and the values in it.

    ``code``
        A key of :data:`TEMPLATES`. Codes are stored, so they are stable.
    ``params``
        The values, by their names in the template: texts, whole numbers, and other messages.
    """

    code: str
    params: Mapping[str, str | int]

    def __new__(cls, code: str, /, **params: str | int) -> Self:
        message = super().__new__(cls, TEMPLATES[code] % params)
        message.code, message.params = code, params
        return message

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, str | int]]:
        # For copies and pickles, which would otherwise pass the text as the code.
        return (self.code,), dict(self.params)

    def stored(self) -> str:
        """Return code and values as JSON, which :func:`read` reads. It is ASCII only, also if the values are not."""
        return json.dumps(_as_object(self))


def read(stored: str) -> str:
    """Return the message that was stored, or the text itself if it is not a message that this version knows."""
    if not stored.startswith('{"code": '):
        return stored
    try:
        message: str = _from_object(json.loads(stored))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return stored
    return message


def message_of(error: BaseException) -> str:
    """Return what an exception says: the message that it was raised with, or its text."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, Message) else str(error)


def _as_object(value: str | int) -> Any:
    if not isinstance(value, Message):
        return value
    return {"code": value.code, "params": {name: _as_object(param) for name, param in value.params.items()}}


def _from_object(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return Message(value["code"], **{name: _from_object(param) for name, param in value["params"].items()})


def _(template: str) -> str:
    # The name by which makemessages finds what is to be translated. Django's own gettext_noop() is not used, because
    # the contract's modules work without Django.
    return template


TEMPLATES: Final[Mapping[str, str]] = {
    # The URL of an endpoint
    "url_type": _("The URL is %(type)s; write text."),
    "url_character": _("The URL contains the character U+%(code)s; leave it out, or write it percent-encoded."),
    "url_fragment": _("The URL has a fragment, which is never sent; leave out the # and what follows."),
    "url_scheme": _("The URL does not begin with https:// and a host; write https://host/path."),
    "url_length": _("The URL has %(count)s characters; write at most %(most)s."),
    "url_credentials": _(
        "The URL contains a user name or password; leave them out and use the endpoint's authentication."
    ),
    "host_percent": _("The host contains a percent sign; write the name or the address itself, without a zone."),
    "address_rest": _("Something follows the address in brackets; write https://[address]:port/path."),
    "port_number": _("The port is not a number from 1 to 65535; correct it, or leave it out with its colon."),
    "port_not_allowed": _("The port is %(port)s; allowed are: %(allowed)s."),
    "path_not_ascii": _("The path contains %(character)s, which is not ASCII; write it percent-encoded: %(encoded)s"),
    "path_slashes": _("The path begins with more than one slash; write one."),
    "host_lookalikes": _(
        "The host contains look-alikes of other letters, digits or dots; write the plain ones: %(plain)s"
    ),
    "host_length": _("The host has %(count)s characters; a name has at most 253."),
    "address_not_ipv6": _("What stands in brackets is not an IPv6 address; write one, or a name."),
    "address_mapped": _("The host is an IPv4 address written as an IPv6 address; write %(address)s."),
    "host_number": _("The host ends in a number but is not an IPv4 address; write four decimal numbers, or a name."),
    "host_label_idna": _("The host's part %(label)s is not a valid internationalized name; correct it."),
    "host_label": _(
        "The host's part %(label)s is not valid; write 1 to 63 letters, digits and inner hyphens between the dots."
    ),
    "host_not_public": _("The host is not a public address; write a public one, or a public name."),
    "host_blocked": _("The host is an address that EXTRA_BLOCKED_NETWORKS blocks; write another, or a name."),
    "host_outside_networks": _(
        "The host is not a public address; write a public one, or a public name. Other addresses must be in one of the "
        "networks in ALLOWED_PRIVATE_NETWORKS, and link-local and cloud metadata addresses are refused even then."
    ),
    "host_single_word": _("The host %(host)s is a single word; write a full name such as %(example)s.example.com."),
    "host_internal": _("The host %(host)s is an internal name; write a public one."),
    # Headers and credentials of an endpoint
    "extra_headers_type": _("Extra headers must be an object of names and values; found %(type)s."),
    "extra_headers_json": _("Extra headers are one JSON object of texts; found %(type)s."),
    "header_twice": _("The header %(name)s occurs twice; upper and lower case do not make a difference."),
    "api_key_characters": _("An API key must be 1 to 1024 printable ASCII characters without blanks."),
    "username_characters": _("The user name must not hold control characters or half a character."),
    "password_characters": _("The password must not hold control characters or half a character."),
    "username_colon": _("The user name must not hold a colon: the password begins there."),
    "header_name": _("%(name)s is not a header name; write 1 to 100 letters, digits and !#$%%&'*+-.^_`|~."),
    "header_reserved": _("The header %(name)s is reserved for live_push; leave it out."),
    "header_hop_by_hop": _("The header %(name)s is a hop-by-hop header, which never reaches the client; leave it out."),
    "header_value_type": _("The value of %(name)s must be text; found %(type)s."),
    "header_value": _("The value of %(name)s must be printable Latin-1 characters, at most 1024."),
    "header_value_blanks": _("The value of %(name)s must not begin or end with a blank."),
    # Options of an endpoint
    "withheld_type": _("Withheld fields must be a list of keys; found %(type)s."),
    "withheld_json": _("Withheld fields are a JSON list of the body's top-level keys."),
    "withheld_needed": _("%(key)s can't be withheld: a client needs %(needed)s to use a push."),
    "branding": _("A branding is a text of 1 to %(most)s characters; found %(found)s."),
    "ignored_json": _("Ignored keys are a JSON list of the body's top-level keys."),
    "ignored_unknown": _(
        "%(key)s is not a top-level key of the body, so it can't be ignored. The nearest is %(nearest)s."
    ),
    "withheld_unknown": _("%(key)s is not a top-level key of the body, so it can't be withheld."),
    "retry_policy_unknown": _(
        "There is no retry policy %(name)s; known are %(known)s. LIVE_PUSH['RETRY_POLICIES'] adds more."
    ),
    # Values of a profile
    "value_text": _("%(key)s must be text; found %(type)s."),
    "value_length": _("%(key)s must have at most %(most)s characters; found %(count)s."),
    "value_integer": _("%(key)s must be a whole number; found %(type)s."),
    "value_64_bits": _("%(key)s must fit into 64 bits; found a longer number."),
    "value_negative": _("%(key)s must be 0 or more; found a negative number."),
    "value_numeric": _("%(key)s must be a whole number; found other text."),
    "value_boolean": _("%(key)s must be true or false; found %(type)s."),
    "value_years": _("%(key)s must lie in the years 1 to 9999 in UTC."),
    "value_datetime": _("%(key)s must be a datetime; found %(type)s."),
    "value_time_zone": _("%(key)s must be a datetime with a time zone; found one without."),
    "value_choice": _("%(key)s must be one of %(known)s; found another text."),
    "value_object": _("%(key)s must be an object; found %(type)s."),
    "value_text_keys": _("%(key)s must have text keys only; found a key of type %(type)s."),
    "value_scalars": _("%(key)s must hold texts, numbers, booleans and nulls only; found %(type)s."),
    "value_finite": _("%(key)s must hold finite numbers only; found NaN or an infinity."),
    "birth_date_offset": _("A birth date given as a moment needs its UTC offset; found %(value)s."),
    "birth_date_type": _("A birth date is a date, a moment or epoch seconds; found %(type)s."),
    "value_required": _("%(key)s must not be null."),
    "value_null": _("%(key)s must be null; found %(type)s."),
    "value_empty": _("%(key)s must be null where it is empty."),
    "value_flag": _("%(key)s must be 0 or 1; found another number."),
    "value_text_flag": _('%(key)s must be the text "0" or "1"; found another text.'),
    "value_moment": _("%(key)s must be a moment such as 2017-03-23T20:00:00Z; found another text."),
    # The body as a whole
    "the_body": _("The body"),
    "keys_missing": _("%(where)s lacks %(keys)s."),
    "keys_unknown": _("%(where)s has %(count)s key(s) that the contract does not know."),
    "keys_order": _("%(where)s must keep the published order of its keys."),
    "title_differs": _("%(key)s must be the title of %(level)s."),
    "null_without_tier": _("%(key)s must be null without a tier; found %(type)s."),
    "null_together": _("%(path)s: %(first)s and %(second)s must be null together."),
    "scores_differ": _("%(path)s: %(keys)s must be equal."),
    "half_character": _("%(key)s holds half a character (a lone surrogate)."),
    "body_not_json": _("The body can't be written as JSON: %(kind)s."),
    "snapshot_not_json": _("A stored snapshot can't be read: it is not JSON."),
    "snapshot_not_object": _("A stored snapshot can't be read: it is not an object."),
    "column_missing": _("The row lacks %(column)s."),
    "serializer_column": _("The payload serializer asks for %(column)s, which no profile has."),
    "period_type": _("A points period must be a date; found %(type)s."),
    "tier_time_zone": _("tier_time_zone is not an IANA time zone."),
    "tier_timeframe": _("tier_timeframe must be one of %(known)s."),
    # Secrets that can't be used
    "secret_elsewhere": _("The stored secret “%(name)s” belongs to another address or another row. Enter it again."),
    "api_key_missing": _("This endpoint has no API key yet. Enter it."),
    "secret_undecryptable": _(
        "None of the configured keys decrypts this. Put the key that it was encrypted with back into "
        'LIVE_PUSH["SECRET_KEYS"], or into SECRET_KEY_FALLBACKS where none are set; or enter the secret again.'
    ),
    "payload_undecryptable": _(
        "None of the configured keys decrypts the stored payload. Put the key that it was encrypted with back into "
        'LIVE_PUSH["SECRET_KEYS"], or into SECRET_KEY_FALLBACKS where none are set; or resend the current state.'
    ),
    "rotation_overlap": _(
        "Two secrets sign until %(moment)s UTC. To rotate now would end the older one at once: wait, or force it."
    ),
    # Why an attempt brought no answer
    "dns_timeout": _("The name lookup took too long."),
    "dns_name": _("The host name is not a valid name."),
    "dns_no_address": _("The host name has no address."),
    "address_refused": _("The destination is not a public address."),
    "proxy_refused": _("The destination is a proxy."),
    "dns_unknown": _("The host name does not exist."),
    "dns_failed": _("The name lookup failed."),
    "connect_timeout": _("The connection was not accepted in time."),
    "connect_refused": _("The connection was refused."),
    "connect_failed": _("The connection could not be made."),
    "answer_timeout": _("The answer did not come in time."),
    "tls_failed": _("The encrypted connection could not be agreed on."),
    "connection_closed": _("The connection was closed before an answer."),
    "answer_not_http": _("The answer is not valid HTTP."),
    "certificates_unreadable": _("The trusted certificates can't be read."),
    "tls_keys_logged": _("The keys of encrypted connections would be written to a file."),
    "header_not_sendable": _("A header has a name or a value that can't be sent."),
    "certificate_issuer": _("The certificate's issuer is not among the trusted authorities."),
    "certificate_root_missing": _(
        "CA_BUNDLE holds the intermediate authority of this certificate, but not the root, which is needed."
    ),
    "certificate_expired": _("The certificate has expired or is not valid yet."),
    "certificate_name": _("The certificate is for another host name."),
    "certificate_refused": _("The certificate was not accepted."),
    "deadline_passed": _("The deadline passed before the request was written."),
    "attempt_unexpected": _("The attempt failed in an unforeseen way."),
    "settings_wrong": _("A value in our settings is wrong."),
    "ca_bundle_unreadable": _("The CA bundle of our settings can't be read; manage.py check names the file."),
    "request_failed": _("The request could not be made."),
    # Why nothing was sent, or nothing was stored
    "serializer_raised": _("The payload serializer raised %(kind)s; see the server's log."),
    "body_missing": _("The push has no body any more."),
    "body_too_large": _("The body of %(size)s bytes is too large for the client."),
    "id_from_older_push": _("Not stored: an id was captured from a newer push already."),
    "id_of_another_member": _("Not stored: the id belongs to another profile."),
    # What was wrong with the id in an answer; the codes are those of contract.reply.Reason
    "id_found": _("The answer carries %(key)s."),
    "id_answer_cut": _("The answer is incomplete or longer than %(size)s KiB, so %(key)s was not read."),
    "id_not_json": _("The answer is not JSON; it should be an object with %(key)s."),
    "id_not_an_object": _("The answer is JSON, but not an object; it should be an object with %(key)s."),
    "id_missing": _("The answer is an object without %(key)s."),
    "id_duplicated": _("The answer has %(key)s more than once."),
    "id_wrong_type": _("%(key)s in the answer is neither text nor a whole number."),
    "id_empty": _("%(key)s in the answer is empty."),
    "id_too_long": _("%(key)s in the answer is longer than %(most)s characters."),
    "id_unprintable": _("%(key)s in the answer contains invisible characters, such as control characters."),
    # Tier programs
    "ladder_empty": _("A program needs at least one tier."),
    "tier_range": _("%(tier)s ends at %(most)s, before it begins."),
    "base_minimum": _("The base tier %(tier)s must have no minimum; found %(least)s."),
    "top_maximum": _("The top tier %(tier)s must have no maximum; found %(most)s."),
    "two_bases": _("%(lower)s and %(upper)s both have no minimum; only the base tier has none."),
    "no_maximum": _("%(lower)s has no maximum although %(upper)s is above it; only the top tier has none."),
    "tiers_overlap": _("%(lower)s up to %(end)s and %(upper)s from %(begin)s overlap."),
    "tiers_gap": _(
        "Between %(lower)s up to %(end)s and %(upper)s from %(begin)s is a gap; %(upper)s must begin at %(expected)s."
    ),
    "reset_day": _("Day %(day)s of month %(month)s does not exist; enter a day of the calendar."),
    "reset_count": _("A tier expires after 1 reset or more; found %(count)s."),
    "timeframe_length": _("The length of a rolling timeframe must be 1 or more; found %(count)s."),
    "time_zone_unknown": _("There is no time zone %(name)s; use an IANA name such as Europe/Vienna."),
    "fixed_without_reset": _("The fixed timeframe of %(name)s needs a reset month and a reset day."),
    "rolling_without_length": _("The rolling timeframe of %(name)s needs a length."),
    # Members in their tiers
    "tier_same": _("The member is in %(tier)s already."),
    "tier_gone": _("The tier #%(tier)s no longer exists."),
    "profile_gone": _("The profile #%(profile)s no longer exists."),
    "points_type": _("Points are a whole number; found %(type)s %(value)s."),
    "points_range": _("Points are a whole number from %(least)s to %(most)s; found %(points)s."),
    "moment_type": _("A moment is a datetime with a time zone; found %(value)s."),
    "profile_not_saved": _("Points and tiers belong to a saved profile; found %(profile)s."),
    "points_not_redeemable": _("%(points)s points can't be spent: %(redeemable)s are redeemable."),
    "counter_limit": _("%(points)s points would take a counter beyond %(most)s."),
    "score_limit": _("%(points)s points would take the timeframe score beyond %(most)s."),
    "event_order": _("The member's last event was at %(last)s; %(moment)s is before it."),
    "expiry_beyond_calendar": _("A tier assigned at %(moment)s would expire after the year 9999."),
    "program_problem": _("Tier program %(name)s: %(problem)s"),
    # Why an endpoint is off
    "disabled_no_success": _("No success for five days."),
    "disabled_gone": _("The client answered 410 Gone."),
    "disabled_by_user": _("Paused by %(user)s."),
    "disabled_by_file": _("Switched off by the endpoint file."),
    # What the admin's history keeps
    "history_paused": _("Paused."),
    "history_resumed": _("Resumed."),
    "history_test_accepted": _("Sent a test push: accepted."),
    "history_test_failed": _("Sent a test push: %(verdict)s."),
    "history_member_test_accepted": _(
        "Sent a test push with the state of member #%(pk)s: accepted. Reason: %(reason)s"
    ),
    "history_member_test_failed": _(
        "Sent a test push with the state of member #%(pk)s: %(verdict)s. Reason: %(reason)s"
    ),
    "history_secret_generated": _("Generated a signing secret."),
    "history_secret_rotated": _("Rotated the signing secret."),
    "history_secret_removed": _("Removed the signing secret."),
    "history_audience_all": _("Audience: all members."),
    "history_audience_listed": _("Audience: only members with these brandings: %(names)s."),
    "history_audience_empty": _("Audience: no member."),
    "history_resent_one": _("Resent the current state of %(count)s member."),
    "history_resent_many": _("Resent the current state of %(count)s members."),
    "history_resent_to": _("Resent the current state to %(names)s."),
    "history_resent": _("Resent the current state."),
    "history_log_erased": _("Erased the push log."),
    "history_tier": _("Put into tier “%(tier)s”: %(reason)s"),
    "history_redeliver": _("Redeliver: the same event again"),
    "history_resend_profile": _("Resend current profile"),
    "history_cancel": _("Cancel: do not send"),
    "history_erase": _("Erase content"),
}
"""The English template of each code. A test compares the names in them with the values that the code passes."""
