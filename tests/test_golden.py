"""`golden/`: small, and what its program would write today."""

import numpy as np
import pytest
from golden_inputs import FOLDER, golden
from tolerances import REORDERED_SUM


def test_files_are_small_and_explained():
    files = sorted(path.name for path in FOLDER.glob("*.npz"))
    assert files == ["loss_network.npz", "losses.npz", "networks.npz"]
    assert sum((FOLDER / name).stat().st_size for name in files) < 200_000
    readme = (FOLDER / "README.md").read_text()
    assert all(name in readme for name in files)


def check(made, committed):
    for name, value in made.items():
        assert value.dtype == committed[name].dtype
        if value.dtype.kind == "U":
            assert value == committed[name]
            continue
        scale = np.abs(committed[name]).max()
        np.testing.assert_allclose(
            value / scale, committed[name] / scale, **REORDERED_SUM, err_msg=name
        )


def test_the_program_makes_the_committed_networks():
    pytest.importorskip("torch")
    from golden import make

    check(make.nets(["instance norm, resize", "SRCNN x2"]), golden("networks"))
    assert make.FILES.keys() == {path.stem for path in FOLDER.glob("*.npz")}


@pytest.mark.weights
def test_the_program_makes_the_committed_activations():
    pytest.importorskip("torch")
    from golden import make

    check(make.loss_network(["relu1_2", "relu2_2"]), golden("loss_network"))
