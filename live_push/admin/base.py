"""What all admin pages of the app share: the base class that the setting names, own pages, the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import JSONField, Model, QuerySet
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import override

from live_push import conf

from . import once
from .json_field import JsonField
from .sentences import translated

if TYPE_CHECKING:
    AdminBase = admin.ModelAdmin[Any]
    TabularBase = admin.TabularInline[Any, Any]
    StackedBase = admin.StackedInline[Any, Any]
else:
    AdminBase = import_string(conf.current().ADMIN_BASE)
    # A theme's own inlines stand beside its ModelAdmin, under the names that Django gave them.
    _theme = import_module(AdminBase.__module__)
    TabularBase = getattr(_theme, "TabularInline", admin.TabularInline)
    StackedBase = getattr(_theme, "StackedInline", admin.StackedInline)

ROWS_LISTED = 10_000
"""As far as a list counts and pages; what is older is found by filters and search."""

View = Callable[..., HttpResponse]


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than :data:`ROWS_LISTED`: to count millions of rows takes longer than to read a page."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows[:ROWS_LISTED].count() if isinstance(rows, QuerySet) else len(rows)

    @property
    def is_capped(self) -> bool:
        """Whether there may be more rows than are counted."""
        return self.count == ROWS_LISTED


class LivePushAdmin(AdminBase):
    """Base of the app's admins."""

    formfield_overrides = {JSONField: {"form_class": JsonField}}
    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ["live_push/live_push.css"]}
        js = [Script("live_push/live_push.js", defer=True)]

    # Own pages

    def own_urls(self) -> Iterable[URLPattern]:
        """The pages that this admin adds."""
        return ()

    def get_urls(self) -> list[Any]:
        return [*self.own_urls(), *super().get_urls()]

    def route(self, pattern: str, view: View, name: str) -> URLPattern:
        """One page of our own: behind the login, with CSRF protection; the view checks the permission."""
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(pattern, self.admin_site.admin_view(view), name=full_name)

    def url(self, name: str, *args: Any) -> str:
        """The address of a page of this admin."""
        full_name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full_name, args=args, current_app=self.admin_site.name)

    def page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        """Render a page of our own; ``title`` is its heading, ``original`` the object it is about, if any."""
        request.current_app = self.admin_site.name
        everywhere = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "has_view_permission": self.has_view_permission(request),
            "once": once.token(),
        }
        return TemplateResponse(request, f"admin/live_push/{template}", {**everywhere, **context})

    def back_to(self, obj: Model) -> HttpResponseRedirect:
        """To the object's own page."""
        return HttpResponseRedirect(self.url("change", obj.pk))

    def found(self, request: HttpRequest, pk: int, *, allowed: bool) -> Any:
        """The object, where the user is ``allowed`` to do what the page is for and to see it."""
        if not allowed:
            raise PermissionDenied
        obj = self.get_queryset(request).filter(pk=pk).first()
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj

    @contextmanager
    def done_once(self, request: HttpRequest) -> Iterator[bool]:
        """Whether what a page asked about is to be done; where it was done already, says so."""
        with once.first_time(request) as first:
            if not first:
                self.message_user(request, _("This was confirmed twice; it was done once."), messages.WARNING)
            yield first

    # The history

    def note(
        self,
        request: HttpRequest,
        objects: Iterable[Model],
        message: Any,
        flag: int = CHANGE,
        values: Mapping[str, Any] | None = None,
    ) -> list[LogEntry]:
        """Write into the admin's history what was done, by whom. Never a secret, an answer or a member's data.

        It is kept as it stands in the source, and said in the language of whoever reads it: its shape is one of
        those in :mod:`.sentences`.
        """
        with override(None):
            text = json.dumps(message) if isinstance(message, list) else str(message)
        text = text % values if values else text
        content_type = ContentType.objects.get_for_model(self.model, for_concrete_model=False)
        entries = [
            LogEntry(
                user_id=request.user.pk or 0,
                content_type=content_type,
                object_id=str(obj.pk),
                object_repr=self.name_in_history(obj)[:200],
                action_flag=flag,
                change_message=text,
            )
            for obj in objects
        ]
        return LogEntry.objects.bulk_create(entries)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            for entry in response.context_data["action_list"]:
                entry.change_message = translated(entry.change_message)
        return response

    def name_in_history(self, obj: Model) -> str:
        """What the history calls an object; it stays there when the object is gone."""
        return str(obj)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return self.note(request, [obj], message, ADDITION)[0]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return self.note(request, [obj], message)[0]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> list[LogEntry]:
        return self.note(request, queryset, "", DELETION)


def may(request: HttpRequest, codename: str) -> bool:
    """Whether the user has a permission of this app."""
    return request.user.has_perm(f"live_push.{codename}")
