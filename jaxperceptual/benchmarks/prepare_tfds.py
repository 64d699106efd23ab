"""Photos of a folder as a TFDS data set, `tfds:photos`, to time its reading.

    python -m jaxperceptual.benchmarks.prepare_tfds FOLDER -o OUT

`TFDS_DATA_DIR=OUT jaxperceptual benchmark --input --data tfds:photos` reads it then.
"""

import argparse
import sys
from pathlib import Path

import tensorflow_datasets as tfds

from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError


class Photos(tfds.core.GeneratorBasedBuilder):
    """The `.jpg` files of `folder`, as they are."""

    VERSION = tfds.core.Version("1.0.0")
    folder: Path

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for path in sorted(self.folder.rglob("*.jpg")):
            yield path.name, {"image": path}


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.prepare_tfds",
        description=__doc__.partition("\n")[0],
    )
    made.add_argument("folder", type=Path)
    made.add_argument("-o", "--output", required=True, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        raise InputError(f"{args.folder}: not a folder; give one with .jpg photos.")
    Photos.folder = args.folder
    builder = Photos(data_dir=args.output, file_format="array_record")
    builder.download_and_prepare()
    print(f"{builder.info.splits['train'].num_examples} photos in {args.output}")


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
