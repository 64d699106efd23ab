"""Values made one ahead, in threads."""

import threading

import pytest

from jaxperceptual.core.ahead import Ahead


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
