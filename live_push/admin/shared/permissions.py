"""The app's permissions."""

from __future__ import annotations

from django.http import HttpRequest


def may(request: HttpRequest, codename: str) -> bool:
    """Return whether the user has a permission of this app, such as ``resend_delivery``."""
    return request.user.has_perm(f"live_push.{codename}")
