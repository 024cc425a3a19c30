"""What the app's templates in the admin ask for, also where a page of Django's own gives them no context."""

from __future__ import annotations

import inspect
from datetime import datetime
from typing import Any, Final

from django import template
from django.forms import Media, Script
from django.template import Context

register = template.Library()

SCRIPTS: Final[Any] = [Script("live_push/live_push.js", defer=True)]
OURS: Final = Media(css={"all": ["live_push/live_push.css"]}, js=SCRIPTS)
TAKES_ATTRIBUTES: Final = "attrs" in inspect.signature(Media.render).parameters
"""From Django 6.1 on."""


@register.simple_tag
def undelivered() -> datetime | None:
    """Since when work has been due that nobody does."""
    # Only here: every template engine imports this module, also where the admin is not installed.
    from live_push.admin import figures

    return figures.undelivered()


@register.simple_tag(takes_context=True)
def live_push_media(context: Context, media: Any = OURS) -> str:
    """Styles and scripts, ours or those of a page, with the nonce of the site's policy where there is one.

    Django has a tag for it from 6.1 on, which older versions do not know.
    """
    nonce = context.get("csp_nonce")
    if nonce is None or not TAKES_ATTRIBUTES:
        return str(media.render())
    return str(media.render(attrs={"nonce": nonce}))
