"""From the options of `benchmark` to pieces of work."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxperceptual.benchmarks import pieces
from jaxperceptual.benchmarks.options import Options
from jaxperceptual.benchmarks.variants import Variants, installed
from jaxperceptual.core import config_files, precision
from jaxperceptual.core.errors import InputError
from jaxperceptual.losses.goal import Goal, build_goal
from jaxperceptual.losses.style_image import StyleImage, read_style
from jaxperceptual.networks.layers import check_net_options


class StyledGoal(NamedTuple):
    """A goal, and the style image that a reference needs to make its own."""

    goal: Goal
    style: StyleImage


def read_config(options: Options) -> ConfigDict:
    """The config that the options name, in their precision.

    Raises InputError for options that cannot be, and for work that the config does not
    know.
    """
    options.check()
    installed(options.reference)
    precision.check(options.precision)
    for norm, upsample in itertools.product(options.norms, options.upsamplings):
        check_net_options(norm, 1.0, upsample)
    config = config_files.load_config(options.config)
    config.precision = options.precision
    _check_config(options, config)
    return config


def read_goal(config: ConfigDict) -> StyledGoal:
    """The goal of a style config."""
    style = read_style(config)
    return StyledGoal(build_goal(config, style), style)


def variants_of(options: Options) -> Variants:
    """Which variants of each piece the options ask for."""
    return Variants(
        installed(options.reference)[0],
        options.forms,
        options.compiled,
        precision=options.precision,
    )


def pieces_of(
    options: Options, config: ConfigDict, goal: Callable[[], StyledGoal]
) -> Iterator[Callable[[], pieces.Piece]]:
    """What makes each piece of work that the options ask for.

    `goal` is called for the pieces that need it, when they are reached.
    """
    for norm, upsample in itertools.product(options.norms, options.upsamplings):
        net = config.net.to_dict() | dict(norm=norm, upsample=upsample)
        if options.train:
            yield functools.partial(
                pieces.training,
                net,
                config,
                batch_size=options.batch_size,
                size=options.train_size,
            )
        for size in options.sizes if options.inference else ():
            yield functools.partial(pieces.inference, config.task, net, size)
    for size in options.sizes if options.gatys else ():
        yield functools.partial(pieces.iteration, *goal(), config, size)


def _check_config(options: Options, config: ConfigDict) -> None:
    """Raises InputError for work that the config does not know."""
    if "norm" not in config.net and (options.train or options.inference):
        raise InputError(
            f"--config {options.config}: {config.net.name} has no norm to choose; use "
            "a config of another network."
        )
    if "style_image" not in config and (options.table1 or options.gatys):
        raise InputError(
            f"--config {options.config}: table 1 and --gatys are of style transfer; "
            "give a style config, or --train or --inference."
        )
    noise = config.get("degradation", {}).get("name") == "noise"
    if noise and options.train and "torch" in options.reference:
        raise InputError(
            f"--config {options.config}: its noise is drawn anew at each step, so that "
            "PyTorch would do other work; leave out --reference."
        )
    factor = config.net.get("factor", 1)
    for name, size in (
        *(("--sizes", size) for size in options.sizes if options.inference),
        *([("--train-size", options.train_size)] if options.train else []),
    ):
        if size % factor:
            raise InputError(f"{name} {size}; use a multiple of the factor {factor}.")
