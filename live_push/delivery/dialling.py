"""Connect to the first of several permitted addresses that answers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

from .no_answer import connect_failed, refuse_if_late
from .resolver import Destination
from .watchdog import Deadline

MOST_TIMEOUTS: Final = 3
"""After this many timeouts no further address is tried. A refused connection fails at once and does not count."""


def dial(
    destinations: Sequence[Destination], *, connect_seconds: float, deadline: Deadline, not_after: float | None = None
) -> socket.socket:
    """Return a connected socket, which ``deadline`` shuts down when it expires.

    One unreachable address among several is common, such as an IPv6 address without a route. So the addresses are
    tried in turn, each for up to ``connect_seconds``, until three have timed out or the deadline has expired. Raises
    :class:`~live_push.delivery.no_answer.NoAnswer` with the error of the last address that was tried, or because
    ``not_after`` has passed.
    """
    last_error: OSError = TimeoutError()
    timeouts = 0
    for family, sockaddr in destinations:
        seconds = min(connect_seconds, deadline.seconds_left)
        if seconds <= 0 or timeouts == MOST_TIMEOUTS:
            break
        refuse_if_late(not_after)
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            # DNS may return IPv6 addresses to a machine without IPv6.
            last_error = error
            continue
        try:
            # A large request takes several writes, and the second must not wait until the first is acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(seconds)
            connection.connect(sockaddr)
            deadline.hold(connection)
        except OSError as error:
            last_error = error
            timeouts += isinstance(error, TimeoutError)
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            # From here on only the deadline applies.
            connection.settimeout(max(deadline.seconds_left, 0.001))
            return connection
    raise connect_failed(last_error)
