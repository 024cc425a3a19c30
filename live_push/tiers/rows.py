"""Convert between database rows and the objects that the tier rules work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from itertools import groupby
from typing import Any

from live_push.exceptions import TierError
from live_push.models.tiers import Tier, TierEvent, TierMembership, TierProgram
from live_push.rules.messages import Message, message_of
from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.ladder import from_base_to_top
from live_push.rules.tiers.timeframes import zone_named


@dataclass(frozen=True)
class ProgramRows:
    """The rows of a program and its tiers, from base to top."""

    program: TierProgram
    tiers: tuple[Tier, ...]

    @cached_property
    def as_rules(self) -> lifecycle.Program:
        """The program as the rules use it. Raises ``TierError`` if its tiers or its timeframe are not valid."""
        try:
            return self.program.rules(self.tiers)
        except TierError as error:
            raise TierError(
                Message("program_problem", name=repr(self.program.name), problem=message_of(error))
            ) from None

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone of the program."""
        return zone_named(self.program.time_zone)

    def has_tier(self, tier_id: int) -> bool:
        """Return whether the tier belongs to this program."""
        return any(tier.pk == tier_id for tier in self.tiers)

    def level_of(self, tier_id: int) -> int:
        """Return the position of the tier on the ladder; 0 is the base."""
        return next(level for level, tier in enumerate(self.tiers) if tier.pk == tier_id)

    def state_of(self, row: TierMembership) -> lifecycle.Membership:
        """Return the membership of a row, as the rules use it."""
        return lifecycle.Membership(
            level=self.level_of(row.tier_id),
            tier_score=row.tier_score,
            timeframe_score=row.timeframe_score,
            date_reached=row.date_reached,
            date_assigned=row.date_assigned,
            expiration_date=row.expiration_date,
            reset_date=row.reset_date,
            assigned_by_event=lifecycle.Event(row.assigned_by_event),
            in_maintenance=row.in_maintenance,
        )

    def write_to(self, row: TierMembership, changes: Sequence[lifecycle.Change]) -> None:
        """Set the attributes of a row to the values after the changes. Does not save the row."""
        for name, value in self.column_values(changes).items():
            setattr(row, name, value)

    def column_values(self, changes: Sequence[lifecycle.Change]) -> dict[str, Any]:
        """Return the values of a membership's columns after the changes, which were made in one step."""
        after = changes[-1].after
        return {
            "tier_id": self.tiers[after.level].pk,
            "tier_score": after.tier_score,
            "timeframe_score": after.timeframe_score,
            "date_reached": after.date_reached,
            "date_assigned": after.date_assigned,
            "expiration_date": after.expiration_date,
            "reset_date": after.reset_date,
            "assigned_by_event": lifecycle.assigning_event(changes).value,
            "in_maintenance": after.in_maintenance,
            "last_event_at": changes[-1].at,
        }

    def tier_events(
        self, profile_id: int, changes: Sequence[lifecycle.Change], applied_at: datetime
    ) -> list[TierEvent]:
        """Return the changes as unsaved rows of the member's history."""
        return [
            TierEvent(
                profile_id=profile_id,
                event=change.event.value,
                cause=change.cause.value,
                due_at=change.at,
                applied_at=applied_at,
                from_title=self.tiers[change.before.level].title if change.before else None,
                to_title=self.tiers[change.after.level].title,
                tier_score_before=change.before.tier_score if change.before else 0,
                tier_score_after=change.after.tier_score,
                timeframe_score_before=change.before.timeframe_score if change.before else 0,
                timeframe_score_after=change.after.timeframe_score,
            )
            for change in changes
        ]


def load_programs(using: str, **conditions: Any) -> list[ProgramRows]:
    """Return the programs whose tiers match the conditions, with these tiers, in one query.

    Programs without tiers are left out. A condition must hold for all tiers of a program or for none of them, such as
    ``program__is_default=True``; otherwise only a part of the ladder is returned.
    """
    tiers = Tier.objects.using(using).filter(**conditions).select_related("program").order_by("program_id")
    return [
        ProgramRows(program=ladder[0].program, tiers=tuple(from_base_to_top(ladder)))
        for ladder in (list(group) for _, group in groupby(tiers, key=lambda tier: tier.program_id))
    ]
