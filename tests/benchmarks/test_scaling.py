"""What is all-reduced in a step is counted right."""

import jax
import numpy as np
import pytest

from jaxperceptual.benchmarks.scaling import bytes_of


def test_bytes_of_a_program_with_two_all_reduces():
    def step(x, y):
        mean = jax.lax.pmean(x, "devices")
        total = jax.lax.psum(y * mean.sum(), "devices")  # needs the mean first
        return mean, total

    x, y = np.zeros((4, 10, 3), np.float32), np.zeros((4, 7), np.float32)
    program = jax.pmap(step, axis_name="devices").lower(x, y).compile().as_text()
    assert sorted(bytes_of(program)) == [4 * 7, 4 * 30]
    start = "%s = (f32[2,3]{1,0}, bf16[5]{0}) all-reduce-start(%a, %b), to_apply=%add"
    assert bytes_of(start) == [4 * 6 + 2 * 5]
    assert bytes_of("%d = f32[] all-reduce-done(%s)") == []
    with pytest.raises(KeyError):
        bytes_of("%s = u3[2] all-reduce(%a)")
