"""A page that an admin adds to the pages of Django's admin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from . import history, idempotency
from .permissions import may


class Page:
    """Base of the pages. A page belongs to one admin and keeps no state between requests.

    ``name``
        The last part of the URL's name: ``catch_up`` makes ``admin:live_push_clientendpoint_catch_up``.
    ``pattern``
        The address below the admin's own, as for :func:`django.urls.path`.
    ``template``
        The template's path below ``admin/live_push/``.
    ``permission``
        The permission of this app that the page needs; empty if seeing the object is enough.
    """

    name: ClassVar[str]
    pattern: ClassVar[str]
    template: ClassVar[str]
    permission: ClassVar[str] = ""

    def __init__(self, admin: ModelAdmin[Any]) -> None:
        self.admin = admin

    def view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer a request. The login and the CSRF token are checked already, permissions are not."""
        raise NotImplementedError

    def allows(self, request: HttpRequest) -> bool:
        """Return whether the user may do what the page is for."""
        return not self.permission or may(request, self.permission)

    # Addresses

    @property
    def url_name(self) -> str:
        """The name of the URL, without ``admin:``."""
        return f"{self.admin.opts.app_label}_{self.admin.opts.model_name}_{self.name}"

    def urls(self) -> list[URLPattern]:
        """Return the URL patterns of the page."""
        return [path(self.pattern, self.admin.admin_site.admin_view(self.view), name=self.url_name)]

    def url(self, *args: Any) -> str:
        """Return the address of the page."""
        return reverse(f"admin:{self.url_name}", args=args, current_app=self.admin.admin_site.name)

    def admin_url(self, name: str, *args: Any) -> str:
        """Return the address of one of Django's own pages for the model, such as ``changelist``."""
        full_name = f"admin:{self.admin.opts.app_label}_{self.admin.opts.model_name}_{name}"
        return reverse(full_name, args=args, current_app=self.admin.admin_site.name)

    # Requests

    def check(self, request: HttpRequest, obj: Any = None) -> None:
        """Raise ``PermissionDenied`` unless the user may use the page and see the object; without one, any object."""
        if not self.allows(request) or not self.admin.has_view_permission(request, obj):
            raise PermissionDenied

    def get_object(self, request: HttpRequest, pk: int) -> Any:
        """Return the object with this id. Raises ``PermissionDenied`` or ``Http404``."""
        if not self.allows(request):
            # Checked before the lookup, so that the response does not reveal whether the object exists.
            raise PermissionDenied
        obj = self.admin.get_queryset(request).filter(pk=pk).first()
        if obj is None:
            raise Http404
        self.check(request, obj)
        return obj

    @contextmanager
    def only_once(self, request: HttpRequest) -> Iterator[bool]:
        """Yield whether this is the first request with its idempotency key. If not, show a message."""
        with idempotency.first_time(request) as first:
            if not first:
                self.message(request, _("This was confirmed twice, but done only once."), messages.WARNING)
            yield first

    # Responses

    def render(self, request: HttpRequest, template: str = "", **context: Any) -> TemplateResponse:
        """Render the page's template, or another one below ``admin/live_push/``.

        ``title``
            The heading.
        ``original``
            The object that the page is about, if any.
        """
        request.current_app = self.admin.admin_site.name
        shared = {
            **self.admin.admin_site.each_context(request),
            "opts": self.admin.opts,
            "media": self.admin.media,
            "has_view_permission": self.admin.has_view_permission(request),
            "idempotency_key": idempotency.new_key(),
        }
        return TemplateResponse(request, f"admin/live_push/{template or self.template}", {**shared, **context})

    def to_object(self, obj: Model) -> HttpResponseRedirect:
        """Redirect to the object's own page."""
        return HttpResponseRedirect(self.admin_url("change", obj.pk))

    def list_url(self, query: str) -> str:
        """Return the address of the list with this query, so that the user gets back to the same filters."""
        return f"{self.admin_url('changelist')}?{query}"

    def message(self, request: HttpRequest, sentence: str, level: int) -> None:
        """Show a sentence on the next page."""
        self.admin.message_user(request, sentence, level)

    def record(self, request: HttpRequest, objects: Iterable[Model], message: Any) -> None:
        """Write into the history what was done to the objects."""
        history.record(request, self.admin.model, objects, message)
