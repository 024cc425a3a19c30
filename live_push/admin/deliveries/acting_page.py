"""The base of the two pages that take an action: one for a single delivery, one for the selected ones."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.admin.shared.permissions import may
from live_push.models import ClientEndpoint
from live_push.models.clock import db_now
from live_push.models.databases import written_to
from live_push.rules.messages import Message

from .actions import ACTIONS, Action


class ActingPage(Page):
    """Base of the pages that take an action on deliveries. The field ``action`` of the POST names it."""

    template = "delivery/confirm.html"

    def posted_action(self, request: HttpRequest) -> Action | None:
        """Return the action that the form names; ``None`` for an unknown one."""
        return ACTIONS.get(request.POST.get("action", ""))

    def allows(self, request: HttpRequest) -> bool:
        action = self.posted_action(request)
        return action is not None and may(request, action.permission)

    def show_confirmation(
        self, request: HttpRequest, action: Action, chosen: list[int], **context: Any
    ) -> HttpResponse:
        """Show to how many deliveries of which endpoints the action applies, and why not to the others."""
        using = written_to(self.admin.get_queryset(request))
        plan, now = action.plan(chosen, using), db_now(using)
        endpoints = (
            ClientEndpoint.objects.using(using)
            .select_related("health")
            .in_bulk(list(dict(plan.by_endpoint)), field_name="name")
        )
        button = action.button % {"count": formatting.Count(plan.count)}
        return self.render(
            request,
            title=button,
            action=action,
            plan=plan,
            by_endpoint=[
                (name, count, formatting.endpoint_badge(endpoints[name], endpoints[name].health, now))
                for name, count in plan.by_endpoint
            ],
            recorded=[formatting.moment(moment, now) for moment in (plan.oldest, plan.newest)],
            button=button,
            # In one field, because the number of fields of a request is limited.
            chosen=",".join(map(str, chosen)),
            query=request.GET.urlencode(),
            **context,
        )

    def act(self, request: HttpRequest, action: Action, deliveries: list[Any]) -> None:
        """Take the action on the deliveries that it applies to; say to how many, and why not to the others."""
        ids, using = [delivery.pk for delivery in deliveries], written_to(self.admin.get_queryset(request))
        plan = action.plan(ids, using)
        with self.only_once(request) as first:
            if not first:
                return
            count = action.run(ids, using)
        affected = [delivery for delivery in deliveries if delivery.pk in plan.ids]
        self.record(request, affected, Message(action.history_code))
        if count:
            self.message(request, str(action.success % {"count": formatting.Count(count)}), messages.SUCCESS)
        for why, number in plan.left_out:
            sentence = _("%(count)s left out: %(why)s.") % {"count": formatting.number(number), "why": why}
            self.message(request, sentence, messages.WARNING)
