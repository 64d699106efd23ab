"""Where photos come from: files, tar archives, TFDS, or inside scikit-image."""

import abc
import functools
import hashlib
import importlib.util
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as pil

from jaxperceptual.core.errors import InputError, first_line
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.formats import IMAGE_SUFFIXES, check_regular
from jaxperceptual.images.reading import load_rgb

EMBEDDED = "embedded"
NUM_READ, BEGINNING = 512, 65536  # photos, bytes: what `Source.identity` reads
# Of what scikit-image ships in colour, the photographs of things: no star field, eye
# or tissue section, and one half of the stereo pair of the motorcycle.
EMBEDDED_PHOTOS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"),
    "rocket.jpg",
)


class Source(abc.ABC):
    """Encoded images by index; pickled, it carries names and offsets, no open file."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, i: int) -> str:
        """What a message calls image `i`."""

    @abc.abstractmethod
    def load(self, i: int, at_least: int | None) -> pil.Image:
        """Image `i` as RGB; see `reading.load_rgb`, also for the InputError."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Changes when a file comes, goes, or is written."""

    @abc.abstractmethod
    def described(self, i: int) -> tuple[str, int]:
        """The name of image `i` within the source, and its bytes' number."""

    @abc.abstractmethod
    def beginning(self, i: int) -> bytes:
        """The first `BEGINNING` bytes of image `i`."""

    def identity(self) -> str:
        """A hash that is the same wherever these photos lie, and another for others.

        Of all names within the source and sizes, and of the beginnings of up to
        `NUM_READ` photos, evenly chosen: 80,000 files take as long as asking for their
        sizes, and a few are read.
        """
        digest = hashlib.sha256()
        every = -(-len(self) // NUM_READ)
        for i in range(len(self)):
            name, size = self.described(i)
            digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
            if i % every == 0:
                digest.update(self.beginning(i))
        return digest.hexdigest()


def open_source(
    name: str,
    *,
    data_dir: str | Path | None = None,
    leave_out: str | Path | None = None,
) -> Source:
    """The photos that a `source` string names, as `Loader` tells.

    leave_out: a folder, below that of the photos, whose pictures are none of them.

    Raises:
      InputError: There is no such source, or no image in it.
    """
    if name == EMBEDDED:
        return _Embedded()
    if name.startswith("tfds:"):
        return _Tfds(name.removeprefix("tfds:"), data_dir)
    return _Files(name, leave_out)


class _Entry(NamedTuple):
    path: str
    member: str = ""  # of a tar archive
    offset: int = 0
    num_bytes: int = -1  # to the end


class _Files(Source):
    def __init__(self, path: str, leave_out: str | Path | None = None):
        if re.search(r"\.(tgz|tar\.\w+|zip)$", path, re.IGNORECASE):
            raise InputError(
                f"{path}: a compressed archive has no random access; unpack it into a "
                "folder or a plain .tar."
            )
        self._entries: list[_Entry] = []
        self._folder = path
        suffixes = (*IMAGE_SUFFIXES, ".tar")
        for file in find_images(path, suffixes=suffixes, leave_out=leave_out):
            if file.suffix.lower() == ".tar":
                self._entries += _tar_entries(file)
            else:
                self._entries.append(_Entry(str(file)))
        if not self._entries:
            raise InputError(
                f"{path}: no images in the archive; members ending in "
                f"{' '.join(IMAGE_SUFFIXES)} count."
            )

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, i: int) -> str:
        entry = self._entries[i]
        return os.path.join(entry.path, entry.member) if entry.member else entry.path

    def load(self, i: int, at_least: int | None) -> pil.Image:
        data = self._read(i, self._entries[i].num_bytes)
        return load_rgb(data, name=self.name(i), at_least=at_least)

    def _read(self, i: int, num_bytes: int) -> bytes:
        entry = self._entries[i]
        check_regular(entry.path)
        try:
            # Opened for each read: no position or descriptor that threads or
            # processes could share, and little beside the decoding (20 us to 5 ms).
            with open(entry.path, "rb") as file:
                file.seek(entry.offset)
                return file.read(num_bytes)
        except OSError as error:
            raise InputError(
                f"{self.name(i)}: cannot be opened ({error.strerror})."
            ) from None

    def described(self, i: int) -> tuple[str, int]:
        entry = self._entries[i]
        name = os.path.relpath(self.name(i), self._folder)
        if entry.num_bytes >= 0:
            return name, entry.num_bytes
        try:
            return name, os.stat(entry.path).st_size
        except OSError:  # a broken link: named, and passed over, when its turn comes
            return name, -1

    def beginning(self, i: int) -> bytes:
        size = self._entries[i].num_bytes
        try:
            return self._read(i, BEGINNING if size < 0 else min(size, BEGINNING))
        except InputError:
            return b""

    def fingerprint(self) -> str:
        return _hash_files(
            [(e.path, f"{e.member}:{e.offset}:{e.num_bytes}") for e in self._entries]
        )


def _tar_entries(path: Path) -> list[_Entry]:
    try:
        with tarfile.open(path, "r:") as archive:
            return [
                _Entry(str(path), member.name, member.offset_data, member.size)
                for member in archive
                if member.isreg()
                and not member.issparse()
                and not os.path.basename(member.name).startswith(".")
                and member.name.lower().endswith(IMAGE_SUFFIXES)
            ]
    except (tarfile.TarError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a plain tar archive ({error}); if it is "
            "compressed, unpack it, and if damaged, fetch it again."
        ) from error


class _Embedded(_Files):
    def __init__(self):
        package = importlib.util.find_spec("skimage")
        if package is None:
            raise InputError(
                f"source={EMBEDDED!r} needs scikit-image; install it or name a folder."
            )
        folder = Path(package.submodule_search_locations[0]) / "data"
        self._folder = str(folder)
        self._entries = [_Entry(str(folder / name)) for name in EMBEDDED_PHOTOS]
        missing = [e.path for e in self._entries if not os.path.isfile(e.path)]
        if missing:
            raise InputError(
                f"{missing[0]}: scikit-image no longer ships this photo; install "
                "scikit-image 0.26 or name a folder of photos."
            )

    def load(self, i: int, at_least: int | None) -> pil.Image:
        # Four megabytes in all, read again for every crop.
        return _load_once(self._entries[i].path)


@functools.lru_cache(len(EMBEDDED_PHOTOS))
def _load_once(path: str) -> pil.Image:
    return load_rgb(path)


class _Tfds(Source):
    # Group 1 is the data set with its configuration and version, group 2 the split,
    # which may hold a colon itself: coco/2014:1.1.0:train[:80%].
    _NAME = re.compile(r"([^:]+(?::\d+\.\d+\.\d+)?)(?::(.+))?")

    def __init__(self, name: str, data_dir: str | Path | None):
        match = self._NAME.fullmatch(name)
        if match is None:
            raise InputError(f"tfds:{name}: write tfds:NAME or tfds:NAME:SPLIT.")
        where = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        self._args = match[1], match[2] or "train", os.path.expanduser(where)
        opened = _open_tfds(*self._args)
        self._length, self._feature = len(opened.records), opened.feature
        self._files = opened.files

    def __len__(self) -> int:
        return self._length

    def name(self, i: int) -> str:
        return f"tfds:{self._args[0]}:{self._args[1]}#{i}"

    def load(self, i: int, at_least: int | None) -> pil.Image:
        return load_rgb(self._encoded(i), name=self.name(i), at_least=at_least)

    def _encoded(self, i: int) -> bytes:
        # Looked up, not kept: a worker process opens its own files.
        try:
            return _open_tfds(*self._args).records[i][self._feature]
        except (RuntimeError, ValueError, LookupError, OSError) as error:
            raise InputError(
                f"{self.name(i)}: cannot be read ({first_line(error)}); prepare the "
                "data set again."
            ) from error

    def fingerprint(self) -> str:
        return _hash_files([(path, self.name(0)) for path in self._files])

    def described(self, i: int) -> tuple[str, int]:
        return self.name(i), -1  # not without reading them all

    def beginning(self, i: int) -> bytes:
        try:
            return self._encoded(i)[:BEGINNING]
        except InputError:
            return b""


class _TfdsRecords(NamedTuple):
    records: Sequence[dict[str, Any]]
    feature: str
    files: list[str]


@functools.lru_cache
def _open_tfds(name: str, split: str, data_dir: str) -> _TfdsRecords:
    import tensorflow_datasets as tfds  # a second that only this source needs
    from tensorflow_datasets.core import read_only_builder

    build = f"tfds build {name} --file_format=array_record --data_dir={data_dir}"
    try:
        # From the files alone: `tfds.data_source` would import the program that
        # made them, which for COCO imports TensorFlow.
        builder = read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"tfds:{name}: not prepared in {data_dir}; prepare it with `{build}` "
            "(needs TensorFlow, reading does not), or set TFDS_DATA_DIR."
        ) from error
    except Exception as error:  # a name that is none, or whatever damaged files raise
        raise InputError(
            f"tfds:{name}: cannot be opened in {data_dir} ({first_line(error)}); "
            "write tfds:NAME[/CONFIG][:VERSION][:SPLIT], or prepare it again with "
            f"`{build}`."
        ) from error
    features = builder.info.features
    found = [k for k, v in features.items() if isinstance(v, tfds.features.Image)]
    if "image" not in found and len(found) != 1:
        raise InputError(
            f"tfds:{name}: has no feature `image`, and its image features are "
            f"{found or 'none'}; use a data set of images."
        )
    try:
        records = builder.as_data_source(
            split=split, decoders={k: tfds.decode.SkipDecoding() for k in features}
        )
    except NotImplementedError as error:
        raise InputError(
            f"tfds:{name}: prepared as {builder.info.file_format.value}, which has no "
            f"random access; prepare it with `{build}`."
        ) from error
    except ValueError as error:
        raise InputError(
            f"tfds:{name}: no split {split!r}; it has {', '.join(builder.info.splits)}."
        ) from error
    if not len(records):
        raise InputError(f"tfds:{name}: the split {split!r} is empty.")
    files = sorted(str(path) for path in Path(builder.data_path).iterdir())
    return _TfdsRecords(records, "image" if "image" in found else found[0], files)


def _hash_files(entries: Sequence[tuple[str, str]]) -> str:
    """Over the paths, sizes and times of files, and a word beside each."""

    @functools.cache
    def state(path: str) -> str:
        try:
            stat = os.stat(path)
        except OSError:  # gone, or a link to nowhere
            return "gone"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    digest = hashlib.sha256()
    for path, word in entries:
        digest.update(
            f"{os.path.abspath(path)}\0{state(path)}\0{word}\n".encode(
                "utf-8", "replace"
            )
        )
    return digest.hexdigest()
