"""bin/benchmark from end to end at a tiny size, and its refusal to compare unlikes."""

import json
import sys

import numpy as np
import pytest
from conftest import load_script

import jaxperceptual
from jaxperceptual import benchmark, timing
from jaxperceptual.errors import InputError

script = load_script("benchmark")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("new") / "folder"
    argv = "--train --inference --reference torch --no-compile --config smoke.py "
    argv += "--sizes 50 --train-size 32 --batch-size 2 --repeats 2 "
    argv += f"--norms instance --upsamplings transposed -o {folder}"
    assert script.main(argv.split()) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "benchmark.json",
        "benchmark.md",
    ]
    report = json.loads((folder / "benchmark.json").read_text())
    return report, (folder / "benchmark.md").read_text()


def test_reports_what_was_measured_and_where(report):
    report, _ = report
    header = report["header"]
    assert header["command"].startswith("bin/benchmark --train --inference")
    assert {"jax", "jaxlib", "torch"} <= set(header["versions"])
    assert header["cores"] >= 1 and header["device"] and header["commit"]
    assert report["peak_memory_mb"] > 100
    train, inference = report["results"]
    shared = dict(norm="instance", upsample="transposed", width=0.125)
    for row, facts in (
        (train, dict(work="train", batch_size=2, size=32)),
        (inference, dict(work="inference", batch_size=1, size=50)),
    ):
        assert {k: row[k] for k in (*facts, *shared)} == facts | shared


def test_every_variant_agrees_and_has_times(report):
    report, text = report
    for row in report["results"]:
        variants = row["variants"]
        assert list(variants) == ["jax", "torch", "torch, channels last"]
        for found in variants.values():
            assert len(found["times_ms"]) == 2 and min(found["times_ms"]) > 0
            assert found["first_call_s"] > 0
        kinds = ["output"]
        if row["work"] == "train":
            kinds = ["terms", "gradient", "next terms"]
        for name in list(variants)[1:]:
            assert list(variants[name]["errors"]) == kinds
            assert 0 < variants[name]["errors"][kinds[0]] < 1e-4
        theirs = [variants[name]["median_ms"] for name in list(variants)[1:]]
        assert row["ratio"] == min(theirs) / variants["jax"]["median_ms"]
        assert f"**{row['ratio']:.2f}** ({row['best_reference']})" in text


def fake(name, value, calls):
    def call():
        calls.append(name)
        return value

    return timing.Variant(name, call, lambda v: {"terms": {"loss": np.float64(v)}})


def fake_work(values, calls, **options):
    facts = dict(work="train", batch_size=1, size=8, norm="n", upsample="u", width=1)
    variants = [fake(name, value, calls) for name, value in values.items()]
    return timing.Work(facts, variants, **options)


def test_variants_take_turns_once_warm():
    calls = []
    work = fake_work({"jax": 1.0, "a": 1.0, "b": 1.0}, calls, references=("a", "b"))
    row = timing.measure(work, repeats=3)
    assert calls == ["jax"] * 2 + ["a"] * 2 + ["b"] * 2 + ["jax", "a", "b"] * 3
    assert row["best_reference"] in ("a", "b")


@pytest.mark.parametrize("wrong", [1.1, np.nan])
def test_no_times_and_exit_1_where_numbers_differ(wrong, monkeypatch, capsys):
    calls = []
    work = fake_work({"jax": 1.0, "torch": wrong}, calls, references=("torch",))
    monkeypatch.setattr(benchmark, "works", lambda options: [work])
    assert script.main(["--train"]) == 1
    assert len(calls) == 4  # none to time
    assert "none: terms of torch and jax differ by" in capsys.readouterr().out


def test_what_cannot_run_is_named_and_left_out():
    def call():
        raise timing.Unavailable("no C++ compiler")

    work = fake_work({"jax": 1.0}, [], references=("torch.compile",))
    work.variants.append(timing.Variant("torch.compile", call, dict))
    row = timing.measure(work, repeats=1)
    assert "ratio" not in row and "times_ms" in row["variants"]["jax"]
    assert "| torch.compile | no C++ compiler |" in timing.row_markdown(row)


def test_relative_errors_by_hand():
    ours = {"gradient": {"a": np.array([3.0, 4.0]), "b": np.zeros(2)}, "other": {}}
    theirs = {"gradient": {"a": np.array([3.0, 4.5]), "b": np.array([0.0, 0.2])}}
    assert timing.relative_errors(ours, theirs) == {"gradient": pytest.approx(0.2)}
    with pytest.raises(ValueError, match="on one side only"):
        timing.relative_errors(ours, {"gradient": {"a": theirs["gradient"]["a"]}})


@pytest.mark.parametrize(
    "argv, message",
    [
        ("", "nothing to measure"),
        ("--inference --sizes 256 8", "--sizes 8; use 16"),
        ("--train --repeats 0", "--repeats 0; use 1"),
        ("--train --batch-size -1", "--batch-size -1; use 1"),
        ("--inference --reference keras", "--reference keras: unknown; use torch"),
        ("--inference --norms layer", "net.norm='layer'"),
        ("--inference --config none.py", "--config none.py: no such file"),
        (f"--inference -o {__file__}", "cannot be written"),
    ],
)
def test_bad_input(argv, message):
    with pytest.raises(InputError, match=message):
        script.main(argv.split())


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "jaxperceptual.torch_reference", raising=False)
    monkeypatch.delattr(jaxperceptual, "torch_reference", raising=False)
    with pytest.raises(InputError, match=r"pip install -e '.\[reference\]'"):
        script.main("--inference --reference torch".split())
