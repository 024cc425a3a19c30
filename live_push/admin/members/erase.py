"""Erase the bodies and answers that the delivery log keeps of a member."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push.admin.shared import formatting
from live_push.admin.shared.base import current_rows
from live_push.admin.shared.page import Page
from live_push.models import Delivery
from live_push.models.databases import written_to
from live_push.outbox import withdraw
from live_push.rules.messages import Message


class ErasePage(Page):
    """GET shows a confirmation. POST erases the content of the member's ended deliveries."""

    name = "erase"
    pattern = "<int:pk>/erase/"
    template = "confirm.html"
    permission = "erase_delivery_content"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        profile = self.get_object(request, pk)
        if request.method == "POST":
            ended = current_rows(request, Delivery.objects.filter(profile=pk, ended_at__isnull=False))
            count = withdraw.erase_content(list(ended.values_list("pk", flat=True)), using=written_to(ended))
            self.record(request, [profile], Message("history_log_erased"))
            sentence = ngettext("%(count)s delivery was erased.", "%(count)s deliveries were erased.", count)
            self.message(request, sentence % {"count": formatting.number(count)}, messages.SUCCESS)
            return self.to_object(profile)
        return self.render(
            request,
            original=profile,
            title=_("Erase the push log of member #%(pk)s?") % {"pk": pk},
            sentences=[
                _("Bodies and answers are erased permanently. The log still shows that something was sent, and when."),
                _("Deliveries that are still waiting are sent. Erase them afterwards."),
            ],
            hidden=[],
            button=_("Erase push log"),
            back=self.admin_url("change", pk),
        )
