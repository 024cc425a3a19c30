"""The addresses of all pages of the app, by name, for the rows that there are."""

from __future__ import annotations

from django.urls import reverse

from live_push.models import ClientEndpoint, Delivery, TierProgram, UserProfile


def url(name: str, *args: object) -> str:
    """The address of an admin page: ``url("delivery_change", 1)``."""
    return reverse(f"admin:live_push_{name}", args=args)


def all_pages() -> dict[str, str]:
    """Every page that opens with GET."""
    endpoint = ClientEndpoint.objects.filter(is_active=True).latest("pk")
    profile, program = UserProfile.objects.earliest("pk"), TierProgram.objects.latest("pk")
    pages = {
        "overview": url("overview"),
        "app index": reverse("admin:app_list", args=["live_push"]),
        "endpoints": url("clientendpoint_changelist"),
        "an endpoint": url("clientendpoint_change", endpoint.pk),
        "a new endpoint": url("clientendpoint_add"),
        "an endpoint's history": url("clientendpoint_history", endpoint.pk),
        "a test push": url("clientendpoint_test", endpoint.pk),
        "an endpoint's preview": url("clientendpoint_preview", endpoint.pk),
        "pausing": url("clientendpoint_switch", endpoint.pk),
        "catching up": url("clientendpoint_catch_up", endpoint.pk),
        "an audience": url("clientendpoint_audience", endpoint.pk),
        "a signing secret": url("clientendpoint_signing", endpoint.pk),
        "deliveries": url("delivery_changelist"),
        "members": url("userprofile_changelist"),
        "a member": url("userprofile_change", profile.pk),
        "a new member": url("userprofile_add"),
        "a preview": url("userprofile_preview", profile.pk) + f"?endpoint={endpoint.pk}",
        "pushing a member": url("userprofile_push", profile.pk),
        "erasing a member's log": url("userprofile_erase", profile.pk),
        "an override": url("userprofile_override", profile.pk),
        "a member's history": url("userprofile_history", profile.pk),
        "deleting a member": url("userprofile_delete", profile.pk),
        "programs": url("tierprogram_changelist"),
        "a program": url("tierprogram_change", program.pk),
        "a new program": url("tierprogram_add"),
        "a program's history": url("tierprogram_history", program.pk),
        "deleting a program": url("tierprogram_delete", program.pk),
    }
    for delivery in Delivery.objects.order_by("pk"):
        pages[f"a {delivery.status} delivery"] = url("delivery_change", delivery.pk)
        pages["a delivery's history"] = url("delivery_history", delivery.pk)
    return pages
