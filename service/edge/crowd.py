"""How many connections, or requests, there may be at once: from one address, and in all."""

from collections import Counter


class Crowd:
    """Counts what is there. Use it in one thread.

    limit: how many may be there at once. each: how many of one address.
    """

    def __init__(self, limit: int, each: int) -> None:
        self._limit, self._each = limit, each
        self._there: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> bool:
        """Count one more of this address, and return True; False if there are too many already."""
        if self._total >= self._limit or self._there[address] >= self._each:
            return False
        self._there[address] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        self._total -= 1
        self._there[address] -= 1
        if not self._there[address]:
            del self._there[address]
