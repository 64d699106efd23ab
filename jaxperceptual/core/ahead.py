"""Things made once each: when asked for, or in a thread while others are in use."""

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Ahead(Generic[K, V]):
    """A mapping whose values are made when needed, or one ahead of that.

    makers: what makes the value of each key, in the order in which they are wanted: the
        first use of a key has the next one's value made meanwhile. Each is called once;
        what it raises is raised to whoever asks for the value.
    """

    def __init__(self, makers: Mapping[K, Callable[[], V]]):
        self.keys = tuple(makers)
        self._makers = makers
        self._made: dict[K, futures.Future[V]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: K) -> V:
        made = self._start(key)
        value = made.result()
        after = self.keys.index(key) + 1
        if after < len(self.keys):
            self._start(self.keys[after])
        return value

    def _start(self, key):
        with self._lock:
            if key not in self._made:
                pool = futures.ThreadPoolExecutor(1)
                self._made[key] = pool.submit(self._makers[key])
                pool.shutdown(wait=False)
            return self._made[key]


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
        with self._lock:
            first = key not in self._made
            made = self._made.setdefault(key, futures.Future())
        if first:
            try:
                made.set_result(self._make(key))
            except BaseException as error:
                with self._lock:
                    del self._made[key]
                made.set_exception(error)
        return made.result()
