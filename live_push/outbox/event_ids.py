"""Event ids for rows that the database makes by itself, in one ``INSERT … SELECT``.

A random UUID of which four digits count the rows of the statement: as unique as any other (106 random bits for each
statement), next to each other in the index, and found again together, which no database's own generator offers.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

ROWS_AT_MOST = 0xFFFF
"""So many rows may one series number."""

_COUNTED = {
    "postgresql": "CAST(%s || LPAD(TO_HEX({row}), 4, '0') || %s AS uuid)",
    "mysql": "CONCAT(%s, LPAD(LOWER(HEX({row})), 4, '0'), %s)",
    "sqlite": "%s || PRINTF('%%04x', {row}) || %s",
}
_GIVEN = {"postgresql": "CAST(%s AS uuid)", "mysql": "%s", "sqlite": "%s"}


@dataclass(frozen=True, slots=True)
class EventIds:
    """One statement's ids. SQL comes with its parameters."""

    vendor: str
    base: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def for_each_row(self) -> tuple[str, list[str]]:
        """The expression that gives each row of a SELECT its id."""
        return _COUNTED[self.vendor].format(row="ROW_NUMBER() OVER ()"), [self.base[:8], self.base[12:]]

    def held_by(self, column: str) -> tuple[str, list[str]]:
        """The condition that a column holds one of these ids, which an index on it serves."""
        given = _GIVEN[self.vendor]
        # MariaDB compares a UUID from its end; both ends are the same here, so it is one range there too. By chance
        # that range may hold another's id: all digits tell.
        head, tail = self.base[:8], self.base[12:]
        sql = f"({column} BETWEEN {given} AND {given} AND CAST({column} AS char(36)) LIKE %s)"
        return sql, [f"{head}0000{tail}", f"{head}ffff{tail}", f"{head}%{tail[-12:]}"]
