"""Show how far a test push got, step by step. A step about which the result says nothing is “not known”. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.shared import formatting
from live_push.contract.reply import Reply
from live_push.delivery.request import Certificate
from live_push.rules.result import ErrorCode, Result
from live_push.rules.translation import translated

STEP_DONE: Final = formatting.Badge(gettext_lazy("done"), "ok", "ok")
STEP_FAILED: Final = formatting.Badge(gettext_lazy("failed"), "bad", "bad")
STEP_NOT_REACHED: Final = formatting.Badge(gettext_lazy("not reached"), "none", "quiet")
STEP_UNKNOWN: Final = formatting.Badge(gettext_lazy("not known"), "none", "quiet")

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
"""These end a push after the connection and before an answer; whether the handshake was done is not known."""


@dataclass(frozen=True)
class PushStep:
    """One step: its name, how it ended, and details."""

    name: Any
    badge: formatting.Badge
    detail: str = ""


def steps(
    result: Result, error_code: str, reply: Reply | None, certificate: Certificate | None = None
) -> list[PushStep]:
    """Return the steps of a test push in order.

    The step of the third-party id is included only if the endpoint synchronizes it.
    """
    shown = [PushStep(name, badge) for name, badge in zip(_NAMES, _before_the_answer(result), strict=True)]
    if certificate is not None:
        # The certificate is known only after the handshake, so the handshake succeeded.
        shown[TLS] = PushStep(_NAMES[TLS], STEP_DONE, certificate_in_words(certificate))
    duration = formatting.milliseconds(result.duration_ms)
    if result.status_code is None:
        shown.append(PushStep(_("Answer"), STEP_FAILED, _("no answer, after %(duration)s") % {"duration": duration}))
    else:
        sentence = _("status %(status)s after %(duration)s") % {"status": result.status_code, "duration": duration}
        refused = error_code not in ("", ErrorCode.ID_MISSING)
        shown.append(PushStep(_("Answer"), STEP_FAILED if refused else STEP_DONE, sentence))
    if reply is not None and reply.third_party_id is None:
        shown.append(PushStep(_("Third-party ID"), STEP_FAILED, translated(reply.sentence)))
    elif reply is not None:
        sentence = _("A real push would store the third-party ID “%(id)s”. A test push stores nothing.")
        shown.append(PushStep(_("Third-party ID"), STEP_DONE, sentence % {"id": reply.third_party_id}))
    return shown


def certificate_in_words(certificate: Certificate) -> str:
    """Return the issuer of a certificate and its last day as text."""
    values = {"issuer": certificate.issuer or formatting.NOTHING, "day": formatting.day(certificate.expires_at)}
    return _("issued by %(issuer)s, valid until %(day)s") % values


def _before_the_answer(result: Result) -> list[formatting.Badge]:
    if result.status_code is not None:
        return [STEP_DONE] * ANSWER
    if result.error_code in _WHILE_TALKING:
        return [STEP_DONE, STEP_DONE, STEP_DONE, STEP_UNKNOWN]
    try:
        ended_at = _ENDED_AT[ErrorCode(result.error_code)]
    except (ValueError, KeyError):
        # The code is not about the connection, or comes from a transport of the host.
        return [STEP_UNKNOWN] * ANSWER
    return ([STEP_DONE] * ended_at + [STEP_FAILED] + [STEP_NOT_REACHED] * ANSWER)[:ANSWER]
