"""Things made once each: when asked for, or in a thread while others are in use."""

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Once(Generic[K, V]):
    """A mapping whose values are made when first asked for, once, by any thread.

    make: of a key; what it raises is raised to all who wait for it, and who asks later
        has it tried again.
    """

    def __init__(self, make: Callable[[K], V]):
        self._make = make
        self._made: dict[K, futures.Future[V]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: K) -> V:
        made, first = self._claimed(key)
        if first:
            self._fulfil(key, made)
        return made.result()

    def begin(self, key: K) -> None:
        """Has it made in a thread, unless it is, or is being made."""
        made, first = self._claimed(key)
        if first:
            threading.Thread(target=self._fulfil, args=(key, made)).start()

    def _claimed(self, key):
        with self._lock:
            first = key not in self._made
            return self._made.setdefault(key, futures.Future()), first

    def _fulfil(self, key, made):
        try:
            made.set_result(self._make(key))
        except BaseException as error:
            with self._lock:
                del self._made[key]
            made.set_exception(error)


class Ahead(Generic[K, V]):
    """A mapping whose values are made when needed, or one ahead of that.

    makers: what makes the value of each key, in the order in which they are wanted: the
        use of a key has the next one's value made meanwhile. As of `Once`.
    """

    def __init__(self, makers: Mapping[K, Callable[[], V]]):
        self.keys = tuple(makers)
        self._once: Once[K, V] = Once(lambda key: makers[key]())

    def __getitem__(self, key: K) -> V:
        value = self._once[key]
        after = self.keys.index(key) + 1
        if after < len(self.keys):
            self._once.begin(self.keys[after])
        return value
