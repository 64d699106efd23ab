"""Experiment configurations: files with a `get_config()`, and changes to them."""

import ast
import difflib
import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxperceptual.core import records
from jaxperceptual.core.errors import InputError

FOLDER = Path(str(resources.files("jaxperceptual.configs")))  # ours

# What a config of each task is compared with; groups and keys that are its own affair.
MODELS = {"style": "style_muse.py", "restoration": "sr_x4_feat.py"}
_OWN = (
    "quick",
    "net.",
    "degradation.",
    "objective.content",
    "objective.style",
    "styles",
)
_OPTIONAL = {"style_image", "default_style_image", "style_size", "style_weight"}

MULTIPLES = {  # a key, and what its value is a multiple of
    "checkpoint_every_steps": "steps_per_dispatch",
    "keep_every_steps": "checkpoint_every_steps",
}


def load_config(name: str) -> ConfigDict:
    """The locked config of `name`, a path or a file in configs/.

    A config may build on ours, `from jaxperceptual.configs import style_muse`, and on
    its neighbours, `import mine`.

    Raises InputError for a missing file, or one without `get_config`.
    """
    path = _find(name)
    sys.path.insert(0, str(path.parent))
    try:
        config = runpy.run_path(str(path))["get_config"]()
    except Exception as error:  # whatever a user's file may raise
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: {what}; see configs/style_muse.py.") from error
    finally:
        sys.path.pop(0)
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{path}: get_config() returns a {type(config).__name__}; return a "
            "ConfigDict, as configs/style_muse.py does."
        )
    _complete(config, path)
    return config.lock()


def _complete(config: ConfigDict, path: Path) -> None:
    """Gives an older config the keys that came later; InputError for those it lacks.

    And for one that is none, but nearly.
    """
    task = config.get("task")
    if task not in MODELS:
        raise InputError(f"{path}: task={task!r}; use one of {', '.join(MODELS)}.")
    model = runpy.run_path(str(FOLDER / MODELS[task]))["get_config"]()
    known = {k for k in records.flatten(model) if not k.startswith(_OWN)}
    there = {k for k in records.flatten(config) if not k.startswith(_OWN)}
    for key in sorted(known - there - _OPTIONAL):
        if key not in records.LATER_KEYS:
            raise InputError(f"{path}: has no {key}; see configs/{MODELS[task]}.")
        *groups, last = key.split(".")
        node = config
        for group in groups:
            node = node[group]
        with config.unlocked():
            node[last] = records.LATER_KEYS[key]
    for key in sorted(there - known):
        if close := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
            raise InputError(f'{path}: no key "{key}". Did you mean "{close[0]}"?')


def override(config: ConfigDict, setting: str) -> None:
    """Applies `a.b.c=value`, the value in the type that the key has.

    Raises InputError for a key that does not exist (the nearest one is suggested), and
    for a value of another type.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--config.{key}: no value; use --config.{key}=VALUE.")
    if key.startswith("quick."):
        raise InputError(
            f"--config.{key}: --quick has been applied before; set "
            f"--config.{key.removeprefix('quick.')}, which comes after it."
        )
    *_, last = key.split(".")
    node = config
    for name in key.split("."):
        if not isinstance(node, ConfigDict) or name not in node:
            raise InputError(_unknown(key, name, node))
        parent, node = node, node[name]
    if isinstance(node, ConfigDict):
        raise InputError(f"--config.{key}: a group; set one of {', '.join(node)}.")
    parent[last] = _parse(key, text, node)


def override_all(config: ConfigDict, settings: Sequence[str]) -> None:
    """Applies each, and lets keys that follow others do so, unless they are set too.

    One that sets `style_image` clears `default_style_image`, so that a style image that
    was asked for and is not there is an error. A rate that falls to 0 at the last step
    falls to the new last one. Checkpoints are made where dispatches end, and kept where
    they are made: the next such steps.
    """
    falls = config.get("num_steps") == config.get("optimizer", {}).get("decay_steps")
    for setting in settings:
        override(config, setting)
    given = {setting.partition("=")[0] for setting in settings}
    if "style_image" in given:
        config.default_style_image = ""
    if falls and "optimizer.decay_steps" not in given:
        config.optimizer.decay_steps = config.num_steps
    changed = set(given)
    for key, of in MULTIPLES.items():
        if of in changed and key not in given and key in config and config[of] > 0:
            config[key] = -(-config[key] // config[of]) * config[of]
            changed.add(key)


def add_style(config: ConfigDict, image: str) -> None:
    """One more style in a gallery's config, called as the image's file.

    Its weight is found by the painting. Raises InputError for a name that is there.
    """
    name = re.sub(r"\W+", "_", Path(image).stem).strip("_") or "mine"
    if name in config.styles:
        raise InputError(
            f"--style {image}: the gallery has a style {name}; rename the file."
        )
    with config.unlocked():
        style = dict(title=Path(image).name, image=image, size=512, weight=0.0)
        config.styles[name] = ConfigDict(style)


def apply_quick(config: ConfigDict) -> list[str]:
    """Applies the config's own `quick` section; returns what changed, a line a key."""
    if "quick" not in config:
        raise InputError("this config has no quick section; leave --quick off.")
    before = records.flatten(config)
    for key in records.flatten(config.quick):
        if key not in before:
            raise InputError(f"quick.{key}: {_unknown_in(config, key)}")
    try:
        config.update(config.quick)
    except (TypeError, ValueError) as error:
        raise InputError(f"quick: {error}; see configs/style_muse.py.") from error
    after = records.flatten(config)
    return [
        f"{key} {before[key]} -> {value}"
        for key, value in after.items()
        if not key.startswith("quick.") and before[key] != value
    ]


def unflatten(flat: Mapping[str, Any]) -> ConfigDict:
    """The config that `records.flatten` made this of, as model files keep theirs."""
    config = ConfigDict()
    for key, value in flat.items():
        *groups, last = key.split(".")
        node = config
        for name in groups:
            if name not in node:
                node[name] = ConfigDict()
            node = node[name]
        node[last] = value
    return config.lock()


def _find(name: str) -> Path:
    for path in (Path(name), FOLDER / name, FOLDER / f"{name}.py"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.name for path in FOLDER.glob("[!_]*.py")))
    raise InputError(f"--config {name}: no such file; configs/ has {known}.")


def _unknown_in(config: ConfigDict, key: str) -> str:
    names = [k for k in records.flatten(config) if not k.startswith("quick.")]
    close = difflib.get_close_matches(key, names, n=1)
    return "no such key." + (f' Did you mean "{close[0]}"?' if close else "")


def _unknown(key: str, name: str, node: Any) -> str:
    names = list(node) if isinstance(node, ConfigDict) else []
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f'--config.{key}: no key "{name}". Did you mean "{close[0]}"?'
    there = ", ".join(names) or "nothing below it"
    return f'--config.{key}: no key "{name}"; there is {there}.'


def _parse(key: str, text: str, old: Any) -> Any:
    kind = type(old)
    if old is None or (text == "None" and key.startswith("net.")):  # a norm, or none
        return None if text == "None" else text
    try:
        if kind is str:
            return text
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is int:
            return int(text.replace("_", ""))
        if kind is float:
            return float(text)
        value = ast.literal_eval(text)
        if type(value) is kind:
            return value
    except (ValueError, KeyError, SyntaxError):
        pass
    raise InputError(f"--config.{key}={text!r}: not a {kind.__name__}, as {old!r} is.")
