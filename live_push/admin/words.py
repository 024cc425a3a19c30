"""How pages say things: states in a word with its icon, moments, shares, masked names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from live_push.delivery import breaker, retry
from live_push.delivery.result import ErrorCode
from live_push.exceptions import SecretUnreadable
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth

from .figures import Share
from .pictures import icon, share_bar
from .sentences import translated

NOTHING = "\N{EN DASH}"
"""What a page shows where there is nothing to show."""


@dataclass(frozen=True)
class Badge:
    """A state as a word with its icon; ``tone`` is ``ok``, ``warn``, ``bad`` or ``quiet``.

    ``detail`` says what is wrong, ``remedy`` what comes next or is to be done.
    """

    word: Any
    icon: str
    tone: str
    detail: Any = ""
    remedy: Any = ""

    def __html__(self) -> SafeString:
        return format_html('<span class="lp-badge lp-{}">{} {}</span>', self.tone, icon(self.icon), self.word)

    def __str__(self) -> SafeString:
        # Templates ask for the text, and only then whether it is safe.
        return self.__html__()


_DELIVERY = {
    DeliveryStatus.PENDING: Badge(gettext_lazy("pending"), "wait", "quiet"),
    DeliveryStatus.SENDING: Badge(gettext_lazy("sending"), "send", "quiet"),
    DeliveryStatus.SUCCEEDED: Badge(gettext_lazy("succeeded"), "ok", "ok"),
    DeliveryStatus.FAILED: Badge(gettext_lazy("failed"), "bad", "bad"),
    DeliveryStatus.CANCELLED: Badge(gettext_lazy("cancelled"), "none", "quiet"),
}
_RETRYING = Badge(gettext_lazy("pending, retried"), "retry", "warn")


def delivery_badge(delivery: Delivery) -> Badge:
    """Where a delivery stands."""
    if delivery.status == DeliveryStatus.PENDING and delivery.run_attempts:
        return _RETRYING
    return _DELIVERY[DeliveryStatus(delivery.status)]


def endpoint_badge(endpoint: ClientEndpoint, health: EndpointHealth, now: datetime) -> Badge:
    """How an endpoint is doing, trouble first."""
    if not endpoint.is_active:
        told = [translated(endpoint.disabled_reason) or _("Switched off.")]
        if health.inactive_since is not None:
            told.append(_("Since %(moment)s.") % {"moment": clock_time(health.inactive_since, now)})
        remedy = _("When it is repaired, send a test push, then resume it: that sends what it missed.")
        return Badge(gettext_lazy("disabled"), "off", "bad", " ".join(told), remedy)
    if problem := credential_problem(endpoint):
        return Badge(gettext_lazy("needs credentials"), "key", "bad", problem)
    failing = ""
    if health.failing_since is not None:
        failing = _("Failing since %(moment)s.") % {"moment": clock_time(health.failing_since, now)}
    if breaker.may_try(health.breaker, now) == "rest":
        until = clock_time(health.rests_until, now)
        word = format_html("{} {}", _("resting until"), until)
        remedy = _("It failed, or asked for a rest. Then it is tried again by itself.")
        return Badge(word, "rest", "warn", failing, remedy)
    if health.breaker_state != "closed":
        remedy = _("One push at a time is tried until one is accepted.")
        return Badge(gettext_lazy("resting"), "rest", "warn", failing, remedy)
    if failing:
        remedy = _("It is tried again by itself; its deliveries tell why it failed.")
        return Badge(pgettext_lazy("endpoint", "active"), "alert", "warn", failing, remedy)
    return Badge(pgettext_lazy("endpoint", "active"), "ok", "ok")


def credential_problem(endpoint: ClientEndpoint) -> str:
    """Why the stored credentials can't be used; empty where they can."""
    try:
        endpoint.auth()
    except (SecretUnreadable, ValueError) as error:
        return translated(error)
    return ""


def moment(value: datetime | None, now: datetime) -> SafeString | str:
    """A moment, as seen from now and by the clock."""
    if value is None:
        return NOTHING
    if abs(value - now) < timedelta(minutes=1):
        relative, span = _("now"), ""
    elif value > now:
        relative, span = _("in %(time)s"), timesince(now, value, depth=1)
    else:
        relative, span = _("%(time)s ago"), timesince(value, now, depth=1)
    return format_html(
        '<time class="lp-moment" datetime="{}">{} <span class="lp-quiet">{}</span></time>',
        value.isoformat(),
        relative % {"time": span},
        clock_time(value, now),
    )


def clock_time(value: datetime | None, now: datetime) -> str:
    """A moment by the clock of the current time zone; the day where it is not within half a day from now."""
    if value is None:
        return NOTHING
    local = timezone.localtime(value)
    pattern = "TIME_FORMAT" if abs(value - now) < timedelta(hours=12) else "DATETIME_FORMAT"
    return f"{date_format(local, pattern)} {local.tzname()}"


def day(value: datetime) -> str:
    """The day of a moment in the current time zone."""
    return date_format(timezone.localtime(value), "DATE_FORMAT")


def milliseconds(value: int | None) -> str:
    """A duration."""
    return NOTHING if value is None else _("%(number)s ms") % {"number": number(value)}


def number(value: float) -> str:
    """A number as the language has it, its thousands grouped where the site wants that (USE_THOUSAND_SEPARATOR)."""
    return str(number_format(value))


class Count(int):
    """A whole number by which a sentence finds its plural, and which it then shows like :func:`number`."""

    def __str__(self) -> str:
        return number(int(self))


def share(value: Share) -> SafeString | str:
    """A success rate: a bar, and the same in words."""
    if value.percent is None:
        return _("nothing sent")
    sentence = share_in_words(value)
    return format_html(
        '{} <span class="lp-nowrap">{}</span>', share_bar(value.accepted, value.failed, sentence), sentence
    )


def share_in_words(value: Share) -> str:
    """A success rate in words."""
    if value.percent is None:
        return _("nothing sent")
    percent = number_format(value.percent, decimal_pos=1)
    return _("%(percent)s %% of %(attempts)s") % {"percent": percent, "attempts": number(value.attempts)}


def masked(text: str | None) -> str:
    """A name that only its owner recognises: the first letter."""
    return f"{text[0]}…" if text else NOTHING


def schedule(policy: retry.Policy) -> str:
    """A retry schedule in words."""
    waits = ", ".join(_span(wait) for wait in policy.waits)
    sentence = _("at once, then after %(waits)s") % {"waits": waits}
    if policy.then_every is not None:
        sentence += ", " + _("then every %(wait)s") % {"wait": _span(policy.then_every)}
    if policy.window_seconds is not None:
        sentence += ", " + _("for %(time)s") % {"time": _span(policy.window_seconds)}
    return sentence


def _span(seconds: float) -> str:
    for size, unit in ((3600, _("h")), (60, _("min"))):
        if seconds >= size and seconds % size == 0:
            return f"{number(round(seconds / size))} {unit}"
    return _("%(number)s s") % {"number": number(round(seconds) if seconds == round(seconds) else seconds)}


def explained(error_code: str) -> str:
    """What an error code means and who must act; empty for an empty code."""
    try:
        known = ErrorCode(error_code)
    except ValueError:
        # A host's own transport may have codes of its own.
        return error_code
    return f"{_(known.meaning)} {_(known.remedy)}"
