"""The base class of the app's admins. It inherits from the class that the setting ``ADMIN_BASE`` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.core.paginator import Paginator
from django.db.models import JSONField, Model, QuerySet
from django.forms import BooleanField, Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.functional import cached_property
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from live_push import conf
from live_push.models.databases import written_to

from . import formatting, history
from .json_field import JsonField
from .page import Page

if TYPE_CHECKING:
    AdminBase = admin.ModelAdmin[Any]
    TabularBase = admin.TabularInline[Any, Any]
    StackedBase = admin.StackedInline[Any, Any]
else:
    AdminBase = import_string(conf.admin_base())
    # A theme defines its inlines in the module of its ModelAdmin, under Django's names.
    _theme = import_module(AdminBase.__module__)
    TabularBase = getattr(_theme, "TabularInline", admin.TabularInline)
    StackedBase = getattr(_theme, "StackedInline", admin.StackedInline)

ROWS_LISTED = 10_000
"""The most rows that a list counts and pages through, and that one action takes on.

Filters and search still find rows beyond the limit.
"""

View = Callable[..., HttpResponse]
M = TypeVar("M", bound=Model)


def unreported(view: View) -> View:
    """Keep the posted values and the variables of all frames below the view out of error reports.

    All variables are hidden, so that a new one can't show a secret. This wraps the outermost function, so the admin's
    own checks are covered, too: a report about a session that can't be read does not show a posted credential.
    """
    return sensitive_variables()(sensitive_post_parameters()(view))


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to :data:`ROWS_LISTED` rows, because counting millions takes longer than reading a page."""

    @property
    def count(self) -> int:
        return min(self._counted, ROWS_LISTED)

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than the limit."""
        return self._counted > ROWS_LISTED

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        # One row more than the limit shows whether there are more.
        return rows[: ROWS_LISTED + 1].count() if isinstance(rows, QuerySet) else len(rows)


def current_rows(request: HttpRequest, rows: QuerySet[M]) -> QuerySet[M]:
    """Return the rows of a page. For a POST, they are read from the database to which they are written.

    A replica may lag behind, so a POST must not base a change on what it reads there.
    """
    return rows.using(written_to(rows)) if request.method == "POST" else rows


class CurrentRows:
    """A mixin for admins and inlines that applies :func:`current_rows`."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return current_rows(request, super().get_queryset(request))  # type: ignore[misc]


class LivePushAdmin(CurrentRows, AdminBase):
    """Base of the app's admins. ``pages`` are the pages that an admin adds to Django's own."""

    pages: ClassVar[tuple[type[Page], ...]] = ()
    formfield_overrides = {JSONField: {"form_class": JsonField}}
    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ["live_push/live_push.css"]}
        js = [Script("live_push/live_push.js", defer=True)]

    # The list

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show “10,000+” as the number of results if the list is capped."""
        response = super().changelist_view(request, extra_context)
        # The response may also be a confirmation or a redirect, which have no list.
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if changelist is not None and changelist.paginator.is_capped:
            # Django shows both numbers, and hides the second if it equals the first.
            changelist.result_count = changelist.full_result_count = formatting.more_than(changelist.result_count)
        return response

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Refuse any action, also of Django or a theme, on more than :data:`ROWS_LISTED` rows.

        A capped list does not offer to select all rows, but a request that no browser made may still do so.
        """
        selects_all = BooleanField(required=False).clean(request.POST.get("select_across"))
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        chosen = CappedPaginator(queryset if selects_all else selected, self.list_per_page)
        if chosen.is_capped:
            sentence = _("More than %(most)s are chosen. Narrow the choice, or use the command line.")
            self.message_user(request, sentence % {"most": formatting.number(ROWS_LISTED)}, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    # Pages

    def own_urls(self) -> list[URLPattern]:
        """Return the URL patterns of :attr:`pages`."""
        return [url for page in self.pages for url in page(self).urls()]

    def get_urls(self) -> list[Any]:
        urls = [*self.own_urls(), *super().get_urls()]
        for url in urls:
            # A theme's admin may include further patterns. They are not ours to wrap.
            if isinstance(url, URLPattern):
                url.callback = unreported(url.callback)
        return urls

    # The history

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            for entry in response.context_data["action_list"]:
                entry.change_message = history.history_in_words(entry)
        return response

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return history.record(request, self.model, [obj], message, ADDITION)[0]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return history.record(request, self.model, [obj], message)[0]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> list[LogEntry]:
        return history.record(request, self.model, queryset, "", DELETION)
