"""A host reads the columns of our public models: mypy sees the type of each, and none is ``Any``."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, assert_type
from uuid import UUID

from django.contrib.auth.models import User

from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    EndpointHour,
    ListedBranding,
    Push,
    StoredConvergence,
    Tier,
    TierEvent,
    TierMembership,
    TierProgram,
    UserProfile,
    WorkerHeartbeat,
)
from live_push.rules.masking import Secret


def columns_of_attempt(row: Attempt) -> None:
    assert_type(row.id, int)
    assert_type(row.delivery_id, int)
    assert_type(row.delivery, Delivery)
    assert_type(row.number, int)
    assert_type(row.trigger, str)
    assert_type(row.started_at, datetime)
    assert_type(row.duration_ms, int | None)
    assert_type(row.status_code, int | None)
    assert_type(row.error_code, str)
    assert_type(row.detail, str)
    assert_type(row.answer, bytes | None)
    assert_type(row.body_digest, str)
    assert_type(row.captured_id, str | None)
    assert_type(row.replaced_id, str | None)
    assert_type(row.capture_conflict, bool)


def columns_of_client_endpoint(row: ClientEndpoint) -> None:
    assert_type(row.id, int)
    assert_type(row.uid, UUID)
    assert_type(row.auth_method, str)
    assert_type(row.username, str)
    assert_type(row.password, Secret | None)
    assert_type(row.api_key, Secret | None)
    assert_type(row.credentials_changed_at, datetime | None)
    assert_type(row.signing_secret, Secret | None)
    assert_type(row.previous_signing_secret, Secret | None)
    assert_type(row.previous_signing_secret_until, datetime | None)
    assert_type(row.name, str)
    assert_type(row.url, str)
    assert_type(row.is_active, bool)
    assert_type(row.disabled_reason, str)
    assert_type(row.contact_email, str)
    assert_type(row.audience, str)
    assert_type(row.extra_headers, dict[str, str])
    assert_type(row.capture_third_party_id, bool)
    assert_type(row.capture_marker, int | None)
    assert_type(row.ordering, str)
    assert_type(row.retry_policy, str)
    assert_type(row.max_in_flight, int)
    assert_type(row.rate_limit_per_second, float | None)
    assert_type(row.timeframe_score_alias, bool)
    assert_type(row.null_levels_as_objects, bool)
    assert_type(row.mobile_verified_as_date, bool)
    assert_type(row.withheld_fields, list[str])
    assert_type(row.only_changes, bool)
    assert_type(row.ignored_keys, list[str])
    assert_type(row.content_version, int)
    assert_type(row.version, int)
    assert_type(row.created_at, datetime)


def columns_of_confirmation(row: Confirmation) -> None:
    assert_type(row.id, int)
    assert_type(row.endpoint_id, int)
    assert_type(row.endpoint, ClientEndpoint)
    assert_type(row.profile_id, int)
    assert_type(row.profile, UserProfile)
    assert_type(row.sequence, int)
    assert_type(row.confirmed_at, datetime)
    assert_type(row.digest, str)
    assert_type(row.content_digest, str)
    assert_type(row.uncertain_since, datetime | None)


def columns_of_delivery(row: Delivery) -> None:
    assert_type(row.id, int)
    assert_type(row.push_id, int)
    assert_type(row.push, Push)
    assert_type(row.endpoint_id, int)
    assert_type(row.endpoint, ClientEndpoint)
    assert_type(row.profile_id, int | None)
    assert_type(row.profile, UserProfile | None)
    assert_type(row.position, int)
    assert_type(row.status, str)
    assert_type(row.reason, str)
    assert_type(row.priority, int)
    assert_type(row.next_attempt_at, datetime | None)
    assert_type(row.claims_made, int)
    assert_type(row.attempts_made, int)
    assert_type(row.run_attempts, int)
    assert_type(row.run_started_at, datetime | None)
    assert_type(row.redelivered, bool)
    assert_type(row.stalls, int)
    assert_type(row.lease_token, UUID | None)
    assert_type(row.claimed_by, str | None)
    assert_type(row.leased_until, datetime | None)
    assert_type(row.dialled_at, datetime | None)
    assert_type(row.last_error_code, str)
    assert_type(row.last_status_code, int | None)
    assert_type(row.created_at, datetime)
    assert_type(row.ended_at, datetime | None)
    assert_type(row.in_flight, int | None)


def columns_of_endpoint_health(row: EndpointHealth) -> None:
    assert_type(row.endpoint_id, int)
    assert_type(row.endpoint, ClientEndpoint)
    assert_type(row.breaker_state, str)
    assert_type(row.failures_in_row, int)
    assert_type(row.rest_seconds, int)
    assert_type(row.rests_until, datetime | None)
    assert_type(row.probe_profile_id, int | None)
    assert_type(row.slots, dict[str, Any])
    assert_type(row.rate_allowance, float)
    assert_type(row.rate_at, datetime | None)
    assert_type(row.needs_credentials, bool)
    assert_type(row.last_success_at, datetime | None)
    assert_type(row.last_failure_at, datetime | None)
    assert_type(row.failing_since, datetime | None)
    assert_type(row.failing_days, list[str])
    assert_type(row.failing_noticed_at, datetime | None)
    assert_type(row.inactive_since, datetime | None)
    assert_type(row.activated_at, datetime | None)
    assert_type(row.caught_up_at, datetime | None)
    assert_type(row.outside_check_at, datetime | None)


def columns_of_listed_branding(row: ListedBranding) -> None:
    assert_type(row.id, int)
    assert_type(row.endpoint_id, int)
    assert_type(row.endpoint, ClientEndpoint)
    assert_type(row.client_branding_id, str)


def columns_of_endpoint_hour(row: EndpointHour) -> None:
    assert_type(row.id, int)
    assert_type(row.endpoint_id, int)
    assert_type(row.endpoint, ClientEndpoint)
    assert_type(row.hour, datetime)
    assert_type(row.error_code, str)
    assert_type(row.within_ms, int)
    assert_type(row.attempts, int)
    assert_type(row.left_out, int)


def columns_of_push(row: Push) -> None:
    assert_type(row.id, int)
    assert_type(row.event_id, UUID)
    assert_type(row.profile_id, int | None)
    assert_type(row.profile, UserProfile | None)
    assert_type(row.sequence, int | None)
    assert_type(row.trigger, str)
    assert_type(row.payload, bytes | None)
    assert_type(row.digest, str)
    assert_type(row.error, str)
    assert_type(row.subject, str | None)
    assert_type(row.created_at, datetime)


def columns_of_stored_convergence(row: StoredConvergence) -> None:
    assert_type(row.id, int)
    assert_type(row.complete, dict[str, Any])
    assert_type(row.under_way, dict[str, Any])
    assert_type(row.next_slice_at, datetime)


def columns_of_tier(row: Tier) -> None:
    assert_type(row.id, int)
    assert_type(row.program_id, int)
    assert_type(row.program, TierProgram)
    assert_type(row.title, str)
    assert_type(row.min_value, int | None)
    assert_type(row.max_value, int | None)
    assert_type(row.maintain_score, int | None)


def columns_of_tier_event(row: TierEvent) -> None:
    assert_type(row.id, int)
    assert_type(row.profile_id, int)
    assert_type(row.profile, UserProfile)
    assert_type(row.event, str)
    assert_type(row.cause, str)
    assert_type(row.due_at, datetime)
    assert_type(row.applied_at, datetime)
    assert_type(row.from_title, str | None)
    assert_type(row.to_title, str)
    assert_type(row.tier_score_before, int)
    assert_type(row.tier_score_after, int)
    assert_type(row.timeframe_score_before, int)
    assert_type(row.timeframe_score_after, int)


def columns_of_tier_membership(row: TierMembership) -> None:
    assert_type(row.profile_id, int)
    assert_type(row.profile, UserProfile)
    assert_type(row.tier_id, int)
    assert_type(row.tier, Tier)
    assert_type(row.tier_score, int)
    assert_type(row.timeframe_score, int)
    assert_type(row.date_reached, datetime)
    assert_type(row.date_assigned, datetime)
    assert_type(row.expiration_date, datetime | None)
    assert_type(row.reset_date, datetime | None)
    assert_type(row.assigned_by_event, str)
    assert_type(row.in_maintenance, bool)
    assert_type(row.last_event_at, datetime)
    assert_type(row.next_due_at, datetime | None)


def columns_of_tier_program(row: TierProgram) -> None:
    assert_type(row.id, int)
    assert_type(row.name, str)
    assert_type(row.is_default, bool)
    assert_type(row.timeframe, str)
    assert_type(row.time_zone, str)
    assert_type(row.reset_month, int | None)
    assert_type(row.reset_day, int | None)
    assert_type(row.expires_after_resets, int)
    assert_type(row.length, int | None)
    assert_type(row.length_unit, str)
    assert_type(row.drop_policy, str)
    assert_type(row.base_expires, bool)
    assert_type(row.update_assigns, bool)
    assert_type(row.default_marker, int | None)


def columns_of_user_profile(row: UserProfile) -> None:
    assert_type(row.id, int)
    assert_type(row.user_id, int | None)
    assert_type(row.user, User | None)
    assert_type(row.user_name, str | None)
    assert_type(row.email_address, str | None)
    assert_type(row.email_is_verified, bool)
    assert_type(row.first_name, str | None)
    assert_type(row.middle_name, str | None)
    assert_type(row.last_name, str | None)
    assert_type(row.gender, str | None)
    assert_type(row.date_of_birth, datetime | None)
    assert_type(row.lang_pref, str | None)
    assert_type(row.street_address_1, str | None)
    assert_type(row.street_address_2, str | None)
    assert_type(row.postal_code, str | None)
    assert_type(row.city, str | None)
    assert_type(row.state, str | None)
    assert_type(row.region, str | None)
    assert_type(row.country, str | None)
    assert_type(row.mobile_phone_number, str | None)
    assert_type(row.date_mobile_verified, datetime | None)
    assert_type(row.is_active, bool)
    assert_type(row.receive_email_updates, bool)
    assert_type(row.receive_sms_messages, bool)
    assert_type(row.activity_stream_opt_in, bool | None)
    assert_type(row.password_generated, bool)
    assert_type(row.total_points, int)
    assert_type(row.redeemable_points, int)
    assert_type(row.monthly_points, int)
    assert_type(row.monthly_points_period, date | None)
    assert_type(row.weekly_points, int)
    assert_type(row.weekly_points_period, date | None)
    assert_type(row.num_points_purchased, int)
    assert_type(row.fan_rank, int | None)
    assert_type(row.third_party_id, str | None)
    assert_type(row.third_party_id_sequence, int | None)
    assert_type(row.facebook_user_id, str | None)
    assert_type(row.fsq_user_id, str | None)
    assert_type(row.google_user_id, str | None)
    assert_type(row.inst_user_id, str | None)
    assert_type(row.twitter_user_id, str | None)
    assert_type(row.yahoo_user_id, str | None)
    assert_type(row.num_facebook_friends, int)
    assert_type(row.num_twitter_followers, int)
    assert_type(row.sign_up_type_id, int | None)
    assert_type(row.sign_up_channel_id, int | None)
    assert_type(row.sign_up_campaign, str | None)
    assert_type(row.client_branding_id, str | None)
    assert_type(row.ip_address, str | None)
    assert_type(row.custom_data, dict[str, str | int | float | bool | None] | None)
    assert_type(row.date_created, datetime)
    assert_type(row.date_last_login, datetime | None)
    assert_type(row.date_last_updated, datetime)
    assert_type(row.changed_sequence, int)
    assert_type(row.push_sequence, int)


def columns_of_worker_heartbeat(row: WorkerHeartbeat) -> None:
    assert_type(row.name, str)
    assert_type(row.engine, str)
    assert_type(row.started_at, datetime)
    assert_type(row.seen_at, datetime)
    assert_type(row.is_asleep, bool)
