"""Records: where two differ, and what held before a key came."""

from ml_collections import ConfigDict

from jaxperceptual.core import records


def test_the_first_difference_and_what_is_free():
    was = {"a": 1, "b": (1, 2), "gone": 0}
    now = {"a": 1, "b": [1, 2], "came": 0}
    assert records.first_difference(was, was) is None
    assert records.first_difference(was, now) == ("came", None, 0)
    free = {"came", "gone"}.__contains__
    assert records.first_difference(was, now, free=free) is None
    now["came"] = None  # as good as not there
    assert records.first_difference(was, now) == ("gone", 0, None)


def test_flat_and_completed():
    nested = {"data": ConfigDict({"size": 3}), "objective": {"content": {"relu": 1.0}}}
    flat = records.flatten(nested)
    assert flat == {"data.size": 3, "objective.content.relu": 1.0}
    old = records.completed(flat)
    assert old["precision"] == "float32" and old.items() >= flat.items()
    assert records.completed({"precision": "tf32"})["precision"] == "tf32"
