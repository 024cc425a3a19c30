"""The field table: every key of the body, spelled here and nowhere else.

Payload, conformity check, JSON Schema and OpenAPI are all generated from it, so that they can't drift apart. The order
is the published one; it is kept for readability and no client may rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1

EVENTS = ("start", "update", "jump", "drop", "maintain", "reset")
"""How a member came to the current tier. Lower case on the wire, any case as input."""


class Kind(Enum):
    """What a value looks like on the wire, apart from null."""

    TEXT = "text"
    INTEGER = "whole number of at most 64 bits"
    NUMERIC = "whole number of at most 64 bits; a numeric text in the row is converted"
    COUNT = "whole number from 0"
    DAYS = "whole days from 0, rounded down; grows stale by itself, so it is no part of a digest"
    FLAG = "0 or 1"
    TEXT_FLAG = 'the text "0" or "1"'
    TIMESTAMP = "epoch seconds, negative before 1970"
    VERIFIED = "1, or epoch seconds where the endpoint asks for the date"
    INSTANT = "ISO 8601 in UTC with Z, to the second"
    EVENT = "one of the event names"
    NOTHING = "always null"
    CUSTOM_DATA = "object of scalars, never empty"
    TIER_INFO = "object of the tier members"
    LEVEL = "object of the level members"


@dataclass(frozen=True, slots=True)
class Field:
    """One key of the body.

    ``attribute`` is the key of the row that feeds it; for a derived member the name of the derived value, and empty
    where nothing feeds it. A level's attributes follow ``tier_`` (current) or ``tier_next_`` (next) in the row.
    ``max_length`` counts characters.
    """

    key: str
    attribute: str
    kind: Kind
    meaning: str
    nullable: bool = True
    max_length: int | None = None


BODY: tuple[Field, ...] = (
    Field("country", "country", Kind.TEXT, "two-letter country code"),
    Field("receiveSmsMessages", "receive_sms_messages", Kind.FLAG, "opted in to text messages", nullable=False),
    Field("facebookUserId", "facebook_user_id", Kind.TEXT, "Facebook id; text even where it is numeric"),
    Field("redeemablePoints", "redeemable_points", Kind.INTEGER, "points that can be spent", nullable=False),
    Field("postalCode", "postal_code", Kind.TEXT, "postal code; text, as it may have leading zeros and letters"),
    Field("tierInfo", "tier_info", Kind.TIER_INFO, "tier data; all members null without a tier", nullable=False),
    Field("customData", "custom_data", Kind.CUSTOM_DATA, "attributes of the program's own; null where there are none"),
    Field("signUpTypeId", "sign_up_type_id", Kind.INTEGER, "how the member signed up; an opaque number"),
    Field("isActive", "is_active", Kind.FLAG, "active member; a deactivation is pushed with 0", nullable=False),
    Field("emailAddress", "email_address", Kind.TEXT, "e-mail address"),
    Field("password", "", Kind.NOTHING, "kept for compatibility; never carries a password"),
    Field(
        "dateMobileVerified",
        "date_mobile_verified",
        Kind.VERIFIED,
        "whether the mobile number was verified: 1, else null; epoch seconds of the day where the endpoint asks for it",
    ),
    Field("dateLastLogin", "date_last_login", Kind.TIMESTAMP, "last login; null where there was none"),
    Field("yahooUserId", "yahoo_user_id", Kind.TEXT, "Yahoo id"),
    Field("state", "state", Kind.TEXT, "state"),
    Field("id", "id", Kind.INTEGER, "the member's id here; never changes", nullable=False),
    Field("monthlyPoints", "monthly_points", Kind.INTEGER, "points earned this calendar month", nullable=False),
    Field("signUpCampaign", "sign_up_campaign", Kind.TEXT, "campaign that won the member"),
    Field("signUpChannelId", "sign_up_channel_id", Kind.NUMERIC, "channel that won the member"),
    Field("ipAddress", "ip_address", Kind.TEXT, "IP address, version 4 or 6"),
    Field("fanRank", "fan_rank", Kind.INTEGER, "rank in the program; 0 while unranked"),
    Field("firstName", "first_name", Kind.TEXT, "first name"),
    Field("fsqUserId", "fsq_user_id", Kind.TEXT, "Foursquare id"),
    Field("activityStreamOptIn", "activity_stream_opt_in", Kind.TEXT_FLAG, "opted in to the activity stream"),
    Field("googleUserId", "google_user_id", Kind.TEXT, "Google id"),
    Field("region", "region", Kind.TEXT, "region"),
    Field("instUserId", "inst_user_id", Kind.TEXT, "Instagram id"),
    Field("weeklyPoints", "weekly_points", Kind.INTEGER, "points earned this week, from Monday", nullable=False),
    Field("lastName", "last_name", Kind.TEXT, "last name"),
    Field("clientBrandingId", "client_branding_id", Kind.TEXT, "branding of the client; text even where numeric"),
    Field("gender", "gender", Kind.TEXT, "gender, a free label"),
    Field("city", "city", Kind.TEXT, "city"),
    Field("dateLastUpdated", "date_last_updated", Kind.TIMESTAMP, "last change of the profile", nullable=False),
    Field("hashAlgorithmId", "", Kind.NOTHING, "kept for compatibility"),
    Field("numFacebookFriends", "num_facebook_friends", Kind.INTEGER, "friends on Facebook", nullable=False),
    Field("thirdPartyId", "third_party_id", Kind.TEXT, "the client's own id of the member", max_length=100),
    Field("dateCreated", "date_created", Kind.TIMESTAMP, "when the member was created", nullable=False),
    Field("mobilePhoneNumber", "mobile_phone_number", Kind.TEXT, "mobile phone number"),
    Field("salt", "", Kind.NOTHING, "kept for compatibility"),
    Field("numTwitterFollowers", "num_twitter_followers", Kind.INTEGER, "followers on Twitter", nullable=False),
    Field("streetAddress1", "street_address_1", Kind.TEXT, "street address, first line"),
    Field("streetAddress2", "street_address_2", Kind.TEXT, "street address, second line"),
    Field("emailIsVerified", "email_is_verified", Kind.FLAG, "e-mail address was verified", nullable=False),
    Field("fanLevelName", "tier_title", Kind.TEXT, "name of the current tier, the same as its title"),
    Field("dateOfBirth", "date_of_birth", Kind.TIMESTAMP, "birth date, an instant: don't assume midnight UTC"),
    Field("receiveEmailUpdates", "receive_email_updates", Kind.FLAG, "opted in to e-mail", nullable=False),
    Field("userName", "user_name", Kind.TEXT, "user name"),
    Field("twitterUserId", "twitter_user_id", Kind.TEXT, "Twitter id"),
    Field("langPref", "lang_pref", Kind.TEXT, "preferred language, a code"),
    Field("totalPoints", "total_points", Kind.INTEGER, "points earned over the lifetime", nullable=False),
    Field("numPointsPurchased", "num_points_purchased", Kind.INTEGER, "points bought", nullable=False),
    Field("middleName", "middle_name", Kind.TEXT, "middle name"),
    Field("passwordGenerated", "password_generated", Kind.FLAG, "the password was generated", nullable=False),
)

TIER_INFO: tuple[Field, ...] = (
    Field("resetDate", "tier_reset_date", Kind.INSTANT, "when the counters go back to 0; fixed timeframe only"),
    Field("dateReached", "tier_date_reached", Kind.INSTANT, "when the tier was reached; moves on start, jump and drop"),
    Field("scoreNeededToReach", "tier_score_needed_to_reach", Kind.COUNT, "points still missing for the next tier"),
    Field("nextLevel", "tier_next_level", Kind.LEVEL, "the next tier; null at the top"),
    Field("tierScore", "tier_score", Kind.INTEGER, "points earned while in the tier"),
    Field("timeframeScore", "tier_timeframe_score", Kind.INTEGER, "points earned since the last expiry"),
    Field("assignedByEvent", "tier_assigned_by_event", Kind.EVENT, "what brought the member into the present state"),
    Field("currentLevel", "tier_current_level", Kind.LEVEL, "the current tier; null without one"),
    Field("score", "tier_score", Kind.INTEGER, "always the same as the tier score"),
    Field("daysUntilResetDate", "tier_days_until_reset_date", Kind.DAYS, "whole days to the reset date"),
    Field("daysUntilExpirationDate", "tier_days_until_expiration_date", Kind.DAYS, "whole days to the expiration date"),
    Field("dateAssigned", "tier_date_assigned", Kind.INSTANT, "when the tier was assigned; an update does not move it"),
    Field("expirationDate", "tier_expiration_date", Kind.INSTANT, "when the tier expires unless it is maintained"),
    Field(
        "scoreNeededToMaintain",
        "tier_score_needed_to_maintain",
        Kind.COUNT,
        "points still missing to keep the tier; null at the base tier and where nothing expires",
    ),
)

LEVEL: tuple[Field, ...] = (
    Field("minValue", "min_value", Kind.INTEGER, "lower bound; null at the base tier"),
    Field("maxValue", "max_value", Kind.INTEGER, "upper bound, inclusive; null where there is none"),
    Field("title", "title", Kind.TEXT, "name", nullable=False),
)

TIMEFRAME_SCORE_ALIAS = Field(
    "timeframe_score", "tier_timeframe_score", Kind.INTEGER, "the timeframe score under its other published spelling"
)
"""Additional tier member for endpoints that ask for it; stands right after the one it repeats."""

NULL_TOGETHER: tuple[tuple[str, str], ...] = (
    ("tier_reset_date", "tier_days_until_reset_date"),
    ("tier_expiration_date", "tier_days_until_expiration_date"),
    ("tier_next_level", "tier_score_needed_to_reach"),
    ("tier_current_level", "tier_score"),
    ("tier_current_level", "tier_timeframe_score"),
)
"""Pairs of tier members, by attribute, of which either both are null or none is."""

BODY_KEYS: dict[str, str] = {field.attribute: field.key for field in BODY if field.attribute}
"""Key of the body by attribute."""

TIER_KEYS: dict[str, str] = {field.attribute: field.key for field in reversed(TIER_INFO)}
"""Key of the tier block by attribute; the first one where two members share it."""

LEVEL_KEYS: dict[str, str] = {field.attribute: field.key for field in LEVEL}
"""Key of a level by attribute."""

PROFILE_ATTRIBUTES: tuple[str, ...] = tuple(name for name in BODY_KEYS if not name.startswith("tier_"))
"""What a profile row must carry, ``id`` included: one column per key that is neither derived nor always null."""
