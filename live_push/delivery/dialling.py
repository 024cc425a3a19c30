"""Connect to the first of several judged addresses that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from .no_answer import while_dialling
from .resolver import Destination
from .watchdog import Deadline

MOST_ADDRESSES: Final = 3


def dial(destinations: Sequence[Destination], *, connect_seconds: float, deadline: Deadline) -> socket.socket:
    """A connected socket, which the deadline will cut.

    One dead address among several is ordinary (an IPv6 address without a route, for one): the next gets its own
    ``connect_seconds``, as far as the deadline allows. Raises :class:`~live_push.delivery.no_answer.NoAnswer` with the
    fault of the last address that was tried.
    """
    fault: OSError = TimeoutError()
    for family, sockaddr in destinations[:MOST_ADDRESSES]:
        seconds = min(connect_seconds, deadline.seconds_left)
        if seconds <= 0:
            break
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            # A machine without IPv6 may be told IPv6 addresses all the same.
            fault = error
            continue
        try:
            # Headers and body are two writes; the second must not wait for the first to be acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(seconds)
            connection.connect(sockaddr)
            deadline.hold(connection)
        except OSError as error:
            fault = error
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            # From here on the deadline alone counts.
            connection.settimeout(max(deadline.seconds_left, 0.001))
            return connection
    raise while_dialling(fault)


async def dial_async(destinations: Sequence[Destination], *, connect_seconds: float) -> socket.socket:
    """The same without a thread that waits; whoever awaits it sets the total time."""
    loop = asyncio.get_running_loop()
    fault: OSError = TimeoutError()
    for family, sockaddr in destinations[:MOST_ADDRESSES]:
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            fault = error
            continue
        try:
            connection.setblocking(False)
            async with asyncio.timeout(connect_seconds):
                await loop.sock_connect(connection, sockaddr)
        except OSError as error:
            fault = error
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise while_dialling(fault)
