"""Tags for the app's admin templates. They also work on Django's own pages, which do not pass our context."""

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
"""True since Django 6.1."""


@register.simple_tag
def undelivered() -> datetime | None:
    """Return since when work has been due that no worker does; ``None`` if all is well."""
    # Imported here, because every template engine imports this module, even if the admin is not installed.
    from live_push.figures import pages

    return pages.undelivered_since()


@register.simple_tag(takes_context=True)
def live_push_media(context: Context, media: Any = OURS) -> str:
    """Render styles and scripts, by default ours, with the nonce of the site's Content Security Policy if there is one.

    Django has a tag for this only since 6.1.
    """
    nonce = context.get("csp_nonce")
    if nonce is None or not TAKES_ATTRIBUTES:
        return str(media.render())
    return str(media.render(attrs={"nonce": nonce}))
