"""Event ids for rows that the database creates in one ``INSERT … SELECT``.

The ids of one statement share a random UUID. Its second group, four hexadecimal digits, is replaced by the number of
the row: 1 to 65,535. The other 106 random bits make the ids as unique as other UUIDs. The ids are next to each other in
an index, and one condition selects all of them. UUIDs that a database generates have neither advantage.
:attr:`live_push.models.Push.short_id` shows the number.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

# SQL of the id of a row, from its number and the two parts of the base.
_NUMBERED = {
    "postgresql": "CAST(%s || LPAD(TO_HEX({row}), 4, '0') || %s AS uuid)",
    "mysql": "CONCAT(%s, LPAD(LOWER(HEX({row})), 4, '0'), %s)",
    "sqlite": "%s || PRINTF('%%04x', {row}) || %s",
}
# SQL of an id that is a parameter.
_PARAMETER = {"postgresql": "CAST(%s AS uuid)", "mysql": "%s", "sqlite": "%s"}


@dataclass(frozen=True, slots=True)
class EventIds:
    """The event ids of one statement.

    ``vendor``
        The vendor of the database, which decides the SQL: ``postgresql``, ``mysql`` (also MariaDB) or ``sqlite``.
    ``base``
        A random UUID as 32 hexadecimal digits; the digits 9 to 12 are replaced by the number of the row.
    """

    vendor: str
    base: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def for_each_row(self) -> tuple[str, list[str]]:
        """Return the SQL expression for the id of each row of a SELECT, and its parameters."""
        return _NUMBERED[self.vendor].format(row="ROW_NUMBER() OVER ()"), [self.base[:8], self.base[12:]]

    def held_by(self, column: str) -> tuple[str, list[str]]:
        """Return the SQL condition that a column has one of these ids, and its parameters. It can use an index."""
        parameter = _PARAMETER[self.vendor]
        # BETWEEN uses the index. MariaDB compares UUIDs from their end, but the ids differ in their second group only,
        # so they are one range there, too. The range may contain other ids, which LIKE excludes.
        head, tail = self.base[:8], self.base[12:]
        sql = f"({column} BETWEEN {parameter} AND {parameter} AND CAST({column} AS char(36)) LIKE %s)"
        return sql, [f"{head}0000{tail}", f"{head}ffff{tail}", f"{head}%{tail[-12:]}"]
