"""A worker's loop that a test plays: hours of waiting pass at once."""

from __future__ import annotations

from collections import Counter

from live_push.engines.selectable_event import SelectableEvent
from live_push.engines.worker import WorkerLoop


class PlayedLoop(WorkerLoop):
    """A loop whose clock moves only while it waits for something to do.

    ``waits``
        The seconds of each such wait.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        super().__init__(using="default", threads=2, monotonic=lambda: self.now)
        self._woken = self.pipeline.something_happened = PlayedEvent(self)

    def play(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            assert self._run_guarded(self._turn)

    def wait_really(self) -> None:
        """Wait until something ends the wait: the test hangs for 30 s if nothing does."""
        played, self._woken = self._woken, SelectableEvent()
        self.pipeline.something_happened = self._woken
        if played.is_set():
            self._woken.set()
        try:
            self._wait(30.0)
        finally:
            self._woken.close()
            self._woken = self.pipeline.something_happened = played

    def listen(self) -> None:
        """Wait until the worker has sent itself its own notification, which its next statement then receives."""
        self.session.set_up()
        self.listener.set_up()
        if self.listener._test is not None:
            self.listener._test.join(30)

    def count_watching(self) -> Counter[str]:
        """Count from now on how often the loop looks for commits, and for due deliveries."""
        counts: Counter[str] = Counter()
        saw_commit, sees_due = self.commits.saw_commit, self._due_watch.sees_due

        def commit() -> bool:
            counts["commit"] += 1
            return saw_commit()

        def due() -> bool:
            counts["due"] += 1
            return sees_due()

        self.commits.saw_commit = commit  # type: ignore[method-assign]
        self._due_watch.sees_due = due  # type: ignore[method-assign]
        return counts


class PlayedEvent(SelectableEvent):
    """Lets the loop's time pass, except while a request is under way: its thread needs real time."""

    def __init__(self, loop: PlayedLoop) -> None:
        super().__init__()
        self.loop = loop

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set() or self.loop.pipeline.in_flight:
            return super().wait(30)
        self._pass(timeout or 0)
        return False

    def wait_or_read(self, file_descriptor: int, seconds: float) -> bool:
        if not self.is_set():
            self._pass(seconds)
        return False

    def _pass(self, seconds: float) -> None:
        self.loop.waits.append(seconds)
        # A little later than the moment that is waited for, as with a real clock.
        self.loop.now += seconds + 1e-6
