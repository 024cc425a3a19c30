"""Between the rows of the database and what the rules work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from itertools import groupby
from typing import Any

from live_push.exceptions import TierError
from live_push.models.tiers import Tier, TierEvent, TierMembership, TierProgram

from . import rules
from .ladder import from_base_to_top
from .timeframes import zone_named


@dataclass(frozen=True)
class ProgramRows:
    """A program with its tiers, base first."""

    program: TierProgram
    tiers: tuple[Tier, ...]

    @cached_property
    def as_rules(self) -> rules.Program:
        """The program as the rules use it; raises ``TierError`` where it is none."""
        try:
            return self.program.rules(self.tiers)
        except TierError as error:
            raise TierError(f"Tier program {self.program.name!r}: {error}") from None

    @cached_property
    def zone(self) -> tzinfo:
        return zone_named(self.program.time_zone)

    def holds(self, tier_id: int) -> bool:
        return any(tier.pk == tier_id for tier in self.tiers)

    def level_of(self, tier_id: int) -> int:
        return next(level for level, tier in enumerate(self.tiers) if tier.pk == tier_id)

    def state_of(self, row: TierMembership) -> rules.Membership:
        """A membership row as the rules see it."""
        return rules.Membership(
            level=self.level_of(row.tier_id),
            tier_score=row.tier_score,
            timeframe_score=row.timeframe_score,
            date_reached=row.date_reached,
            date_assigned=row.date_assigned,
            expiration_date=row.expiration_date,
            reset_date=row.reset_date,
            assigned_by_event=rules.Event(row.assigned_by_event),
            in_maintenance=row.in_maintenance,
        )

    def write_to(self, row: TierMembership, changes: Sequence[rules.Change]) -> None:
        """Set a membership row's attributes to what they are after changes made in one step."""
        for name, value in self.columns(changes).items():
            setattr(row, name, value)

    def columns(self, changes: Sequence[rules.Change]) -> dict[str, Any]:
        """What a membership's row holds after changes made in one step."""
        after = changes[-1].after
        return {
            "tier_id": self.tiers[after.level].pk,
            "tier_score": after.tier_score,
            "timeframe_score": after.timeframe_score,
            "date_reached": after.date_reached,
            "date_assigned": after.date_assigned,
            "expiration_date": after.expiration_date,
            "reset_date": after.reset_date,
            "assigned_by_event": rules.lasting_event(changes).value,
            "in_maintenance": after.in_maintenance,
            "last_event_at": changes[-1].at,
        }

    def history(self, profile_id: int, changes: Sequence[rules.Change], applied_at: datetime) -> list[TierEvent]:
        """The changes as unsaved events."""
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


def programs(using: str, **conditions: Any) -> list[ProgramRows]:
    """The programs whose tiers match, with all of them, in one query; those without tiers are left out."""
    tiers = Tier.objects.using(using).filter(**conditions).select_related("program").order_by("program_id")
    return [
        ProgramRows(program=rungs[0].program, tiers=tuple(from_base_to_top(rungs)))
        for rungs in (list(group) for _, group in groupby(tiers, key=lambda tier: tier.program_id))
    ]
