"""The worker: a loop that runs the pipeline, in a process of its own or in a thread of the web process.

The loop polls for due deliveries, does housekeeping, releases what dead workers held, and survives the loss of its
database.
"""

from __future__ import annotations

import logging
import math
import os
import random as stdlib_random
import threading
import time
from collections.abc import Callable

from django.db import connections

from live_push.models import Delivery
from live_push.models.databases import has_table
from live_push.models.transactions import retried
from live_push.outbox import idle, release, serializer_check

from .base import Engine, do_housekeeping
from .commit_watch import CommitWatch
from .convergence_thread import ConvergenceThread
from .due_watch import DueWatch
from .listener import Listener
from .pipeline import Pipeline
from .run import make_transport, worker_name
from .selectable_event import SelectableEvent
from .sender import OutOfThreads
from .session import DatabaseSession

logger = logging.getLogger("live_push.engine")

LEAST_POLL_SECONDS = 0.01
POLL_SECONDS = 1.0
"""Bounds of the pause between two polls: a busy worker polls up to 100 times a second, an idle one once."""

COMMIT_WATCH_SECONDS = 0.025
MOST_COMMIT_WATCH_SECONDS = 0.05
DUE_WATCH_SECONDS = 0.08
"""Between two polls an idle worker looks for commits on SQLite, with a :class:`CommitWatch`: every 0.025 s in the first
minute without work, every 0.05 s after the second, so that a worker that idles for hours costs less. On other
databases it looks for due deliveries every 0.08 s, with a :class:`DueWatch`, unless it is asleep."""

AWAKE_SECONDS = 1.0
LOOKS_ASLEEP = (0.01, 0.05, 0.2)
"""With a :class:`Listener`, a worker falls asleep after 1 s without work: recorded pushes then notify it. A transaction
that recorded a push before it could see that the worker sleeps may commit a little later, so the worker polls again
0.01, 0.05 and 0.2 s after it fell asleep, and then once a second."""

HOUSEKEEPING_SECONDS = 5.0
RELEASING_SECONDS = 1.0
MOST_BACK_OFF_SECONDS = 30.0
"""The longest pause after an error. The pause starts at 1 s and doubles with each error in a row."""

OUT_OF_THREADS_SECONDS = 1.0
FINISHING_TRIES = 5
FINISHING_PAUSE_SECONDS = 1.0
THREADS = 64

# The loops of this process, so that a commit in the same process wakes them without waiting for the next poll. After a
# fork, the set also has the loops of the parent process.
_loops: set[WorkerLoop] = set()


class WorkerEngine(Engine):
    """Wakes the loops of this process. The loops of other processes find the rows at their next poll."""

    def wake(self, using: str) -> None:
        for loop in list(_loops):
            # After a fork, the thread of the parent's loop does not exist here, and its locks may stay held for ever.
            if loop.pid == os.getpid():
                loop.wake()


class WorkerLoop:
    """Runs a pipeline until it is stopped, in the thread that calls :meth:`run`."""

    def __init__(
        self,
        *,
        using: str,
        threads: int = THREADS,
        engine: str = "worker",
        random: Callable[[], float] = stdlib_random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.using, self.random, self.monotonic = using, random, monotonic
        self.name, self.pid = worker_name(), os.getpid()
        self.transport = make_transport()
        self.session = DatabaseSession(using)
        self.commits = CommitWatch(using)
        self._due_watch = DueWatch(using)
        self.listener = Listener(using, monotonic=monotonic)
        self.convergence = ConvergenceThread(using)
        self.pipeline = Pipeline(
            using=using, name=self.name, threads=threads, transport=self.transport, random=random, engine=engine
        )
        self._stopping = threading.Event()
        self._woken = self.pipeline.something_happened = SelectableEvent()
        self._next_poll = 0.0
        self._next_housekeeping = 0.0
        self._next_release = 0.0
        self._last_busy = 0.0
        self._last_hint = 0.0
        self._back_off = 0.0
        self._isolated_due = False
        self._is_hinted = False
        self._may_be_leased = True
        self._is_nothing_due = False
        self._polls_asleep: list[float] = []

    def wake(self) -> None:
        """Poll for due deliveries now."""
        self._is_hinted = True
        self._woken.set()

    def stop(self) -> None:
        """Ask the loop to end. It finishes the attempts in flight and gives the other claimed deliveries back."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        """Deliver until :meth:`stop` is called."""
        _loops.add(self)
        try:
            while not self._stopping.is_set() and not self._run_guarded(self._wait_for_tables):
                pass
            self.convergence.start()
            serializer_check.log_serializer_findings(using=self.using)
            while not self._stopping.is_set():
                self._run_guarded(self._turn)
            self._stop_working()
        finally:
            _loops.discard(self)
            self.convergence.stop()
            self.pipeline.close()
            self.transport.close()
            self._close_connection()
            self._woken.close()

    def _wait_for_tables(self) -> None:
        """Before the first ``migrate``, such as in a new project's ``runserver``, say so and wait for it."""
        if has_table(Delivery, self.using):
            return
        logger.warning("The tables of live_push do not exist yet. Run `manage.py migrate`: the worker starts then.")
        while not self._stopping.wait(POLL_SECONDS) and not has_table(Delivery, self.using):
            pass

    def _close_connection(self) -> None:
        # With a connection pool, another thread may get this connection next.
        self.listener.close()
        self.session.give_back()
        connections[self.using].close()

    def _stop_working(self) -> None:
        # The requests in flight have been sent, so writing their results is worth several tries.
        for _ in range(FINISHING_TRIES):
            if self._run_guarded(self._finish):
                return
            time.sleep(FINISHING_PAUSE_SECONDS)

    def _run_guarded(self, step: Callable[[], None]) -> bool:
        """Run a step of the loop and return whether it succeeded. After an error, pause."""
        try:
            self.session.set_up()
            self.listener.set_up()
            retried(step, using=self.using)
        except OutOfThreads as error:
            # A short pause, because the database works, and the outcomes must be settled before their leases expire.
            logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
            self._stopping.wait(OUT_OF_THREADS_SECONDS)
            return False
        except Exception:
            # The database is probably unreachable. The loop must go on after any error.
            self._back_off = min(max(1.0, self._back_off * 2), MOST_BACK_OFF_SECONDS)
            logger.exception("The worker failed. It tries again in %.0f s.", self._back_off)
            self._close_connection()
            self._stopping.wait(self._back_off)
            return False
        self._back_off = 0.0
        return True

    def _turn(self) -> None:
        """Do what is due: housekeeping, a turn of the pipeline, releasing. Wait if there was nothing to do."""
        self._woken.clear()
        now = self.monotonic()
        if now >= self._next_housekeeping:
            # Set the next time first. If housekeeping fails each time, the turns in between still send.
            self._next_housekeeping = now + HOUSEKEEPING_SECONDS
            self._do_housekeeping()
        polling = self._is_time_to_poll(now) and self._poll(now)
        claiming = not self._isolated_due and (polling or not self.pipeline.is_idle)
        did_something = self.pipeline.turn(claiming=claiming, polling=polling)
        if self._isolated_due and self.pipeline.is_idle:
            did_something = self._deliver_isolated()
        if now >= self._next_release and self._may_be_leased:
            # Release after the turn, which may settle an outcome of this worker whose lease has just expired. Otherwise
            # the delivery would be released and count as stalled.
            self._next_release = now + RELEASING_SECONDS
            did_something = bool(release.release_stalled(using=self.using, random=self.random)) or did_something
        if did_something:
            self._last_busy = now
            # More deliveries may be due, so poll again soon.
            self._next_poll = min(self._next_poll, now + LEAST_POLL_SECONDS)
            self._is_nothing_due = False
            self._sleep_or_wake(now)
            return
        self._sleep_or_wake(now)
        next_release = self._next_release if self._may_be_leased else math.inf
        until_due = min(self._next_poll, self._next_housekeeping, next_release) - now
        self._wait(max(0.0, min(until_due, self.pipeline.seconds_until_due)))

    def _is_time_to_poll(self, now: float) -> bool:
        if self._is_hinted:
            # Clear the hint before the poll, so that a hint that arrives during the poll leads to another one.
            self._is_hinted = False
            self._last_hint = now
            return True
        return now >= self._next_poll

    def _poll(self, now: float) -> bool:
        """Return whether to claim. An idle worker claims only if a cheap statement says that a delivery is due."""
        self._next_poll = now + self._poll_seconds(now)
        if self.commits.is_supported:
            # Reset the watch: this poll finds all earlier commits, so only later ones must end the wait.
            self.commits.saw_commit()
        self._may_be_leased, self._is_nothing_due = True, False
        if not self.pipeline.is_idle or self._isolated_due:
            return True
        look = idle.look(using=self.using)
        self._may_be_leased, self._is_nothing_due = look.is_leased, not look.is_due
        if not look.is_due and look.seconds_until_due is not None:
            # A retry starts on time, no matter how rarely the worker polls.
            self._next_poll = min(self._next_poll, now + max(LEAST_POLL_SECONDS, look.seconds_until_due))
        return look.is_due

    def _sleep_or_wake(self, now: float) -> None:
        """Write into the heartbeat, if it has changed, whether recorded pushes must notify this worker."""
        heartbeat, awake_since = self.pipeline.heartbeat, max(self._last_busy, self._last_hint)
        falls_asleep = self.listener.is_trusted and self._is_nothing_due and now - awake_since >= AWAKE_SECONDS
        if falls_asleep == heartbeat.is_asleep:
            return
        heartbeat.write(is_asleep=falls_asleep)
        if falls_asleep:
            asleep_since = self.monotonic()
            self._next_poll, *self._polls_asleep = [asleep_since + seconds for seconds in LOOKS_ASLEEP]

    def _wait(self, seconds: float) -> None:
        if self.listener.was_notified():
            self._is_hinted = True
            return
        socket = self.listener.file_descriptor() if self.pipeline.heartbeat.is_asleep else None
        if socket is None:
            self._watch(seconds)
        elif self._woken.wait_or_read(socket, seconds):
            # A notification, or the connection is lost: the poll finds out.
            self._is_hinted = True

    def _watch(self, seconds: float) -> None:
        """Wait until the time is over, the loop is woken, or there seems to be something to do."""
        # This is all that an idle worker does, so it is much cheaper than a turn.
        until, woken, monotonic = self.monotonic() + seconds, self._woken, self.monotonic
        if not (self.commits.is_supported or self._is_nothing_due):
            # What is due can't be claimed now. A look at it would find it again and again, and each time a claim would
            # lock rows that other workers need.
            woken.wait(seconds)
            return
        pause = DUE_WATCH_SECONDS
        if self.commits.is_supported:
            # Commits that record nothing are not work, such as those of the thread that counts the convergence.
            silence = monotonic() - self._last_busy
            pause = min(max(COMMIT_WATCH_SECONDS, silence / 2400), MOST_COMMIT_WATCH_SECONDS)
        sees_work = self.commits.saw_commit if self.commits.is_supported else self._due_watch.sees_due
        left = seconds
        while not woken.wait(min(pause, left)):
            left = until - monotonic()
            if left <= 0:
                return
            if sees_work():
                self._is_hinted = True
                return

    def _deliver_isolated(self) -> bool:
        """Deliver isolated deliveries one after the other, for 5 s at most, because all others wait meanwhile."""
        until = self.monotonic() + HOUSEKEEPING_SECONDS
        delivered = False
        while self.pipeline.deliver_isolated():
            delivered = True
            if self.monotonic() >= until or self._stopping.is_set():
                break
        self._isolated_due = False
        return delivered

    def _poll_seconds(self, now: float) -> float:
        """Return the pause until the next poll: a tenth of the time since the last work, within the bounds.

        A worker that sleeps polls after the pauses of a sleeper instead.
        """
        if self.pipeline.heartbeat.is_asleep:
            return self._polls_asleep.pop(0) - now if self._polls_asleep else POLL_SECONDS
        return min(max(LEAST_POLL_SECONDS, (now - self._last_busy) / 10), POLL_SECONDS)

    def _do_housekeeping(self) -> None:
        self.pipeline.heartbeat.write()
        chores = do_housekeeping(self.using)
        self.pipeline.workers, self._isolated_due = chores.workers, chores.isolated
        self.listener.warn_if_silent()

    def _finish(self) -> None:
        self.pipeline.drain()
        self.pipeline.heartbeat.remove()
