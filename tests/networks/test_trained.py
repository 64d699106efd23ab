"""What a model file tells of its training, whatever stands in its header."""

import pytest

from jaxperceptual.networks.model_file import read_model
from jaxperceptual.networks.trained import Trained

METADATA = {
    "steps": 3,
    "training": {"objective.tv_weight": 0.5, "degradation.name": "downsample"},
    "style": {"name": "a.png", "sha256": "0"},
    "poem": "ü",
}


def test_facts_are_typed_and_nothing_is_lost():
    trained = Trained.parse(METADATA)
    assert trained.steps == 3 and trained.vgg is None
    assert trained.degradation == "downsample" and trained.blur == 0.0
    assert trained.objective["objective.tv_weight"] == 0.5
    assert trained.config["precision"] == "float32"  # a key that came later
    again = Trained.parse(trained.metadata())
    assert again == trained and again.other == {"poem": "ü"}


@pytest.mark.parametrize("key", ["steps", "training", "style", "vgg"])
def test_what_is_not_as_training_writes_it_is_not_told(key):
    trained = Trained.parse({key: ["strange"]})
    assert trained == Trained()
    assert Trained.parse({}).metadata() == {}


def test_models_that_ship_are_older_than_some_keys():
    trained = read_model("style_cubist").trained
    assert trained.config["precision"] == "float32"
    assert trained.steps == 1818 and trained.style["name"] == "cubist.png"
