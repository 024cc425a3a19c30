"""The list and the form of members, with the state at each endpoint and the history of tiers."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push import conf
from live_push.admin.programs.program_admin import picture_of
from live_push.admin.shared import formatting
from live_push.admin.shared.base import CurrentRows, LivePushAdmin, StackedBase
from live_push.admin.shared.permissions import may
from live_push.admin.shared.recent import RECENT, recent
from live_push.models import Attempt, ClientEndpoint, Confirmation, Delivery, TierEvent, TierMembership, UserProfile
from live_push.models.clock import DbNow
from live_push.rules.parse_id import parse_id
from live_push.rules.tiers import lifecycle, timeframes
from live_push.rules.tiers.ladder import from_base_to_top
from live_push.rules.tiers.points import COUNTER_COLUMNS, Counters

from .erase import ErasePage
from .forms import ProfileForm
from .override import OverridePage
from .preview import MemberPreviewPage
from .push import PushPage
from .resend import ResendPage

LATE = timedelta(seconds=1)
"""An event applied later than this was applied by the clock. An award is applied at once."""

STEPS, UPDATES = 50, RECENT
"""The most tier changes to show, and the most changes of the score only, which would crowd out the others."""

OWNED_BY_TIERS = ("total_points", "redeemable_points", "monthly_points", "weekly_points")
COUNTED = ("total_points", "redeemable_points", "points_this_month", "points_this_week")
"""The same points on the page of a member. Points of a month or week that has passed are 0 there, as in a push."""


class MembershipInline(CurrentRows, StackedBase):
    """The member's tier, read-only. Points, the clock and the override's page change it."""

    model = TierMembership
    fields = (
        "tier",
        "tier_score",
        "timeframe_score",
        "assigned_by_event",
        "date_reached",
        "date_assigned",
        "expiration_date",
        "reset_date",
        "in_maintenance",
    )
    readonly_fields = fields
    can_delete = False
    max_num = 0

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("tier")


@admin.register(UserProfile)
class UserProfileAdmin(LivePushAdmin):
    """The list and the form. Each further page is a class of its own."""

    pages = (ResendPage, MemberPreviewPage, PushPage, ErasePage, OverridePage)

    form = ProfileForm
    list_display = ("member", "email_address", "tier", "total_points", "third_party_id", "updated")
    list_filter = ("is_active",)
    search_fields = ("pk",)
    search_help_text = gettext_lazy("Enter an exact id, e-mail address, third-party id or user name.")
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-pk",)
    raw_id_fields = ("user",)
    actions = ("resend",)
    inlines = (MembershipInline,)
    change_form_template = "admin/live_push/userprofile/change_form.html"

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        profiles: QuerySet[Any] = (
            super().get_queryset(request).select_related("tier_membership__tier").annotate(now=DbNow())
        )
        return profiles

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if term:
            exactly = Q(email_address=term) | Q(third_party_id=term) | Q(user_name=term)
            if (pk := parse_id(term)) is not None:
                exactly |= Q(pk=pk)
            queryset = queryset.filter(exactly)
        return queryset, False

    @admin.display(description=gettext_lazy("member"))
    def member(self, profile: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">#{}</span>', str(profile), profile.pk)

    @admin.display(description=gettext_lazy("tier"))
    def tier(self, profile: Any) -> str:
        membership = getattr(profile, "tier_membership", None)
        return formatting.NOTHING if membership is None else str(membership.tier.title)

    @admin.display(description=gettext_lazy("last updated"))
    def updated(self, profile: Any) -> SafeString | str:
        return formatting.moment(profile.date_last_updated, profile.now)

    # The form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        readonly = ["date_last_updated"]
        if obj is not None:
            # A form that was opened before an award would overwrite the new points.
            readonly += COUNTED
            if obj.user_id is not None:
                readonly += conf.current().USER_FIELDS
        if not may(request, "change_third_party_id"):
            readonly.append("third_party_id")
        return readonly

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (None, {"fields": ["user", "user_name", "email_address", "email_is_verified", "is_active"]}),
            (
                _("Person"),
                {"fields": ["first_name", "middle_name", "last_name", "gender", "date_of_birth", "lang_pref"]},
            ),
            (
                _("Address and phone"),
                {
                    "fields": [
                        *("street_address_1", "street_address_2", "postal_code", "city", "state", "region", "country"),
                        *("mobile_phone_number", "date_mobile_verified"),
                    ],
                    "classes": ["collapse"],
                },
            ),
            (
                _("Points"),
                {"fields": [*(OWNED_BY_TIERS if obj is None else COUNTED), "num_points_purchased", "fan_rank"]},
            ),
            (
                _("Consent"),
                {"fields": ["receive_email_updates", "receive_sms_messages", "activity_stream_opt_in"]},
            ),
            (_("Ids of others"), {"fields": _IDS_OF_OTHERS, "classes": ["collapse"]}),
            (_("Sign-up and custom data"), {"fields": _SIGN_UP, "classes": ["collapse"]}),
        ]

    @admin.display(description=gettext_lazy("points this month"))
    def points_this_month(self, profile: Any) -> str:
        return formatting.number(counted_now(profile).monthly_points)

    @admin.display(description=gettext_lazy("points this week"))
    def points_this_week(self, profile: Any) -> str:
        return formatting.number(counted_now(profile).weekly_points)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Write only the edited fields, so that concurrent changes stay. A save without a change still pushes.
        concrete = {field.name for field in UserProfile._meta.concrete_fields}
        changed = [name for name in form.changed_data if name in concrete]
        obj.save(update_fields=changed or ["date_last_updated"])

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        profile = kwargs.get("obj")
        if profile is not None:
            context.update(self.panel(request, profile))
        return super().render_change_form(request, context, *args, **kwargs)

    def panel(self, request: HttpRequest, profile: Any) -> dict[str, Any]:
        """Return the context of the sections above and below the form."""
        membership = getattr(profile, "tier_membership", None)
        preview = MemberPreviewPage(self)
        may_preview = preview.allows(request) and may(request, "view_clientendpoint")
        pages = (PushPage(self), ErasePage(self), OverridePage(self))
        return {
            "endpoint_states": endpoint_states(profile),
            "recent": recent(Delivery.objects.filter(profile=profile), profile.now)
            if may(request, "view_delivery")
            else None,
            "captured": captured(profile) if may(request, "view_delivery") else (),
            "next_tier": next_tier(membership) if membership else None,
            "tier_events": tier_history(profile),
            "ladder": picture_of(list(membership.tier.program.tiers.all()), membership.tier_id) if membership else "",
            "preview_url": preview.url(profile.pk) if may_preview else "",
            "page_urls": {page.name: page.url(profile.pk) for page in pages if page.allows(request)},
        }

    # The action

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resend members."""
        return ResendPage(self).allows(request)

    @admin.action(description=gettext_lazy("Resend current profile"), permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return ResendPage(self).confirm(request, queryset)


_IDS_OF_OTHERS = (
    "third_party_id",
    "facebook_user_id",
    "fsq_user_id",
    "google_user_id",
    "inst_user_id",
    "twitter_user_id",
    "yahoo_user_id",
    "num_facebook_friends",
    "num_twitter_followers",
)
_SIGN_UP = (
    "sign_up_type_id",
    "sign_up_channel_id",
    "sign_up_campaign",
    "client_branding_id",
    "ip_address",
    "password_generated",
    "custom_data",
    "date_created",
    "date_last_login",
    "date_last_updated",
)


def endpoint_states(profile: Any) -> list[tuple[ClientEndpoint, formatting.Badge, SafeString | str]]:
    """Return for each endpoint whether it has confirmed the member's latest state, and when it last accepted one."""
    confirmed = {row.endpoint_id: row for row in Confirmation.objects.filter(profile=profile)}
    states = []
    for endpoint in ClientEndpoint.objects.order_by("name"):
        confirmation = confirmed.get(endpoint.pk)
        if confirmation is None:
            badge = formatting.Badge(_("never sent"), "none", "quiet")
        elif confirmation.sequence < profile.changed_sequence or confirmation.uncertain_since:
            badge = formatting.Badge(_("behind"), "wait", "warn")
        else:
            badge = formatting.Badge(_("confirmed"), "ok", "ok")
        # Sequence 0 means that it is not known whether the endpoint has accepted anything.
        accepted_at = confirmation.confirmed_at if confirmation and confirmation.sequence else None
        states.append((endpoint, badge, formatting.moment(accepted_at, profile.now)))
    return states


def counted_now(profile: Any) -> Counters:
    """Return a member's counters as of now: those of a month or week that has passed are 0."""
    membership = getattr(profile, "tier_membership", None)
    zone = UTC if membership is None else timeframes.zone_named(membership.tier.program.time_zone)
    return Counters(**{name: getattr(profile, name) for name in COUNTER_COLUMNS}).as_of(profile.now, zone)


def tier_history(profile: Any) -> list[tuple[TierEvent, Any, Any]]:
    """Return the events of a member's tier, newest first: event, when it was due, and when it was applied if late."""
    newest = profile.tier_events.order_by("-pk")
    update = lifecycle.Event.UPDATE.value
    events = [*newest.exclude(event=update)[:STEPS], *newest.filter(event=update)[:UPDATES]]
    return [
        (
            event,
            formatting.moment(event.due_at, profile.now),
            formatting.moment(event.applied_at, profile.now) if event.applied_at - event.due_at > LATE else "",
        )
        for event in sorted(events, key=lambda event: event.pk, reverse=True)
    ]


def captured(profile: Any) -> list[tuple[Attempt, Any, str]]:
    """Return the third-party ids that endpoints returned for a member, newest first, and the result of each."""
    attempts = Attempt.objects.filter(delivery__profile=profile, captured_id__isnull=False)
    ids = []
    for attempt in attempts.select_related("delivery__endpoint").order_by("-pk")[:RECENT]:
        result = _("stored")
        if attempt.capture_conflict:
            result = _("conflict: it belongs to another member")
        elif attempt.replaced_id:
            result = _("stored; it replaced “%(id)s”") % {"id": attempt.replaced_id}
        ids.append((attempt, formatting.moment(attempt.started_at, profile.now), result))
    return ids


def next_tier(membership: TierMembership) -> dict[str, Any] | None:
    """Return how far the next tier is; ``None`` in the top tier."""
    ladder = from_base_to_top(membership.tier.program.tiers.all())
    above = [tier for tier in ladder if (tier.min_value or 0) > (membership.tier.min_value or 0)]
    if not above:
        return None
    needed, score = above[0].min_value or 0, membership.timeframe_score
    sentence = _("%(score)s of the %(needed)s points for “%(tier)s”.") % {
        "score": formatting.number(score),
        "needed": formatting.number(needed),
        "tier": above[0].title,
    }
    return {"needed": needed, "score": min(score, needed), "sentence": sentence}
