"""Members: the form whose save is pushed, where each endpoint stands, and the way through the tiers."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push import conf
from live_push.ids import as_id
from live_push.models import Attempt, ClientEndpoint, Confirmation, Delivery, TierEvent, TierMembership, UserProfile
from live_push.models.clock import DbNow
from live_push.tiers import rules, timeframes
from live_push.tiers.ladder import from_base_to_top
from live_push.tiers.points import COUNTERS, Counters

from . import words
from .base import CappedPaginator, LivePushAdmin, StackedBase, may
from .member_pages import MemberPages
from .profile_forms import ProfileForm
from .recent import RECENT, recent
from .resending import Resending
from .tiers import picture_of

# An award is applied a moment after it was due; a run of the clock, minutes or more.
LATE = timedelta(seconds=1)

# So many changes of tier are told, and so many mere changes of score, which would else crowd them out.
STEPS, UPDATES = 50, RECENT

OWNED_BY_TIERS = ("total_points", "redeemable_points", "monthly_points", "weekly_points")
# The same on the page of a member, where points of a month or week that has passed read as 0, as in the push.
COUNTED = ("total_points", "redeemable_points", "points_this_month", "points_this_week")


class MembershipInline(StackedBase):
    """Where the member stands; moved by points, by the clock, or on the override's page."""

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
class UserProfileAdmin(Resending, MemberPages, LivePushAdmin):
    """Members."""

    form = ProfileForm
    paginator = CappedPaginator
    list_display = ("member", "email_address", "tier", "total_points", "third_party_id", "updated")
    list_filter = ("is_active",)
    search_fields = ("pk",)
    search_help_text = gettext_lazy("Exactly: an id, an e-mail address, a third-party id, a user name.")
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
            if (pk := as_id(term)) is not None:
                exactly |= Q(pk=pk)
            queryset = queryset.filter(exactly)
        return queryset, False

    @admin.display(description=gettext_lazy("member"))
    def member(self, profile: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">#{}</span>', str(profile), profile.pk)

    @admin.display(description=gettext_lazy("tier"))
    def tier(self, profile: Any) -> str:
        membership = getattr(profile, "tier_membership", None)
        return words.NOTHING if membership is None else str(membership.tier.title)

    @admin.display(description=gettext_lazy("last updated"))
    def updated(self, profile: Any) -> SafeString | str:
        return words.moment(profile.date_last_updated, profile.now)

    # The form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        readonly = ["date_last_updated"]
        if obj is not None:
            # A form that was opened before an award would take it back.
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
        return words.number(counted_now(profile).monthly_points)

    @admin.display(description=gettext_lazy("points this week"))
    def points_this_week(self, profile: Any) -> str:
        return words.number(counted_now(profile).weekly_points)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Only what was edited here, so that what others wrote meanwhile stays; a save without a change still pushes.
        concrete = {field.name for field in UserProfile._meta.concrete_fields}
        changed = [name for name in form.changed_data if name in concrete]
        obj.save(update_fields=changed or ["date_last_updated"])

    def name_in_history(self, obj: Model) -> str:
        return f"#{obj.pk}"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        profile = kwargs.get("obj")
        if profile is not None:
            context.update(self.panel(request, profile))
        return super().render_change_form(request, context, *args, **kwargs)

    def panel(self, request: HttpRequest, profile: Any) -> dict[str, Any]:
        """What stands around the form."""
        membership = getattr(profile, "tier_membership", None)
        return {
            "endpoint_states": endpoint_states(profile),
            "recent": recent(Delivery.objects.filter(profile=profile), profile.now)
            if may(request, "view_delivery")
            else None,
            "captured": captured(profile) if may(request, "view_delivery") else (),
            "ahead": ahead(membership) if membership else None,
            "tier_events": way_through_the_tiers(profile),
            "ladder": picture_of(list(membership.tier.program.tiers.all()), membership.tier_id) if membership else "",
            "may_preview": may(request, "view_delivery_content") and may(request, "view_clientendpoint"),
            "may_override": may(request, "change_tiermembership"),
            "may_resend": may(request, "resend_delivery") and may(request, "view_clientendpoint"),
            "may_erase": may(request, "erase_delivery_content"),
        }


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


def endpoint_states(profile: Any) -> list[tuple[ClientEndpoint, words.Badge, SafeString | str]]:
    """Where each endpoint stands with a member's latest state, and when it accepted one."""
    confirmed = {row.endpoint_id: row for row in Confirmation.objects.filter(profile=profile)}
    found = []
    for endpoint in ClientEndpoint.objects.order_by("name"):
        confirmation = confirmed.get(endpoint.pk)
        if confirmation is None:
            badge = words.Badge(_("never sent"), "none", "quiet")
        elif confirmation.sequence < profile.changed_sequence:
            badge = words.Badge(_("behind"), "wait", "warn")
        else:
            badge = words.Badge(_("confirmed"), "ok", "ok")
        accepted = words.moment(confirmation.confirmed_at if confirmation else None, profile.now)
        found.append((endpoint, badge, accepted))
    return found


def counted_now(profile: Any) -> Counters:
    """A member's counters as they read now."""
    membership = getattr(profile, "tier_membership", None)
    zone = UTC if membership is None else timeframes.zone_named(membership.tier.program.time_zone)
    return Counters(**{name: getattr(profile, name) for name in COUNTERS}).seen(profile.now, zone)


def way_through_the_tiers(profile: Any) -> list[tuple[TierEvent, Any, Any]]:
    """What happened to a member's tier, newest first: the event, when it was due, when applied if late."""
    newest = profile.tier_events.order_by("-pk")
    mere = rules.Event.UPDATE.value
    events = [*newest.exclude(event=mere)[:STEPS], *newest.filter(event=mere)[:UPDATES]]
    return [
        (
            event,
            words.moment(event.due_at, profile.now),
            words.moment(event.applied_at, profile.now) if event.applied_at - event.due_at > LATE else "",
        )
        for event in sorted(events, key=lambda event: event.pk, reverse=True)
    ]


def captured(profile: Any) -> list[tuple[Attempt, Any, str]]:
    """The third-party ids that endpoints returned for a member, newest first, and what came of each."""
    attempts = Attempt.objects.filter(delivery__profile=profile, captured_id__isnull=False)
    found = []
    for attempt in attempts.select_related("delivery__endpoint").order_by("-pk")[:RECENT]:
        result = _("stored")
        if attempt.capture_conflict:
            result = _("conflict: it belongs to another member")
        elif attempt.replaced_id:
            result = _("stored; it replaced “%(id)s”") % {"id": attempt.replaced_id}
        found.append((attempt, words.moment(attempt.started_at, profile.now), result))
    return found


def ahead(membership: TierMembership) -> dict[str, Any] | None:
    """How far the next tier is; ``None`` at the top."""
    ladder = from_base_to_top(membership.tier.program.tiers.all())
    above = [tier for tier in ladder if (tier.min_value or 0) > (membership.tier.min_value or 0)]
    if not above:
        return None
    needed, score = above[0].min_value or 0, membership.timeframe_score
    sentence = _("%(score)s of the %(needed)s points for “%(tier)s”.") % {
        "score": words.number(score),
        "needed": words.number(needed),
        "tier": above[0].title,
    }
    return {"needed": needed, "score": min(score, needed), "sentence": sentence}
