"""README and docs: their commands parse, their links lead somewhere."""

import importlib
import re
import shlex

import pytest
from helpers import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docs" / "benchmarks" / "README.md",
    ROOT / "configs" / "styles" / "README.md",
    ROOT / "vgg_weights" / "README.md",
    *sorted((ROOT / "jaxperceptual" / "pretrained").glob("*.md")),
]
EXAMPLE = ".describe"  # which docs/developing.md adds
PREFIXES = ("bin/", "jaxperceptual ", "python -m jaxperceptual")


def commands_of(page):
    """Every command line of ours in code of the page."""
    text = page.read_text()
    blocks = re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.DOTALL)
    lines = [
        line for block in blocks for line in re.sub(r"\\\n", " ", block).split("\n")
    ]
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", outside)]
    for line in lines:
        for part in line.split("&&"):
            part = part.strip().removeprefix("$ ")
            part = re.sub(r"^([A-Z_]+=\S+ )+", "", part)
            if part.startswith(PREFIXES) and " " in part:
                yield part


def words_of(line):
    """Without `< FILE` and `> FILE`."""
    line = re.sub(r" [<>] \S+", "", line)
    return [word for word in shlex.split(line, comments=True) if word != "..."]


def module_of(words):
    """The module of the command, and its arguments."""
    if words[0].startswith("bin/"):
        return f"jaxperceptual.commands.{words[0][4:]}", words[1:]
    if words[0] == "python":
        _, _, module, *rest = words
        if module != "jaxperceptual":
            return module, rest
        words = rest
    else:
        words = words[1:]
    return f"jaxperceptual.commands.{words[0]}", words[1:]


COMMANDS = sorted(
    {
        (page.name if page.parent == ROOT else f"{page.parent.name}/{page.name}", line)
        for page in PAGES
        for line in commands_of(page)
    }
)


@pytest.mark.parametrize("page, line", COMMANDS, ids=lambda text: text[:60])
def test_a_command_line_parses(page, line, capsys):
    name, arguments = module_of(words_of(line))
    # A stand-in, or the command that the page on developing adds as an example.
    if name.endswith((".NAME", ".COMMAND", EXAMPLE)):
        return
    module = importlib.import_module(name)
    if not hasattr(module, "parser"):  # a program without options
        return
    parser = module.parser()
    if not arguments or arguments in (["--help"], ["-h"]):
        return
    try:
        parser.parse_args(arguments)
    except SystemExit as stop:
        if stop.code:
            # Beside the text, a command is often named with the one flag it is about.
            message = capsys.readouterr().err
            assert "required" in message, f"{page}: {line}: {message}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            path = page.parent / target.partition("#")[0]
            assert path.exists(), f"{page.name}: {target}"


def test_paths_in_the_text_exist():
    """`jaxperceptual/...py` and the like, in words, docstrings and comments."""
    pattern = re.compile(r"\b((?:jaxperceptual|docs|tests|configs|bin)/[\w/.-]*\w)")
    sources = [*PAGES, *(ROOT / "jaxperceptual").rglob("*.py")]
    for source in sources:
        if source.name == "CHANGELOG.md":  # tells of what was
            continue
        for name in pattern.findall(source.read_text()):
            found = (ROOT / name).exists() or (ROOT / f"{name}.py").exists()
            stand_in = "NAME" in name or name == "bin/activate"
            assert found or stand_in, f"{source.relative_to(ROOT)}: {name}"


def test_the_readme_is_short_and_has_its_two_commands():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    assert len(re.findall(r"^pip install .*pytest$", text, re.MULTILINE)) == 1
    assert "pip install -e . && bin/train --config style_muse.py --quick" in text


def test_each_promise_of_reliability_has_its_test():
    rows = re.findall(
        r"^\|.*\| `(\S+\.py) -k (\w+)` \|(.*)\|.*\|$",
        (ROOT / "docs" / "reliability.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 30
    for name, words, when in rows:
        text = (ROOT / "tests" / name).read_text()
        found = re.findall(rf"((?:^[@ )].*\n)*)^def (\w*{words}\w*)", text, re.M)
        assert len(found) == 1, f"{name} -k {words}: {[test for _, test in found]}"
        whole = re.findall(r"^pytestmark.*\n(?: .*\n)*", text, re.MULTILINE)
        is_slow = any("mark.slow" in marks for marks in (found[0][0], *whole))
        assert is_slow == (when.strip() == "slow"), f"{name} -k {words}"
