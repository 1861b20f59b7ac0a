"""The actor through which workers and the caller speak."""

from typing import Any

__all__ = ["Board"]


class Board:
    """Messages of the attempts at units, and the answers to them; runs as an actor beside the caller."""

    def __init__(self) -> None:
        self._said: list[tuple[int, Any, bool]] = []
        self._answers: dict[int, Any] = {}
        self._is_closed = False

    def say(self, attempt: int, message: Any, *, asks: bool) -> None:
        """Keep a message of an attempt until the caller takes it."""
        self._said.append((attempt, message, asks))

    def take(self) -> list[tuple[int, Any, bool]]:
        """Return the messages since the last call, with whether each waits for an answer."""
        said, self._said = self._said, []
        return said

    def answer(self, attempt: int, reply: Any) -> None:
        """Keep the answer to what an attempt asked."""
        self._answers[attempt] = (reply,)

    def answered(self, attempt: int) -> tuple[Any] | None:
        """Return the answer in a tuple; None before there is one."""
        return (None,) if self._is_closed else self._answers.pop(attempt, None)

    def close(self) -> None:
        """Answer everything with None from now on: the caller stops."""
        self._is_closed = True
