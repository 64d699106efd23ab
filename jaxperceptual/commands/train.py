"""Trains a transformation network; the same command on the same --workdir continues."""

import argparse

from jaxperceptual.core import cli


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="train",
        description=__doc__,
        epilog="Any key of the config: --config.num_steps=200 --data.flip=true",
        allow_abbrev=False,
        settings=["data"],
    )
    add = made.add_argument
    add("--config", required=True, help="a file, or one in configs/")
    add("--quick", action="store_true", help="minutes on two CPU cores")
    add(
        "--style",
        help="style image, in place of the config's; with a gallery's, one more",
    )
    add(
        "--init",
        metavar="MODEL",
        help="start from this network: a shipped name, a run folder, a file, "
        "GALLERY:STYLE, or none",
    )
    add(
        "--train",
        choices=["all", "norms"],
        help="which parameters (norms: a gallery's other styles stay as they are)",
    )
    add("--data", help="folder, .tar, tfds:NAME or embedded")
    add("--workdir", help="run folder (default: runs/CONFIG)")
    add(
        "--distributed",
        action="store_true",
        help="one of many processes, in a cluster that JAX knows (SLURM, Open MPI, "
        "GKE, TPU)",
    )
    add("--coordinator", metavar="HOST:PORT", help="elsewhere: where process 0 is")
    add("--num-processes", type=int, metavar="N", help="of how many")
    add("--process-id", type=int, metavar="I", help="which this is, from 0")
    return made


def join(args: argparse.Namespace) -> None:
    given = (args.coordinator, args.num_processes, args.process_id)
    if args.distributed or given != (None, None, None):
        from jaxperceptual.core import distributed

        distributed.join(*given)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from jaxperceptual.core import config_files
    from jaxperceptual.training.run import train

    config = config_files.load_config(args.config)
    if args.quick:
        print("--quick changes:", "; ".join(config_files.apply_quick(config)))
    short = {"data.source": args.data, "init": args.init, "trained": args.train}
    if args.style and "styles" in config:
        config_files.add_style(config, args.style)
    else:
        short["style_image"] = args.style
    settings = [f"{key}={value}" for key, value in short.items() if value is not None]
    config_files.override_all(config, [*settings, *args.settings])
    name = Path(args.config).stem + ("_quick" if args.quick else "")
    return train(config, args.workdir or Path("runs") / name)
