"""How many uploads are under way, and how many images are computed at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from thorax.service.refusals import Refused

__all__ = ["Admission"]


class Admission:
    """The places of a service: some compute, a few more read their upload or wait for a turn.

    Args:
        at_once: How many images are computed at the same time.
        waiting: How many more uploads may be read or wait.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._free = at_once + waiting

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places, from before an upload is read until it is answered.

        Raises:
            Refused: There is no free place; the request is to come back.
        """
        if self._free == 0:
            raise Refused(503, "Busy", "the service is busy; try again in a moment", retry_after=2)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
