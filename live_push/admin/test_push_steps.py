"""How far a test push came, step by step; what the result does not tell is said not to be known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.contract.reply import Reply
from live_push.delivery.request import Certificate
from live_push.delivery.result import ErrorCode, Result

from . import words
from .sentences import translated

DONE: Final = words.Badge(gettext_lazy("done"), "ok", "ok")
FAILED: Final = words.Badge(gettext_lazy("failed"), "bad", "bad")
NOT_REACHED: Final = words.Badge(gettext_lazy("not reached"), "none", "quiet")
UNKNOWN: Final = words.Badge(gettext_lazy("not known"), "none", "quiet")

LOOKUP, ADDRESS, CONNECTION, TLS, ANSWER = range(5)
_NAMES: Final = (
    gettext_lazy("Name lookup"),
    gettext_lazy("Address allowed"),
    gettext_lazy("Connection"),
    gettext_lazy("TLS: certificate and name"),
)
_ENDED_AT: Final = {
    ErrorCode.DNS_FAILED: LOOKUP,
    ErrorCode.DNS_TIMEOUT: LOOKUP,
    ErrorCode.ADDRESS_REFUSED: ADDRESS,
    ErrorCode.CONNECT_REFUSED: CONNECTION,
    ErrorCode.CONNECT_TIMEOUT: CONNECTION,
    ErrorCode.CONNECT_FAILED: CONNECTION,
    ErrorCode.TLS_EXPIRED: TLS,
    ErrorCode.TLS_WRONG_NAME: TLS,
    ErrorCode.TLS_UNKNOWN_ISSUER: TLS,
    ErrorCode.TLS_FAILED: TLS,
    ErrorCode.PROTOCOL_ERROR: ANSWER,
}
_WHILE_TALKING: Final = (ErrorCode.TIMEOUT, ErrorCode.RESET)
"""After the connection, before an answer: in the handshake or after it, nobody knows."""


@dataclass(frozen=True)
class Step:
    """One line: what was to be done, how it ended, and more in words."""

    name: Any
    badge: words.Badge
    detail: str = ""


def steps(result: Result, error_code: str, reply: Reply | None, certificate: Certificate | None = None) -> list[Step]:
    """The steps of a test push, in their order; that of the third-party id only where the endpoint synchronizes it."""
    found = [Step(name, badge) for name, badge in zip(_NAMES, _before_the_answer(result), strict=True)]
    if certificate is not None:
        # Where it is known the handshake was over, whatever came afterwards.
        found[TLS] = Step(_NAMES[TLS], DONE, in_words(certificate))
    duration = words.milliseconds(result.duration_ms)
    if result.status_code is None:
        found.append(Step(_("Answer"), FAILED, _("no answer, after %(duration)s") % {"duration": duration}))
    else:
        said = _("status %(status)s after %(duration)s") % {"status": result.status_code, "duration": duration}
        refused = error_code not in ("", ErrorCode.ID_MISSING)
        found.append(Step(_("Answer"), FAILED if refused else DONE, said))
    if reply is not None and reply.third_party_id is None:
        found.append(Step(_("Third-party ID"), FAILED, translated(reply.sentence)))
    elif reply is not None:
        said = _("Would have stored the third-party ID “%(id)s”; a test stores nothing.")
        found.append(Step(_("Third-party ID"), DONE, said % {"id": reply.third_party_id}))
    return found


def in_words(certificate: Certificate) -> str:
    """Who issued a certificate, and until when it is valid."""
    told = {"issuer": certificate.issuer or words.NOTHING, "day": words.day(certificate.expires_at)}
    return _("issued by %(issuer)s, valid until %(day)s") % told


def _before_the_answer(result: Result) -> list[words.Badge]:
    if result.status_code is not None:
        return [DONE] * ANSWER
    if result.error_code in _WHILE_TALKING:
        return [DONE, DONE, DONE, UNKNOWN]
    try:
        ended_at = _ENDED_AT[ErrorCode(result.error_code)]
    except (ValueError, KeyError):
        # One of ours, or of a host's own transport.
        return [UNKNOWN] * ANSWER
    return ([DONE] * ended_at + [FAILED] + [NOT_REACHED] * ANSWER)[:ANSWER]
