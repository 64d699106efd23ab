"""A module imports only from rows above its own, so the package reads top to bottom."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "jaxperceptual"

ROWS = [
    {"color", "errors", "files", "machine", "types"},
    {"cpu"},
    {"onednn"},
    {"compilation", "configs", "degradations", "flops", "images", "inert_pickle"}
    | {"metrics", "ops", "parallel", "precision", "runs", "vgg_names", "workers"},
    {"cli", "layers", "losses", "sources", "timing", "weight_files"},
    {"jobs", "nets", "photos", "table1", "vgg_weights"},
    {"cache", "checkpoints", "lpips", "models", "vgg"},
    {"data", "inference", "objectives", "torch_reference", "training"},
    {"feeding", "gatys", "goals", "reporting", "restoring", "stylizing"},
    {"baseline_folder", "comparison", "evaluation", "experiment", "reconstruction"}
    | {"works"},
    {"baseline", "benchmark", "evaluation_report"},
    {"figures"},
]


def imports_of(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "jaxperceptual":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("jaxperceptual."):
                found.add(node.module.split(".")[1])
    return found


def test_every_module_has_a_row():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set().union(*ROWS)


def test_imports_come_from_rows_above():
    above = set()
    for row in ROWS:
        for module in row:
            wrong = imports_of(PACKAGE / f"{module}.py") - above
            assert not wrong, f"{module} imports {wrong}, which is not above it"
        above |= row
