"""Format values for pages: states as badges, times, numbers, success rates, masked names."""

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
from django.utils.translation import gettext_lazy

from live_push.figures.convergence import Convergence
from live_push.figures.pages import Share
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth, EndpointState
from live_push.models.endpoint_state import state_of
from live_push.rules import retry
from live_push.rules.result import ErrorCode
from live_push.rules.translation import translated

from .svg import icon, share_bar

NOTHING = "\N{EN DASH}"
"""Shown instead of an empty value."""


@dataclass(frozen=True)
class Badge:
    """A state as a word with an icon.

    ``tone``
        ``ok``, ``warn``, ``bad`` or ``quiet``.
    ``detail``
        What is wrong.
    ``remedy``
        What happens next, or what to do.
    """

    word: Any
    icon: str
    tone: str
    detail: Any = ""
    remedy: Any = ""

    def __html__(self) -> SafeString:
        return format_html('<span class="lp-badge lp-{}">{} {}</span>', self.tone, icon(self.icon), self.word)

    def __str__(self) -> SafeString:
        # Templates convert to str first, and check then whether the result is safe.
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
    """Return the badge for the delivery's state."""
    if delivery.status == DeliveryStatus.PENDING and delivery.run_attempts:
        return _RETRYING
    return _DELIVERY[DeliveryStatus(delivery.status)]


def endpoint_badge(endpoint: ClientEndpoint, health: EndpointHealth, now: datetime) -> Badge:
    """Return the badge for the endpoint's state, with what is wrong and what to do about it."""
    state = state_of(endpoint, health, now)
    if state == EndpointState.DISABLED:
        details = [translated(endpoint.disabled_reason) or _("Switched off.")]
        if health.inactive_since is not None:
            details.append(_("Since %(moment)s.") % {"moment": clock_time(health.inactive_since, now)})
        remedy = _(
            "When the cause is repaired, send a test push, then resume the endpoint: this sends the current state of "
            "all members that changed."
        )
        return Badge(state.label, "off", "bad", " ".join(details), remedy)
    if state == EndpointState.NEEDS_CREDENTIALS:
        # A worker may lack a key that the web process has. Then the web process finds no problem.
        problem = endpoint.credentials_problem() or _("A worker can't read the credentials. Check the worker's log.")
        return Badge(state.label, "key", "bad", translated(problem))
    failing = ""
    if health.failing_since is not None:
        failing = _("Failing since %(moment)s.") % {"moment": clock_time(health.failing_since, now)}
    if state == EndpointState.RESTING:
        word = format_html("{} {}", _("resting until"), clock_time(health.rests_until, now))
        remedy = _("It failed, or its answers asked us to wait. It is retried automatically.")
        return Badge(word, "rest", "warn", failing, remedy)
    if health.breaker_state != "closed":
        failing = " ".join(filter(None, (failing, _("Only one push at a time is sent until one is accepted."))))
    if failing:
        remedy = _("It is retried automatically. See its deliveries for the reason.")
        return Badge(state.label, "alert", "warn", failing, remedy)
    return Badge(state.label, "ok", "ok")


def moment(value: datetime | None, now: datetime) -> SafeString | str:
    """Return a time relative to now, with the clock time beside it."""
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


def counted(figure: Convergence | None, now: datetime) -> str:
    """Return when an endpoint's convergence was counted; an empty text if that was within the last minute."""
    if figure is None:
        return _("Not counted yet. A running worker does that within minutes.")
    if figure.is_outdated:
        return _("Counted before the endpoint was changed.")
    if figure.counted_at is None or now - figure.counted_at < timedelta(minutes=1):
        return ""
    return _("Counted %(time)s ago.") % {"time": timesince(figure.counted_at, now, depth=1)}


def clock_time(value: datetime | None, now: datetime) -> str:
    """Return a clock time in the current time zone, with the day if it is more than 12 hours from now."""
    if value is None:
        return NOTHING
    local = timezone.localtime(value)
    pattern = "TIME_FORMAT" if abs(value - now) < timedelta(hours=12) else "DATETIME_FORMAT"
    return f"{date_format(local, pattern)} {local.tzname()}"


def day(value: datetime) -> str:
    """Return the day in the current time zone."""
    return date_format(timezone.localtime(value), "DATE_FORMAT")


def milliseconds(value: int | None) -> str:
    """Return a duration in milliseconds with its unit."""
    return NOTHING if value is None else _("%(number)s ms") % {"number": number(value)}


def number(value: float) -> str:
    """Return a number in the format of the language. Thousands are grouped if USE_THOUSAND_SEPARATOR is on."""
    return str(number_format(value))


def more_than(value: int) -> str:
    """Return a lower bound such as “10,000+”. Thousands are always grouped."""
    return f"{number_format(value, force_grouping=True)}+"


class Count(int):
    """An int for sentences with a plural: ngettext compares it as a number, and it is shown like :func:`number`."""

    def __str__(self) -> str:
        return number(int(self))


def share(value: Share) -> SafeString | str:
    """Return a success rate as a bar and as text."""
    if value.percent is None:
        return _("nothing sent")
    sentence = share_in_words(value)
    return format_html(
        '{} <span class="lp-nowrap">{}</span>', share_bar(value.accepted, value.failed, sentence), sentence
    )


def share_in_words(value: Share) -> str:
    """Return a success rate as text, such as “98.5 % of 200”."""
    if value.percent is None:
        return _("nothing sent")
    percent = number_format(value.percent, decimal_pos=1)
    return _("%(percent)s %% of %(attempts)s") % {"percent": percent, "attempts": number(value.attempts)}


def masked_name(text: str | None) -> str:
    """Return the first letter of a name and an ellipsis."""
    return f"{text[0]}…" if text else NOTHING


def schedule(policy: retry.Policy) -> str:
    """Return a retry schedule as text."""
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
    """Return what an error code means and what to do. Empty for an empty code."""
    try:
        known = ErrorCode(error_code)
    except ValueError:
        # A transport of the host may use other codes.
        return error_code
    return f"{_(known.meaning)} {_(known.remedy)}"
