"""The field table: every key of the body with its type and meaning.

The payload serializer, the conformity check, the JSON Schema and the OpenAPI document are generated from this table, so
they can't drift apart. No other module spells a key of the body. The keys keep the published order for readability;
clients must not rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
"""Bounds of a whole number in the body: the signed 64-bit range."""

EVENTS = ("start", "update", "jump", "drop", "maintain", "reset")
"""The events that assign a tier. The body has them in lower case; a row may have them in any case."""


class Kind(Enum):
    """The form of a value in the body, apart from null."""

    TEXT = "text"
    INTEGER = "whole number of at most 64 bits"
    NUMERIC = "whole number of at most 64 bits; a numeric text in the row is converted"
    COUNT = "whole number from 0"
    DAYS = "whole days from 0, rounded down; changes with time alone, so digests leave it out"
    FLAG = "0 or 1"
    TEXT_FLAG = 'the text "0" or "1"'
    TIMESTAMP = "epoch seconds, negative before 1970"
    VERIFIED = "1, or epoch seconds if the endpoint asks for the date"
    INSTANT = "ISO 8601 in UTC with Z, to the second"
    EVENT = "one of the event names"
    NOTHING = "always null"
    CUSTOM_DATA = "object of scalars, never empty"
    TIER_INFO = "object of the tier members"
    LEVEL = "object of the level members"


@dataclass(frozen=True, slots=True)
class Field:
    """One key of the body.

    ``attribute``
        The column of the row that supplies the value. For a derived member, the name of the derived value. Empty for
        members that are always null. For a level, the row's column has the prefix ``tier_`` (current level) or
        ``tier_next_`` (next level).
    ``meaning``
        A description for clients, shown in the JSON Schema.
    ``max_length``
        The maximum number of characters; ``None`` for no limit.
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
    Field("facebookUserId", "facebook_user_id", Kind.TEXT, "Facebook id; text, even if it is numeric"),
    Field("redeemablePoints", "redeemable_points", Kind.INTEGER, "points that can be spent", nullable=False),
    Field("postalCode", "postal_code", Kind.TEXT, "postal code; text, because it may have leading zeros and letters"),
    Field("tierInfo", "tier_info", Kind.TIER_INFO, "tier data; all members null without a tier", nullable=False),
    Field("customData", "custom_data", Kind.CUSTOM_DATA, "attributes defined by the program; null if there are none"),
    Field("signUpTypeId", "sign_up_type_id", Kind.INTEGER, "how the member signed up; an opaque number"),
    Field("isActive", "is_active", Kind.FLAG, "active member; a deactivation is pushed with 0", nullable=False),
    Field("emailAddress", "email_address", Kind.TEXT, "e-mail address"),
    Field("password", "", Kind.NOTHING, "kept for compatibility; never carries a password"),
    Field(
        "dateMobileVerified",
        "date_mobile_verified",
        Kind.VERIFIED,
        "1 if the mobile number was verified, else null; epoch seconds of the verification if the endpoint asks for it",
    ),
    Field("dateLastLogin", "date_last_login", Kind.TIMESTAMP, "last login; null if the member never logged in"),
    Field("yahooUserId", "yahoo_user_id", Kind.TEXT, "Yahoo id"),
    Field("state", "state", Kind.TEXT, "state"),
    Field("id", "id", Kind.INTEGER, "the member's id; never changes", nullable=False),
    Field("monthlyPoints", "monthly_points", Kind.INTEGER, "points earned this calendar month", nullable=False),
    Field("signUpCampaign", "sign_up_campaign", Kind.TEXT, "campaign through which the member signed up"),
    Field("signUpChannelId", "sign_up_channel_id", Kind.NUMERIC, "channel through which the member signed up"),
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
    Field("clientBrandingId", "client_branding_id", Kind.TEXT, "branding of the client; text, even if it is numeric"),
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
    Field("dateOfBirth", "date_of_birth", Kind.TIMESTAMP, "birth date as epoch seconds; not necessarily midnight UTC"),
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
    Field("assignedByEvent", "tier_assigned_by_event", Kind.EVENT, "the event that led to the current state"),
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
        "points still missing to keep the tier; null at the base tier and if the tier does not expire",
    ),
)

LEVEL: tuple[Field, ...] = (
    Field("minValue", "min_value", Kind.INTEGER, "lower bound; null at the base tier"),
    Field("maxValue", "max_value", Kind.INTEGER, "upper bound, inclusive; null at the top tier"),
    Field("title", "title", Kind.TEXT, "name", nullable=False),
)

TIMEFRAME_SCORE_ALIAS = Field(
    "timeframe_score", "tier_timeframe_score", Kind.INTEGER, "the timeframe score under its other published spelling"
)
"""An additional member of ``tierInfo`` for endpoints with this option. It follows the member whose value it repeats."""

NULL_TOGETHER: tuple[tuple[str, str], ...] = (
    ("tier_reset_date", "tier_days_until_reset_date"),
    ("tier_expiration_date", "tier_days_until_expiration_date"),
    ("tier_next_level", "tier_score_needed_to_reach"),
    ("tier_current_level", "tier_score"),
    ("tier_current_level", "tier_timeframe_score"),
)
"""Pairs of ``tierInfo`` members, by attribute: in each pair, either both are null or neither is."""

BODY_KEYS: dict[str, str] = {field.attribute: field.key for field in BODY if field.attribute}
"""Maps an attribute to its key in the body."""

TIER_KEYS: dict[str, str] = {field.attribute: field.key for field in reversed(TIER_INFO)}
"""Maps an attribute to its key in ``tierInfo``; to the first key if two members share the attribute."""

LEVEL_KEYS: dict[str, str] = {field.attribute: field.key for field in LEVEL}
"""Maps an attribute to its key in a level object."""
