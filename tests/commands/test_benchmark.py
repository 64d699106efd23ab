"""bin/benchmark from end to end at a tiny size, its sums, its refusal of unlikes."""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import ROOT, Command
from PIL import Image
from tolerances import OTHER_FRAMEWORK

from jaxperceptual.benchmarks import (
    loading,
    pieces,
    plan,
    table1,
    timing,
    variants as all_variants,
)
from jaxperceptual.benchmarks.variants import Variants
from jaxperceptual.core import config_files, xla
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import memory_of_importing, peak_memory

run = Command("benchmark")
BFLOAT16 = 3e-2  # of a norm: digits of 4e-3 through a network, rounded in two programs


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("new") / "folder"
    argv = "--train --inference --gatys --reference torch --no-compile --no-memory "
    argv += "--config smoke.py --sizes 50 --train-size 32 --batch-size 2 --repeats 2 "
    argv += f"--norms instance --upsamplings transposed -o {folder}"
    # As a user runs it: with XLA's flags of `xla.configure_xla`, not the tests' own;
    # but without most of LLVM's passes, which are not ours.
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, str(ROOT / "bin" / "benchmark"), *argv.split()]
    subprocess.run(command, env=environment, check=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "benchmark.json",
        "benchmark.md",
    ]
    report = json.loads((folder / "benchmark.json").read_text())
    return report, (folder / "benchmark.md").read_text()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("table")
    argv = "--reference torch --no-compile --config smoke.py --sizes 50 --repeats 2 "
    assert run(*f"{argv} --budget 0.2 -o {folder}".split()) == 0
    assert len(list(folder.iterdir())) == 2
    report = json.loads((folder / "table1.json").read_text())
    return report, (folder / "table1.md").read_text()


def test_reports_what_was_measured_and_where(report):
    report, _ = report
    header = report["header"]
    assert header["command"].startswith("bin/benchmark --train --inference --gatys")
    assert {"jax", "jaxlib", "torch"} <= set(header["versions"])
    assert header["cores"] >= 1 and header["device"] and header["commit"]
    assert header["environment"]["XLA_FLAGS"].split() == [
        "--xla_backend_optimization_level=0",
        *(f"--{name}={value}" for name, value in xla._FLAGS.items()),
    ]
    assert 1e9 < report["peak_flops"] < 1e15
    train, inference, gatys = report["results"]
    assert gatys["work"] == "gatys iteration" and gatys["size"] == 50
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
            rate = row["flops"] / found["median_ms"] / 1e6
            assert f"| {rate:.0f} | {rate * 1e9 / report['peak_flops']:.0%} |" in text
        kinds = ["output"]
        if row["work"] == "train":
            kinds = ["terms", "gradient", "next terms"]
        if row["work"] == "gatys iteration":
            kinds = ["terms", "gradient"]  # iterates differ by design
        for name in list(variants)[1:]:
            assert list(variants[name]["errors"]) == kinds
            assert 0 < variants[name]["errors"][kinds[0]] < OTHER_FRAMEWORK["rtol"]
        theirs = [variants[name]["median_ms"] for name in list(variants)[1:]]
        assert row["ratio"] == min(theirs) / variants["jax"]["median_ms"]
        assert f"**{row['ratio']:.2f}** ({row['best_reference']})" in text


def test_input_by_source(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(loading, "STRETCH", 0.05)
    rng = np.random.default_rng(0)
    for i in range(3):
        photo = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{i}.png")
    photos = str(tmp_path / "photos")
    argv = f"--input --data embedded {photos} --config smoke.py --train-size 32"
    assert run(*argv.split(), "--repeats", "2", "-o", str(tmp_path)) == 0
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert report["results"] == []
    text = capsys.readouterr().out
    found = [(row["source"], row["cached"]) for row in report["input"]]
    assert found == [("embedded", False), (photos, False), (photos, True)]
    for row in report["input"]:
        assert len(row["rates"]) == 2 and min(row["rates"]) > 0
        assert f"| {row['num_images']} | {row['images_per_second']:.0f} |" in text
    with pytest.raises(InputError, match="no such"):
        run("--input", "--data", "nowhere", "--config", "smoke.py")


def both_pieces(folder, options):
    """What the command finds of one small training step and one small image."""
    pytest.importorskip("torch")
    argv = "--train --inference --reference torch --no-compile --no-memory --sizes 48 "
    argv += f"--train-size 32 --batch-size 2 --repeats 1 {options} -o {folder}"
    assert run(*argv.split()) == 0
    return json.loads((folder / "benchmark.json").read_text())["results"]


@pytest.mark.slow
def test_bfloat16_computes_what_autocast_does(tmp_path):
    options = "--norms instance --upsamplings resize --config smoke.py "
    for row in both_pieces(tmp_path, options + "--precision bfloat16"):
        assert row["precision"] == "bfloat16" and "ratio" in row
        error = next(iter(row["variants"]["torch"]["errors"].values()))
        assert 1e-5 < error < BFLOAT16


@pytest.mark.slow
def test_memory_is_the_variants_own(tmp_path):
    argv = "--inference --config smoke.py --norms instance --upsamplings resize "
    argv += f"--sizes 64 1024 --repeats 1 -o {tmp_path}"
    # As a script: each variant's process imports it anew.
    subprocess.run(
        [sys.executable, str(ROOT / "bin" / "benchmark"), *argv.split()], check=True
    )
    report = json.loads((tmp_path / "benchmark.json").read_text())
    peaks = [row["variants"]["jax"] for row in report["results"]]
    small, large = (found["memory_mib"] for found in peaks)
    # At 1024 px a layer of 4 channels at the full size takes 16 MiB, at 64 px nothing;
    # compiling takes some 100 at both.
    assert 0 <= small < large - 32
    assert large < 2000
    # Python with JAX in it, at least.
    assert all(found["process_mib"] > found["memory_mib"] + 50 for found in peaks)


def test_our_memory_is_not_that_of_a_reference(monkeypatch):
    """Where ours alone is made, PyTorch is not imported: it takes 180 MiB."""
    theirs = "jaxperceptual.benchmarks.torch.theirs"
    monkeypatch.setitem(sys.modules, theirs, None)  # an import of it fails
    net = config_files.load_config("smoke.py").net.to_dict()
    piece = pieces.inference("style", net, 32)
    work = all_variants.work(Variants(("torch",), only="jax"), piece)
    assert [variant.name for variant in work.variants] == ["jax"]
    with pytest.raises(ImportError):
        all_variants.work(Variants(("torch",)), piece)


def test_a_process_that_imports_more_takes_more():
    if (nothing := memory_of_importing("sys")) is None:
        pytest.skip("there is no /proc here")
    # What this process has taken does not count.
    assert 2e6 < nothing < memory_of_importing("numpy") - 5e6
    assert nothing < peak_memory() / 4


@pytest.mark.slow
def test_super_resolution_computes_what_pytorch_does(tmp_path):
    options = "--norms batch --upsamplings transposed --config sr_x4_feat.py"
    for row in both_pieces(tmp_path, options):
        assert row["factor"] == 4 and row["disagreement"] == ""
        assert "ratio" in row
    assert "batch, transposed, x4" in (tmp_path / "benchmark.md").read_text()


@pytest.mark.slow
def test_table_1_adds_up_from_its_raw_times(table):
    report, text = table
    (entry,) = report["results"]
    baseline, network = entry["baseline"], entry["network"]
    assert baseline["size"] == network["size"] == 50
    n, twice = baseline["stretches"]
    assert twice == 2 * n and n < 100
    assert list(entry["table"]) == ["jax", "torch", "torch, channels last"]
    for name, row in entry["table"].items():
        raw = baseline["variants"][name]["seconds"]
        assert [len(seconds) for seconds in raw] == [2, 2]
        one = [sum(seconds) / (3 * n) for seconds in raw]
        network_s = statistics.median(network["variants"][name]["times_ms"]) / 1000
        assert row["network"]["median"] == pytest.approx(network_s)
        for count in (100, 300, 500):
            cell = row["iterations"][str(count)]
            assert cell["measured"] is False
            assert cell["median"] == pytest.approx(count * statistics.median(one))
            assert cell["min"] == pytest.approx(count * min(one))
            assert cell["max"] == pytest.approx(count * max(one))
            speedup = cell["median"] / network_s
            assert row["speedup"][str(count)] == pytest.approx(speedup)
            assert f"~{speedup:.0f}x" in text
        assert row["linearity"] == pytest.approx(
            statistics.median(long / short / 2 for short, long in raw)
        )
    ours, *theirs = (r["iterations"]["500"]["median"] for r in entry["table"].values())
    assert entry["ratio"]["500"] == pytest.approx(min(theirs) / ours)
    assert entry["ratio"]["network"] == pytest.approx(network["ratio"])


@pytest.mark.slow
def test_table_1_says_what_is_whose(table):
    report, text = table
    assert report["header"]["device"] in text and "first calls" in text
    assert "on a Titan X; not measured here" in text
    assert "| 512 | *paper* | *10.97* | *32.91* | *54.85* | *0.05* |" in text
    assert "`~`: extrapolated" in text


def measured(stretches, *rounds):
    """The entry of such seconds, a network of 10 ms beside."""
    variants = {"jax": {"first_call_s": 1.0, "seconds": list(rounds)}}
    baseline = dict(size=8, disagreement="", variants=variants, references=())
    variants = {"jax": {"first_call_s": 1.0, "times_ms": [10.0]}}
    network = dict(size=8, disagreement="", variants=variants)
    return table1.entry(baseline | {"stretches": stretches}, network)


def test_only_what_was_extrapolated_is_marked():
    whole = measured((100, 200, 200), [1.0, 2.0, 2.2], [1.1, 2.1, 2.2], [1.2, 2.3, 2.4])
    line = table1.entry_markdown(whole)
    cells = "1.1 (1-1.2) | 3.2 (3-3.5) | 5.4 (5.2-5.9) | 0.01 (0.01-0.01)"
    assert f"| 8 | jax | {cells} | 110x / 320x / 540x | 0.96 | 1 + 1 |" == line
    assert "extrapolated" not in table1.notes_markdown([whole], 3)
    part = measured((100, 200), [1.0, 2.2])
    line = table1.entry_markdown(part)
    assert "| 1 (1-1) | 3.2 (3.2-3.2) | ~5.33 (5.33-5.33) |" in line
    assert "| 100x / 320x / ~533x | 1.10 **no** |" in line
    assert "extrapolated" in table1.notes_markdown([part], 1)


@pytest.mark.parametrize(
    "iterations, stretches",
    [
        (0.3, (1, 2)),
        (13.0, (4, 8)),
        (56.0, (15, 30)),
        (400.0, (100, 200)),
        (500.0, (100, 200, 200)),
    ],
)
def test_stretches_are_what_the_budget_pays_for(iterations, stretches):
    assert table1.choose_stretches(iterations, dispatch=5) == stretches


def test_stretches_take_turns_once_warm():
    calls = []
    work = fake_work({"jax": 1.0, "a": 1.0}, calls, count=5)
    row = table1.measure_iterations(work, repeats=2, budget=1e-9, full=False)
    warm = ["jax", "jax 5", "a", "a 5", "jax", "a"]
    assert calls == warm + ["jax", "a", "jax 2", "a 2"] * 2
    assert [len(seconds) for seconds in row["variants"]["a"]["seconds"]] == [2, 2]
    calls.clear()
    table1.measure_iterations(work, repeats=1, budget=1e-9, full=True)
    counts = (100, 200, 200)
    assert calls == warm + [f"{v} {n}" for n in counts for v in ("jax", "a")]


def test_table_1_has_no_times_where_numbers_differ(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(timing, "_TURN", 0.0)
    right, wrong = ({"jax": 1.0, "torch": x} for x in (1.0, 1.1))

    def work(chosen, piece):
        values = right if isinstance(piece, pieces.Inference) else wrong
        return fake_work(values, calls, references=("torch",))

    monkeypatch.setattr(all_variants, "work", work)
    assert run(*"--config smoke.py --sizes 32 --repeats 1".split()) == 1
    assert len(calls) == 4 + 1 + 2 + 4  # the network's alone are timed
    assert "| none: terms of torch and jax differ by" in capsys.readouterr().out


@pytest.mark.slow
def test_pytorchs_iterations_descend():
    pytest.importorskip("torch")
    config = config_files.load_config("smoke.py")
    variants = Variants("torch", compiled=False)
    piece = pieces.iteration(*plan.read_goal(config), config, 32)
    work = all_variants.work(variants, piece)
    for step in work.variants[1:]:
        first, last = (sum(step.call(n)[0].values()) for n in (1, 20))
        assert last < first / 2


def fake(name, value, calls):
    def call(count):
        calls.append(name if count == 1 else f"{name} {count}")
        return value

    return timing.Variant(name, call, lambda v: {"terms": {"loss": np.float64(v)}})


def fake_work(values, calls, **options):
    facts = dict(work="train", batch_size=1, size=8, norm="n", upsample="u", width=1)
    variants = [fake(name, value, calls) for name, value in values.items()]
    return timing.Work(facts, variants, **options)


def test_variants_take_turns_once_warm(monkeypatch):
    calls = []
    work = fake_work({"jax": 1.0, "a": 1.0, "b": 1.0}, calls, references=("a", "b"))
    monkeypatch.setattr(timing, "_TURN", 0.0)
    row = timing.measure(work, repeats=3)
    warm = ["jax"] * 2 + ["a"] * 2 + ["b"] * 2
    assert calls == [*warm, "jax", *["jax", "a", "b"] * 3]
    assert row["best_reference"] in ("a", "b")
    calls.clear()
    monkeypatch.setattr(timing, "_TURN", 1.0)
    monkeypatch.setattr(timing, "_MOST_CALLS", 2)
    row = timing.measure(work, repeats=1)
    assert calls[-6:] == ["jax", "jax", "a", "a", "b", "b"] and row["calls"] == 2


def test_a_turn_is_long_enough_and_times_are_of_once(monkeypatch):
    def call(count):
        time.sleep(0.02)

    sleeper = timing.Variant("jax", call, lambda _: {})
    monkeypatch.setattr(timing, "_TURN", 0.09)
    row = timing.measure(timing.Work({}, [sleeper]), repeats=1)
    assert 2 <= row["calls"] <= 5
    assert 20 <= row["variants"]["jax"]["median_ms"] < 0.09 / 2 * 1000


@pytest.mark.parametrize("wrong", [1.1, np.nan])
def test_no_times_and_exit_1_where_numbers_differ(wrong, monkeypatch, capsys):
    calls = []
    work = fake_work({"jax": 1.0, "torch": wrong}, calls, references=("torch",))
    monkeypatch.setattr(plan, "pieces_of", lambda *_: [lambda: None])
    monkeypatch.setattr(all_variants, "work", lambda chosen, piece: work)
    assert run("--train") == 1
    assert len(calls) == 4  # none to time, none whose memory counts
    assert "none: terms of torch and jax differ by" in capsys.readouterr().out


def test_what_cannot_run_is_named_and_left_out(monkeypatch):
    def call(count):
        raise timing.Unavailable("no C++ compiler")

    monkeypatch.setattr(timing, "_TURN", 0.0)
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
        ("--train --full", "--full is for table 1"),
        ("--budget 0", "--budget 0; use seconds above 0"),
        ("--budget nan", "--budget nan; use seconds"),
        ("--sizes 5000", "--sizes 5000; use 16 to 4096"),
        ("--inference --sizes 256 8", "--sizes 8; use 16"),
        ("--train --repeats 0", "--repeats 0; use 1"),
        ("--train --batch-size -1", "--batch-size -1; use 1"),
        ("--inference --reference keras", "--reference keras: unknown; use torch"),
        ("--train --precision half", "precision='half'; use one of float32, tf32"),
        ("--inference --norms None", "--norms None: unknown; use batch or instance"),
        ("--inference --config none.py", "--config none.py: no such file"),
        (f"--inference -o {__file__}", "cannot be written"),
        ("--train --reference torch --config denoise.py", "drawn anew at each step"),
        ("--train --config srcnn_x4.py", "SRCNN has no norm to choose"),
        ("--config sr_x4_feat.py", "table 1 and --gatys are of style transfer"),
        ("--inference --config sr_x8_feat.py --sizes 20", "--sizes 20; use a multiple"),
        ("--train --config sr_x4_feat.py --train-size 30", "--train-size 30; use a"),
    ],
)
def test_bad_input(argv, message):
    if "--reference torch" in argv:
        pytest.importorskip("torch")
    with pytest.raises(InputError, match=message):
        run(*argv.split())


def test_what_is_not_installed_is_left_out_by_name(monkeypatch):
    pytest.importorskip("torch")
    here = {"torch": True}
    monkeypatch.setattr(all_variants.importlib.util, "find_spec", here.get)
    names = ("openvino", "torch", "onnxruntime")
    assert all_variants.installed(names) == (("torch",), ("openvino", "onnxruntime"))
    here.clear()
    with pytest.raises(InputError, match=r"pip install 'jaxperceptual\[reference\]'"):
        run(*"--inference --reference torch openvino".split())


def test_runtimes_compute_what_ours_does():
    for name in all_variants.RUNTIMES:
        pytest.importorskip(name)
    net = config_files.load_config("smoke.py").net.to_dict()
    chosen = Variants(all_variants.RUNTIMES, forms=True)
    work = all_variants.work(chosen, pieces.inference("style", net, 32))
    names = [variant.name for variant in work.variants]
    assert names == ["jax", "jax, plain forms", "jax, canvas", *all_variants.RUNTIMES]
    row = timing.compare(work)
    assert row["disagreement"] == ""
    errors = [row["variants"][name]["errors"]["output"] for name in names[3:]]
    assert all(0 < error < OTHER_FRAMEWORK["rtol"] for error in errors)
    # Neither trains, nor computes in bfloat16.
    chosen = chosen._replace(precision="bfloat16", forms=False)
    work = all_variants.work(chosen, pieces.inference("style", net, 32))
    assert work.references == () and len(work.variants) == 1
