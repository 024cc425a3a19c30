"""Sentences of refusals and of the log in the reader's language.

Pure modules raise them, and the log keeps them, in English: they know of no reader. Here stands the shape of each, so
that a page can say it in another language, whenever and wherever it was written.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

SHAPES: Final = (
    _("The URL is %(type)s; write text."),
    _("The URL contains the character U+%(code)s; leave it out, or write it percent-encoded."),
    _("The URL has a fragment, which is never sent; leave out the # and what follows."),
    _("The URL does not begin with https:// and a host; write https://host/path."),
    _("The URL has %(count)s characters; write at most %(most)s."),
    _("The URL contains a user name or password; leave them out and use the endpoint's authentication."),
    _("The host contains a %%; write the name or the address itself, without a zone."),
    _("Something follows the address in brackets; write https://[address]:port/path."),
    _("The port is not a number from 1 to 65535; correct it, or leave it out with its colon."),
    _("The port is %(port)s; allowed are: %(allowed)s."),
    _("The path contains %(character)s, which is not ASCII; write it percent-encoded: %(encoded)s"),
    _("The path begins with more than one slash; write one."),
    _("The host contains look-alikes of other letters, digits or dots; write the plain ones: %(plain)s"),
    _("The host has %(count)s characters; a name has at most 253."),
    _("What stands in brackets is not an IPv6 address; write one, or a name."),
    _("The host is an IPv4 address in IPv6 clothes; write %(address)s."),
    _("The host ends in a number but is not an IPv4 address; write four decimal numbers, or a name."),
    _("The host's part %(label)s is not a valid internationalized name; correct it."),
    _("The host's part %(label)s is not valid; write 1 to 63 letters, digits and inner hyphens between the dots."),
    _("The host is not a public address; write a public one, or a public name."),
    _("The host %(host)s is a single word; write a full name such as %(example)s.example.com."),
    _("The host %(host)s is an internal name; write a public one."),
    _("Extra headers must be an object of names and values; found %(type)s."),
    _("Extra headers are one JSON object of texts; found %(type)s."),
    _("The header %(name)s is there twice; names are the same in any case."),
    _("An API key must be 1 to 1024 printable ASCII characters without blanks."),
    _("The user name must not hold control characters or half a character."),
    _("The password must not hold control characters or half a character."),
    _("The user name must not hold a colon: the password begins there."),
    _("%(name)s is no header name: letters, digits and !#$%%&'*+-.^_`|~, at most 100."),
    _("The header %(name)s is for live_push alone to set; leave it out."),
    _("The header %(name)s ends at the next hop and never reaches the client; leave it out."),
    _("The value of %(name)s must be printable Latin-1 characters, at most 1024."),
    _("The value of %(name)s must not begin or end with a blank."),
    _("Withheld fields must be a list of keys; found %(type)s."),
    _("Withheld fields are a JSON list of the body's top-level keys."),
    _("%(key)s can't be withheld: a client needs %(needed)s to use a push."),
    _("%(key)s is no top-level key of the body, so it can't be withheld."),
    _("There is no retry policy %(name)s; known are %(known)s. LIVE_PUSH['RETRY_POLICIES'] adds more."),
    _("%(key)s must be text; found %(type)s."),
    _("%(key)s must have at most %(most)s characters; found %(count)s."),
    _("%(key)s must be a whole number; found %(type)s."),
    _("%(key)s must fit into 64 bits; found a longer number."),
    _("%(key)s must be 0 or more; found a negative number."),
    _("%(key)s must be a whole number; found text that is none."),
    _("%(key)s must be true or false; found %(type)s."),
    _("%(key)s must lie in the years 1 to 9999 in UTC."),
    _("%(key)s must be a datetime; found %(type)s."),
    _("%(key)s must be a datetime with a time zone; found one without."),
    _("%(key)s must be one of %(known)s; found another text."),
    _("%(key)s must be an object; found %(type)s."),
    _("%(key)s must have text keys only; found a key of type %(type)s."),
    _("%(key)s must hold texts, numbers, booleans and nulls only; found %(type)s."),
    _("%(key)s must hold finite numbers only; found NaN or an infinity."),
    _("The stored %(name)s belongs to another address or another row. Enter it again."),
    _("This endpoint has no API key yet. Enter it."),
    _(
        "None of the configured keys decrypts this. Put the key it was encrypted with back into "
        'LIVE_PUSH["SECRET_KEYS"], or SECRET_KEY_FALLBACKS where none are set; or %(otherwise)s.'
    ),
    _("Two secrets sign until %(moment)s UTC. To rotate now would end the older one at once: wait, or force it."),
    _("The name lookup took too long."),
    _("The host name is not a valid name."),
    _("The host name has no address."),
    _("The destination is not a public address."),
    _("The host name does not exist."),
    _("The name lookup failed."),
    _("The connection was not accepted in time."),
    _("The connection was refused."),
    _("The connection could not be made."),
    _("The answer did not come in time."),
    _("The encrypted connection could not be agreed on."),
    _("The connection was closed before an answer."),
    _("The answer is not valid HTTP."),
    _("The certificate's issuer is not among the trusted authorities."),
    _("The certificate has expired or is not valid yet."),
    _("The certificate is for another host name."),
    _("The certificate was not accepted."),
    _("The attempt failed in an unforeseen way."),
    _("A network in our settings can't be read."),
    _("The CA bundle of our settings can't be read."),
    _("The request could not be made."),
    _("The push has no body any more."),
    _("The body of %(size)s bytes is too large for the client."),
    _("Not stored: an id was captured from a newer push already."),
    _("Not stored: the id belongs to another profile."),
    _("The answer is incomplete or longer than %(size)s KiB, so its %(key)s can't be trusted."),
    _("The answer is no JSON; it should be an object with %(key)s."),
    _("The answer is JSON, but no object; it should be an object with %(key)s."),
    _("The answer is an object without %(key)s."),
    _("The answer has %(key)s more than once."),
    _("%(key)s in the answer is neither text nor a whole number."),
    _("%(key)s in the answer is empty."),
    _("%(key)s in the answer is longer than %(most)s characters."),
    _("%(key)s in the answer holds characters that can't be seen, such as controls."),
    _("A program needs at least one tier."),
    _("%(tier)s ends at %(most)s, before it begins."),
    _("The base tier %(tier)s must have no minimum; found %(least)s."),
    _("The top tier %(tier)s must have no maximum; found %(most)s."),
    _("%(lower)s and %(upper)s both have no minimum; only the base tier has none."),
    _("%(lower)s has no maximum although %(upper)s is above it; only the top tier has none."),
    _("%(lower)s up to %(most)s and %(upper)s from %(least)s overlap."),
    _("Between %(lower)s up to %(most)s and %(upper)s from %(least)s is a gap; %(same)s must begin at %(begin)s."),
    _("Day %(day)s of month %(month)s never comes; name a day that the calendar has."),
    _("A tier expires after 1 reset or more; found %(count)s."),
    _("A rolling timeframe lasts 1 %(unit)s or more; found %(count)s."),
    _("There is no time zone %(name)s; use an IANA name such as Europe/Vienna."),
    _("The fixed timeframe of %(name)s needs a reset month and a reset day."),
    _("The rolling timeframe of %(name)s needs a length."),
    _("The member is in %(tier)s already."),
    _("The tier #%(tier)s no longer exists."),
    _("The profile #%(profile)s no longer exists."),
    _("The member's last event was at %(last)s; %(moment)s is before it."),
    _("A tier assigned at %(moment)s would expire beyond the calendar."),
    _("Tier program %(name)s: %(problem)s"),
    # Why an endpoint is off, and what the admin's history keeps.
    _("No success for five days."),
    _("The client answered 410 Gone."),
    _("Paused by %(user)s."),
    _("Paused."),
    _("Resumed."),
    _("Sent a test push: accepted."),
    _("Sent a test push: %(verdict)s."),
    _("Sent a test push with the state of member #%(pk)s: accepted. Reason: %(reason)s"),
    _("Sent a test push with the state of member #%(pk)s: %(verdict)s. Reason: %(reason)s"),
    _("Generated a signing secret."),
    _("Rotated the signing secret."),
    _("Removed the signing secret."),
    _("Resent the current state of %(count)s member."),
    _("Resent the current state of %(count)s members."),
    _("Resent the current state to %(names)s."),
    _("Resent the current state."),
    _("Erased the push log."),
    _("Put into tier “%(tier)s”: %(reason)s"),
    _("Redeliver: the same event again"),
    _("Resend current profile"),
    _("Cancel what waits"),
    _("Erase content"),
)
"""Each with a place for every value; a test compares them with what the modules raise."""


def translated(sentence: object) -> str:
    """The sentence in the reader's language; as it is where its shape is not known."""
    text = str(sentence)
    for shape, pattern in _patterns():
        if found := pattern.fullmatch(text):
            return gettext(shape) % found.groupdict()
    return text


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = []
    for shape in SHAPES:
        # Every second part is the name of a place.
        parts = re.split(r"%\((\w+)\)s", shape)
        texts = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
        places = [f"(?P<{name}>.+?)" for name in parts[1::2]]
        pattern = "".join(text + place for text, place in zip(texts, [*places, ""], strict=True))
        found.append((shape, re.compile(pattern, re.DOTALL)))
    # First what begins with words of its own: a place would take these for a value.
    return sorted(found, key=lambda both: both[0].startswith("%("))


class InReadersLanguage:
    """A mixin for forms: what the models refuse is said in the reader's language."""

    def add_error(self, field: str | None, error: Any) -> None:
        """As Django does, with each sentence translated."""
        super().add_error(field, in_readers_language(error))  # type: ignore[misc]


def in_readers_language(error: Any) -> ValidationError:
    """The same error with its sentences translated; those with values of Django's own are already."""
    if not isinstance(error, ValidationError):
        error = ValidationError(error)
    if hasattr(error, "error_dict"):
        return ValidationError(
            {name: [in_readers_language(one) for one in some] for name, some in error.error_dict.items()}
        )
    if not hasattr(error, "message"):
        return ValidationError([in_readers_language(one) for one in error.error_list])
    return ValidationError(error.message if error.params else translated(error.message), error.code, error.params)
