"""What holds under django-unfold; run by ``test_under_unfold`` in a process of its own, never with the other tests."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils.html import escape
from unfold.admin import ModelAdmin, StackedInline, TabularInline

from live_push import models
from live_push.admin.shared.base import StackedBase, TabularBase

from .pages import all_pages

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("world")]


def test_themed_admins_and_inlines_stand_on_the_theme() -> None:
    ours = [one for model, one in admin.site._registry.items() if model.__module__.startswith(models.__name__)]
    assert ours
    assert all(isinstance(one, ModelAdmin) for one in ours)
    assert (StackedBase, TabularBase) == (StackedInline, TabularInline)


def test_themed_pages_wear_the_styles_of_the_theme_and_ours(boss: Client) -> None:
    for name, address in all_pages().items():
        response = boss.get(address)
        page = response.content.decode()
        assert response.status_code == 200, name
        assert "unfold/css/styles.css" in page, name
        assert any(template.name == "unfold/layouts/skeleton.html" for template in response.templates), name
        assert "live_push/live_push.css" in page, name
        # Pages of our own: the theme shows no title of theirs.
        if "idempotency_key" in response.context:
            assert f'<h1 class="lp-title">{escape(response.context["title"])}</h1>' in page, name
    assert LogEntry.objects.count() == 0
