"""Values made once each, or one ahead, by threads."""

import threading
import time
from concurrent import futures

import pytest

from jaxperceptual.core.ahead import Ahead, Once


def test_the_next_is_made_while_one_is_in_use():
    made, begun = [], {key: threading.Event() for key in "abc"}

    def maker(key):
        def make():
            begun[key].set()
            made.append(key)
            return key.upper()

        return make

    ahead = Ahead({key: maker(key) for key in "abc"})
    assert ahead.keys == ("a", "b", "c") and made == []
    assert ahead["a"] == "A"
    assert begun["b"].wait(10)  # in another thread, before it is asked for
    assert not begun["c"].is_set()
    assert [ahead[key] for key in "abcab"] == ["A", "B", "C", "A", "B"]
    assert made == ["a", "b", "c"]  # each once


def test_an_error_is_raised_where_the_value_is_wanted():
    ahead = Ahead({"a": lambda: 1, "b": lambda: 1 // 0})
    assert ahead["a"] == 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            ahead["b"]


def test_once_for_all_who_ask_and_again_after_an_error():
    made, begun, go = [], threading.Event(), threading.Event()

    def make(key):
        made.append(key)
        begun.set()
        assert go.wait(60)
        return 1 // key

    once = Once(make)
    with futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(once.__getitem__, 0) for _ in range(3)]
        assert begun.wait(60)
        while sum(future.running() for future in waiting) < 3:
            time.sleep(0.01)
        time.sleep(0.1)  # until they wait for the first
        go.set()
        for future in waiting:
            with pytest.raises(ZeroDivisionError):
                future.result()
    assert made == [0]
    with pytest.raises(ZeroDivisionError):
        once[0]
    assert once[1] == once[1] == 1 and made == [0, 0, 1]
