"""The golden sample: the member of the published documentation, as a row and as a body."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .encoding import encode, load
from .options import PayloadOptions
from .payload import ProfilePayload

_ASSIGNED = datetime(2017, 3, 23, 19, tzinfo=UTC)
_EXPIRES = datetime(2017, 3, 23, 20, tzinfo=UTC)
_UPDATED = datetime(2017, 3, 23, 20, 49, 4, tzinfo=UTC)

ROW: dict[str, Any] = {
    "country": "US",
    "receive_sms_messages": False,
    "facebook_user_id": None,
    "redeemable_points": 5200,
    "postal_code": "10001",
    "custom_data": None,
    "sign_up_type_id": 3,
    "is_active": True,
    "email_address": "george.twist@example.com",
    "date_mobile_verified": None,
    "date_last_login": datetime(2017, 3, 23, 17, 28, 45, tzinfo=UTC),
    "yahoo_user_id": None,
    "state": "NY",
    "id": 6566,
    "monthly_points": 0,
    "sign_up_campaign": None,
    "sign_up_channel_id": None,
    "ip_address": None,
    "fan_rank": 0,
    "first_name": "George",
    "fsq_user_id": None,
    "activity_stream_opt_in": True,
    "google_user_id": None,
    "region": "Northeast",
    "inst_user_id": None,
    "weekly_points": 0,
    "last_name": "Twist",
    "client_branding_id": "0",
    "gender": "Male",
    "city": "New York City",
    "date_last_updated": _UPDATED,
    "num_facebook_friends": 0,
    "third_party_id": None,
    "date_created": datetime(2017, 3, 23, 18, 28, 45, tzinfo=UTC),
    "mobile_phone_number": "12312312321",
    "num_twitter_followers": 0,
    "street_address_1": None,
    "street_address_2": None,
    "email_is_verified": True,
    "date_of_birth": datetime(1974, 7, 6, 20, tzinfo=UTC),
    "receive_email_updates": True,
    "user_name": "gtwist12",
    "twitter_user_id": None,
    "lang_pref": None,
    "total_points": 5200,
    "num_points_purchased": 0,
    "middle_name": None,
    "password_generated": False,
    "tier_title": "Tier 1",
    "tier_min_value": None,
    "tier_max_value": 999,
    "tier_maintain_score": None,
    "tier_next_title": "Tier 2",
    "tier_next_min_value": 1000,
    "tier_next_max_value": 2499,
    "tier_timeframe": "fixed",
    "tier_score": 0,
    "tier_timeframe_score": 0,
    "tier_date_reached": _ASSIGNED,
    "tier_date_assigned": _ASSIGNED,
    "tier_expiration_date": _EXPIRES,
    "tier_reset_date": _EXPIRES,
    "tier_assigned_by_event": "drop",
    "tier_time_zone": "UTC",
    "monthly_points_period": None,
    "weekly_points_period": None,
    "now": _UPDATED,
}


def sample(options: PayloadOptions | None = None) -> dict[str, Any]:
    """Return the body of the golden sample as an endpoint with these options receives it."""
    return load(encode(ProfilePayload().snapshot(ROW), options or PayloadOptions()))
