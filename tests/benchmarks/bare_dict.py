"""The body of the published member as one would write it by hand: no checks, no options, no field table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def bare_dict(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same content as the payload serializer's, from the same row of a member with a tier in a fixed timeframe."""
    return {
        "country": row["country"],
        "receiveSmsMessages": int(row["receive_sms_messages"]),
        "facebookUserId": row["facebook_user_id"],
        "redeemablePoints": row["redeemable_points"],
        "postalCode": row["postal_code"],
        "tierInfo": _tier_info(row),
        "customData": row["custom_data"],
        "signUpTypeId": row["sign_up_type_id"],
        "isActive": int(row["is_active"]),
        "emailAddress": row["email_address"],
        "password": None,
        "dateMobileVerified": 1 if row["date_mobile_verified"] else None,
        "dateLastLogin": _epoch(row["date_last_login"]),
        "yahooUserId": row["yahoo_user_id"],
        "state": row["state"],
        "id": row["id"],
        "monthlyPoints": row["monthly_points"],
        "signUpCampaign": row["sign_up_campaign"],
        "signUpChannelId": row["sign_up_channel_id"],
        "ipAddress": row["ip_address"],
        "fanRank": row["fan_rank"],
        "firstName": row["first_name"],
        "fsqUserId": row["fsq_user_id"],
        "activityStreamOptIn": "1" if row["activity_stream_opt_in"] else "0",
        "googleUserId": row["google_user_id"],
        "region": row["region"],
        "instUserId": row["inst_user_id"],
        "weeklyPoints": row["weekly_points"],
        "lastName": row["last_name"],
        "clientBrandingId": row["client_branding_id"],
        "gender": row["gender"],
        "city": row["city"],
        "dateLastUpdated": _epoch(row["date_last_updated"]),
        "hashAlgorithmId": None,
        "numFacebookFriends": row["num_facebook_friends"],
        "thirdPartyId": row["third_party_id"],
        "dateCreated": _epoch(row["date_created"]),
        "mobilePhoneNumber": row["mobile_phone_number"],
        "salt": None,
        "numTwitterFollowers": row["num_twitter_followers"],
        "streetAddress1": row["street_address_1"],
        "streetAddress2": row["street_address_2"],
        "emailIsVerified": int(row["email_is_verified"]),
        "fanLevelName": row["tier_title"],
        "dateOfBirth": _epoch(row["date_of_birth"]),
        "receiveEmailUpdates": int(row["receive_email_updates"]),
        "userName": row["user_name"],
        "twitterUserId": row["twitter_user_id"],
        "langPref": row["lang_pref"],
        "totalPoints": row["total_points"],
        "numPointsPurchased": row["num_points_purchased"],
        "middleName": row["middle_name"],
        "passwordGenerated": int(row["password_generated"]),
    }


def _tier_info(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resetDate": _iso(row["tier_reset_date"]),
        "dateReached": _iso(row["tier_date_reached"]),
        "scoreNeededToReach": max(0, row["tier_next_min_value"] - row["tier_timeframe_score"]),
        "nextLevel": {
            "minValue": row["tier_next_min_value"],
            "maxValue": row["tier_next_max_value"],
            "title": row["tier_next_title"],
        },
        "tierScore": row["tier_score"],
        "timeframeScore": row["tier_timeframe_score"],
        "assignedByEvent": row["tier_assigned_by_event"],
        "currentLevel": {
            "minValue": row["tier_min_value"],
            "maxValue": row["tier_max_value"],
            "title": row["tier_title"],
        },
        "score": row["tier_score"],
        "daysUntilResetDate": max(0, (row["tier_reset_date"] - row["now"]).days),
        "daysUntilExpirationDate": max(0, (row["tier_expiration_date"] - row["now"]).days),
        "dateAssigned": _iso(row["tier_date_assigned"]),
        "expirationDate": _iso(row["tier_expiration_date"]),
        "scoreNeededToMaintain": None,
    }


def _epoch(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
