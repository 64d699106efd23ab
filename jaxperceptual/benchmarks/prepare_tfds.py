"""Photos of a folder as a TFDS data set, `tfds:photos`, to time its reading.

    python -m jaxperceptual.benchmarks.prepare_tfds FOLDER -o OUT

`TFDS_DATA_DIR=OUT jaxperceptual benchmark --input --data tfds:photos` reads it then.
"""

import argparse
from pathlib import Path

import tensorflow_datasets as tfds


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", required=True, metavar="OUT")
    args = parser.parse_args()
    Photos.folder = args.folder
    builder = Photos(data_dir=args.output, file_format="array_record")
    builder.download_and_prepare()
    print(f"{builder.info.splits['train'].num_examples} photos in {args.output}")


if __name__ == "__main__":
    main()
