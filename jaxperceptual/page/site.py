"""The page for any web server: the same page, the network and a runtime beside it.

Nothing is computed by the server: a visitor's browser does, and photos never leave it.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from jaxperceptual.core.errors import InputError
from jaxperceptual.export import writing
from jaxperceptual.page import onnxruntime_web, studio

FOLDER = Path(__file__).parent
MAX_SIZE = 1600  # px: WASM has 4 GB
# As `guard.HEADERS`, and what WASM and a worker need; frames a `<meta>` cannot forbid.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' blob:; form-action 'none'; base-uri 'none'"
)


def write_site(
    folder: str | os.PathLike,
    model: str | os.PathLike | None = None,
    package: str | os.PathLike | None = None,
) -> Path:
    """Writes the page into a new folder, whole or not at all.

    model: a gallery; the one that ships if None.
    package: of onnxruntime-web, as `onnxruntime_web.copy_files` has it.

    Raises InputError for a model that is no gallery, a folder that has something in it,
    or without npm.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: there is something; name a new folder.")
    work = studio.Studio(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        made.chmod(0o755)
        for file in sorted((FOLDER / "static").iterdir()):
            shutil.copyfile(file, made / file.name)
        for file in sorted((FOLDER / "alone").iterdir()):
            shutil.copyfile(file, made / file.name)
        page = (made / "index.html").read_text()
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        (made / "index.html").write_text(
            page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}')
        )
        writing.export_model(work.model, made / "gallery.onnx", all_styles=True)
        about = work.about() | {"max_size": MAX_SIZE, "enlarge": []}
        (made / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        (made / "thumbnails").mkdir()
        for name in work.styles:
            if (data := work.thumbnail(name)) is not None:
                (made / "thumbnails" / f"{name}.webp").write_bytes(data)
        (made / "ort").mkdir()
        onnxruntime_web.copy_files(made / "ort", package)
        if folder.exists():  # empty, a link maybe, or where somebody stands
            for item in made.iterdir():
                shutil.move(item, folder)
            made.rmdir()
        else:
            made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder
