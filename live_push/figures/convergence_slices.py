"""Count the convergence in slices: ranges of profiles, each read by one short statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connections

from live_push.models import ClientEndpoint, Confirmation, ListedBranding, UserProfile
from live_push.outbox.dialect import read_moment

from .convergence import Convergence

BEFORE_ALL_IDS: Final = -(2**63)

_PROFILES, _CONFIRMATIONS = UserProfile._meta.db_table, Confirmation._meta.db_table
_ENDPOINTS, _LISTED = ClientEndpoint._meta.db_table, ListedBranding._meta.db_table
_IS_CONFIRMED: Final = "c.sequence >= p.changed_sequence AND c.uncertain_since IS NULL"
_IS_LISTED: Final = (
    f"EXISTS (SELECT 1 FROM {_LISTED} a WHERE a.endpoint_id = e.id AND a.client_branding_id = p.client_branding_id)"  # noqa: S608  (our own words)
)
# One statement sees one state of the database, so the numbers of a slice fit together while members change. Its rows
# are of three kinds: the number of profiles and their last id, the figures of an endpoint, and the number of profiles
# outside the audience of an endpoint. With CROSS JOIN, SQLite starts from the slice; otherwise it would read all
# confirmations.
_SLICE: Final = f"""
WITH slice AS (
    SELECT id, changed_sequence, date_last_updated, client_branding_id FROM {_PROFILES}
    WHERE id > %(after)s ORDER BY id LIMIT %(size)s
)
SELECT 'all', NULL, COUNT(*), MAX(id), NULL FROM slice
UNION ALL
SELECT 'accepted', c.endpoint_id, COUNT(*), SUM(CASE WHEN {_IS_CONFIRMED} THEN 1 ELSE 0 END),
       MIN(CASE WHEN {_IS_CONFIRMED} THEN NULL ELSE p.date_last_updated END)
FROM slice p CROSS JOIN {_CONFIRMATIONS} c CROSS JOIN {_ENDPOINTS} e
WHERE c.profile_id = p.id AND e.id = c.endpoint_id AND (e.audience = 'all' OR {_IS_LISTED})
GROUP BY c.endpoint_id
UNION ALL
SELECT 'outside', e.id, COUNT(*), NULL, NULL
FROM slice p CROSS JOIN {_ENDPOINTS} e WHERE e.audience = 'listed' AND NOT {_IS_LISTED}
GROUP BY e.id
"""  # noqa: S608  (our own words)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What each endpoint has confirmed of ``profiles`` consecutive profiles, the last of which has the id ``last_id``.

    ``is_last`` says that no profile follows. ``figures`` has for each endpoint's id the number of profiles of which the
    endpoint has accepted some state, the number of profiles of which it has accepted the latest, and when the oldest
    latest state that is not accepted came about. Endpoints that have accepted nothing are missing. Profiles outside an
    endpoint's audience are not among them: ``outside`` has their number for each endpoint with a listed audience.
    """

    profiles: int
    last_id: int | None
    is_last: bool
    figures: Mapping[int, tuple[int, int, datetime | None]]
    outside: Mapping[int, int]


def read_slice(*, after: int = BEFORE_ALL_IDS, size: int, using: str) -> Slice:
    """Read the slice of at most ``size`` profiles that follow the id ``after``. It is one statement."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SLICE, {"after": after, "size": size})
        rows = cursor.fetchall()
    figures: dict[int, tuple[int, int, datetime | None]] = {}
    outside: dict[int, int] = {}
    profiles, last_id = 0, None
    for kind, endpoint_id, number, confirmed_or_last_id, oldest in rows:
        # MariaDB returns a Decimal.
        integer = None if confirmed_or_last_id is None else int(confirmed_or_last_id)
        if kind == "outside":
            outside[endpoint_id] = number
        elif kind == "all":
            profiles, last_id = number, integer
        else:
            figures[endpoint_id] = number, integer or 0, read_moment(oldest)
    return Slice(profiles=profiles, last_id=last_id, is_last=profiles < size, figures=figures, outside=outside)


@dataclass(kw_only=True)
class EndpointCount:
    """What one endpoint has confirmed. ``version`` is that of the endpoint's row when the count began.

    ``outside`` is the number of profiles that its audience does not hold.
    """

    version: int
    confirmed: int = 0
    behind: int = 0
    behind_since: datetime | None = None
    outside: int = 0


@dataclass(kw_only=True)
class ConvergenceCount:
    """A count of the convergence that has read the profiles up to the id ``last_id``.

    ``began_at`` is when the first slice was read; ``None`` if the count is not stored, and so just now.
    """

    began_at: datetime | None
    endpoints: dict[int, EndpointCount]
    profiles: int = 0
    last_id: int = BEFORE_ALL_IDS
    is_complete: bool = False

    @classmethod
    def begin(cls, endpoints: Iterable[tuple[int, int]], now: datetime | None = None) -> ConvergenceCount:
        """Return a new count of the endpoints with these ids and versions."""
        return cls(began_at=now, endpoints={pk: EndpointCount(version=version) for pk, version in endpoints})

    def add(self, part: Slice) -> None:
        """Add the slice that follows ``last_id``. Endpoints that were created since the count began are left out."""
        self.profiles += part.profiles
        self.last_id = self.last_id if part.last_id is None else part.last_id
        self.is_complete = part.is_last
        for endpoint_id, (accepted, confirmed, oldest) in part.figures.items():
            if (counted := self.endpoints.get(endpoint_id)) is not None:
                counted.confirmed += confirmed
                counted.behind += accepted - confirmed
                counted.behind_since = min(filter(None, (counted.behind_since, oldest)), default=None)
        for endpoint_id, number in part.outside.items():
            if (counted := self.endpoints.get(endpoint_id)) is not None:
                counted.outside += number

    def convergence(self, endpoint: ClientEndpoint) -> Convergence | None:
        """Return the convergence of an endpoint, or ``None`` if the endpoint was not counted."""
        if (counted := self.endpoints.get(endpoint.pk)) is None:
            return None
        return Convergence(
            endpoint_id=endpoint.pk,
            endpoint=endpoint.name,
            is_active=endpoint.is_active,
            confirmed=counted.confirmed,
            behind=counted.behind,
            never_sent=self.profiles - counted.outside - counted.confirmed - counted.behind,
            behind_since=counted.behind_since,
            counted_at=self.began_at,
            is_outdated=counted.version != endpoint.version,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the count in the form that is stored."""
        return {
            "began_at": _text(self.began_at),
            "profiles": self.profiles,
            "last_id": self.last_id,
            "endpoints": {
                str(pk): [
                    counted.version,
                    counted.confirmed,
                    counted.behind,
                    _text(counted.behind_since),
                    counted.outside,
                ]
                for pk, counted in self.endpoints.items()
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ConvergenceCount | None:
        """Return a count that was stored; ``None`` if there is none."""
        if not stored:
            return None
        return cls(
            began_at=_moment(stored["began_at"]),
            profiles=stored["profiles"],
            last_id=stored["last_id"],
            endpoints={
                int(pk): EndpointCount(
                    version=version,
                    confirmed=confirmed,
                    behind=behind,
                    behind_since=_moment(oldest),
                    outside=outside,
                )
                for pk, (version, confirmed, behind, oldest, outside) in stored["endpoints"].items()
            },
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
