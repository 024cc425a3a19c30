"""Read members as the rows that the payload serializer turns into snapshots.

Each save of a profile reads one row. The statement is text, because the ORM would take longer to compile it than the
database takes to run it. The values are converted as a queryset would convert them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.db import connections
from django.db.models import F, Model, QuerySet

from live_push.models import Tier, TierMembership, TierProgram, UserProfile

from . import dialect

_TIER_COLUMNS: Final[dict[str, tuple[str, type[Model], str]]] = {
    "tier_title": ("t", Tier, "title"),
    "tier_min_value": ("t", Tier, "min_value"),
    "tier_max_value": ("t", Tier, "max_value"),
    "tier_maintain_score": ("t", Tier, "maintain_score"),
    "tier_timeframe": ("g", TierProgram, "timeframe"),
    "tier_time_zone": ("g", TierProgram, "time_zone"),
    "tier_next_title": ("n", Tier, "title"),
    "tier_next_min_value": ("n", Tier, "min_value"),
    "tier_next_max_value": ("n", Tier, "max_value"),
    "tier_score": ("m", TierMembership, "tier_score"),
    "tier_timeframe_score": ("m", TierMembership, "timeframe_score"),
    "tier_date_reached": ("m", TierMembership, "date_reached"),
    "tier_date_assigned": ("m", TierMembership, "date_assigned"),
    "tier_expiration_date": ("m", TierMembership, "expiration_date"),
    "tier_reset_date": ("m", TierMembership, "reset_date"),
    "tier_assigned_by_event": ("m", TierMembership, "assigned_by_event"),
}
"""By name in the row: the alias of the table in the statement, its model, and the field."""

_NOW: Final = "now"

_Converter = Callable[[Any, Any, Any], Any]


def read_members(profile_ids: Sequence[int], *, using: str) -> dict[int, dict[str, Any]]:
    """Return the rows of profiles by their ids. A profile that does not exist has none.

    A row has the profile's columns by attribute, the columns of its tier (``tier_…``, all ``None`` without a tier), and
    ``now``, the time of the database.
    """
    return _select(using).fetch(profile_ids, using=using)


def further_columns(
    profile_ids: Sequence[int], paths: Iterable[str], *, using: str
) -> QuerySet[UserProfile, dict[str, Any]] | None:
    """Return a query for further columns of these rows, as ORM paths from the profile; ``None`` if none are asked for.

    Raises :class:`~django.core.exceptions.FieldError` for a path that does not exist.
    """
    if not (paths := list(paths)):
        return None
    names = {*_own_columns(), *_TIER_COLUMNS, _NOW}
    further = [path for path in paths if path not in names]
    if not further:
        return None
    profiles = UserProfile.objects.using(using).order_by().filter(pk__in=profile_ids)
    selected: QuerySet[UserProfile, dict[str, Any]] = profiles.values("pk", *further)
    return selected


def field_at(path: str) -> Any:
    """Return the field that an ORM path from the profile leads to.

    Raises :class:`~django.core.exceptions.FieldError` if there is none.
    """
    return UserProfile.objects.annotate(at_path=F(path)).query.annotations["at_path"].output_field


def row_fields() -> dict[str, Any]:
    """Return the field of each column of a row by the column's name, except ``now``."""
    tier = {name: model._meta.get_field(field) for name, (_, model, field) in _TIER_COLUMNS.items()}
    return {**_own_columns(), **tier}


@dataclass(frozen=True, slots=True)
class _Select:
    """The statement around the time and the condition, and what converts its values."""

    names: list[str]
    before: str
    after: str
    converted: list[tuple[str, Any, list[_Converter]]]

    def fetch(self, profile_ids: Sequence[int], *, using: str) -> dict[int, dict[str, Any]]:
        connection = connections[using]
        values: dict[str, Any] = {}
        now = dialect.time_of_database(values, _NOW, using=using)
        if len(profile_ids) == 1:
            # PostgreSQL plans this faster than a list of one id.
            values["id"], condition = profile_ids[0], "p.id = %(id)s"
        else:
            condition = dialect.any_of(values, "p.id", profile_ids, using=using)
        with connection.cursor() as cursor:
            cursor.execute(f"{self.before}{now}{self.after}{condition}", values)
            fetched = cursor.fetchall()
        rows = {}
        for found in fetched:
            row = dict(zip(self.names, found, strict=True))
            for name, column, converters in self.converted:
                for convert in converters:
                    row[name] = convert(row[name], column, connection)
            row[_NOW] = dialect.read_moment(row[_NOW])
            rows[row["id"]] = row
        return rows


def _own_columns() -> dict[str, Any]:
    return {field.attname: field for field in UserProfile._meta.concrete_fields}


@lru_cache(maxsize=8)
def _select(using: str) -> _Select:
    connection = connections[using]
    quote = connection.ops.quote_name
    own = {name: ("p", field) for name, field in _own_columns().items()}
    tier = {name: (alias, model._meta.get_field(field)) for name, (alias, model, field) in _TIER_COLUMNS.items()}
    columns: dict[str, tuple[str, Any]] = {**own, **tier}
    converted = []
    for name, (alias, field) in columns.items():
        column = field.get_col(alias)
        converters = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
        if converters:
            converted.append((name, column, converters))
    profiles, memberships, tiers, programs = (
        quote(model._meta.db_table) for model in (UserProfile, TierMembership, Tier, TierProgram)
    )
    # Subqueries, because PostgreSQL plans each statement anew and takes longer to plan a join of more tables.
    subqueries = {
        "g": f"{programs} g WHERE g.id = t.program_id",
        "n": f"{tiers} n WHERE n.program_id = t.program_id AND n.min_value = t.max_value + 1 LIMIT 1",
    }
    selected = ", ".join(
        f"(SELECT {alias}.{quote(field.column)} FROM {subqueries[alias]})"  # noqa: S608  (quoted names)
        if alias in subqueries
        else f"{alias}.{quote(field.column)}"
        for alias, field in columns.values()
    )
    return _Select(
        names=[*columns, _NOW],
        before=f"SELECT {selected}, ",
        after=f"""
FROM {profiles} p
LEFT JOIN {memberships} m ON m.profile_id = p.id
LEFT JOIN {tiers} t ON t.id = m.tier_id
WHERE """,
        converted=converted,
    )
