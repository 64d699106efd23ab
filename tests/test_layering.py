"""Which room may import which, no circles, and the few names that live in one room."""

import ast
import graphlib
import tomllib
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "jaxperceptual"

# A room, and what it may import: no more than it does.
MAY_IMPORT = {
    "core": "",
    "images": "core",
    "ops": "core",
    "loss_network": "core ops",
    "networks": "core images ops",
    "losses": "core images loss_network ops",
    "data": "core images",
    "inference": "core images networks ops",
    "export": "core images networks ops",
    "video": "core images inference",
    "page": "core export images inference networks",
    "training": "core data images losses networks",
    "baseline": "core data images losses ops",
    "evaluation": "core data images inference loss_network networks",
    "figures": "baseline core data evaluation images inference loss_network losses "
    "networks video",
    "benchmarks": "baseline core data export images inference loss_network losses "
    "networks ops training video",
    "commands": "baseline benchmarks core evaluation export figures inference "
    "loss_network losses networks page training video",
}
# A module from outside: the only places that import it.
ONLY_IN = {
    "PIL": ("images/", "data/", "benchmarks/peer_program.py"),
    "torch": ("benchmarks/torch/", "benchmarks/optimizers.py"),
    "onnx": ("export/",),
    "orbax": ("training/checkpoints.py",),
    "av": ("video/",),
    "cv2": ("video/",),
    "starlette": ("page/server.py",),
    "uvicorn": ("commands/serve.py",),
    "grain": ("data/",),
    "argparse": ("core/cli.py", "commands/", "benchmarks/", "figures/"),
}

MODULES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports_of(tree):
    """Dotted names of what is imported, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree):
    """Files of the package that are imported."""
    for name in imports_of(tree):
        parts = name.split(".")
        if parts[0] == "jaxperceptual" and len(parts) > 1:
            path = "/".join(parts[1:])
            for file in (f"{path}.py", f"{path}/__init__.py"):
                if file in MODULES:
                    yield file


def room_of(file):
    return file.split("/")[0] if "/" in file else None


def test_every_room_has_its_rule_and_its_words():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(MAY_IMPORT)
    for room in rooms:
        doc = ast.get_docstring(MODULES[f"{room}/__init__.py"])
        assert doc and len(doc) > 80 and "mports" in doc


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_what_it_may(room):
    allowed = {room, *MAY_IMPORT[room].split()}
    for file, tree in MODULES.items():
        if room_of(file) == room:
            wrong = {f for f in ours(tree) if room_of(f) not in allowed}
            assert not wrong, f"{file} imports {wrong}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_needs_what_it_may_import(room):
    used = {
        room_of(other)
        for file, tree in MODULES.items()
        for other in ours(tree)
        if room_of(file) == room
    }
    assert set(MAY_IMPORT[room].split()) <= used


def test_no_circles():
    graph = {file: set(ours(tree)) - {file} for file, tree in MODULES.items()}
    # What a folder's own files import of it is the folder, not a file.
    for file, found in graph.items():
        found -= {f"{room_of(file)}/__init__.py"}
    graphlib.TopologicalSorter(graph).prepare()


def test_some_packages_have_one_place():
    for file, tree in MODULES.items():
        for name in imports_of(tree):
            places = ONLY_IN.get(name.split(".")[0])
            assert places is None or file.startswith(places), f"{file}: {name}"


def test_pmap_and_devices_are_the_trainings():
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("pmap", "pmean"):
                assert file.startswith(("training/", "ops/")), file


def test_private_names_stay_in_their_file():
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and "jaxperceptual" in str(node.module):
                private = [a.name for a in node.names if a.name.startswith("_")]
                assert not set(private) - {"__main__"}, file


def test_the_wheel_has_every_folder():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = settings["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    dotted = {".".join(folder.parts) for folder in folders}
    assert set(packages) == dotted | {"jaxperceptual.configs"}


def test_tests_mirror_the_rooms():
    rooms = {path.parent.name for path in Path(ROOT / "tests").glob("*/test_*.py")}
    assert rooms <= {*MAY_IMPORT, "configs"}
