"""The benchmarks' own machinery: what it would get wrong would be believed."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.amend import amend
from harness.corpus import Group, NoTasks, draw_corpus
from harness.document import render
from harness.machine import revision
from harness.process_memory import peak_bytes, reset_peak, resident_bytes
from harness.profile import NoProfile, sort_by_kind
from harness.results import Profile, Results, RowResult
from harness.targets import TARGETS, Target
from harness.worker_process import PythonWorker, RivalFailed, RivalUnavailable, WorkerProcess

MIB = 2**20


def row(row_id: str, seconds: list[float], **values: object) -> RowResult:
    model, title, form = row_id.split("/")[:3]
    given = {"corpus": "main", "float32": True, "n_texts": 10, "n_tokens": 100, **values}
    return RowResult(row_id, model, title, form, seconds=seconds, **given)


def results_of(*rows: RowResult) -> Results:
    return Results(
        list(rows), machine={"processor": "P"}, date="D", n_threads=2, cores=[0, 1], fastplr={"fastplr": "1"}
    )


@pytest.fixture
def written_tasks(tmp_path: Path) -> Path:
    """Two tasks with texts of 1 to 90 characters, and one of another suite."""
    described = []
    for name, suite in (("a", "core17"), ("b", "core17"), ("c", "extra")):
        (tmp_path / name).mkdir()
        for file, lengths in (("train.csv", range(1, 46)), ("test.csv", range(46, 91))):
            lines = ["text,label", *(f"{name * length},x" for length in lengths)]
            (tmp_path / name / file).write_text("\n".join(lines) + "\n", "utf-8")
        task = {"name": name, "suite": suite, "prefix": "Before: ", "suffix": " Is it? Answer:"}
        described.append({**task, "option_letters": {"x": "a"}, "label_words": {"x": "x"}})
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": described}), "utf-8")
    return tmp_path


def test_corpus_has_one_text_of_each_stratum_of_length(written_tasks):
    corpus = draw_corpus(20, written_tasks)
    assert [name for name, _ in corpus.texts] == ["a", "b"]
    for _, texts in corpus.texts:
        assert sorted((len(text) - 1) // 9 for text in texts) == list(range(10))
    assert corpus == draw_corpus(20, written_tasks)


def test_each_text_keeps_the_prompt_of_its_task(written_tasks):
    corpus = draw_corpus(6, written_tasks)
    assert [len(group.texts) for group in corpus.groups("none")] == [6]
    for group in corpus.groups("paper"):
        assert (group.prefix, group.suffix, len(group.texts)) == ("Before: ", " Is it? Answer:", 3)
    for group in corpus.groups("instruction"):
        assert (group.prefix, group.suffix) == ("Is it? Before: ", "")


def test_a_later_run_amends_memory_and_load_time_alone():
    whole = results_of(
        row("m/fastplr/none", [1.0, 2.0], peak_bytes=5, load_seconds=0.5), row("m/other/none", [3.0], peak_bytes=7)
    )
    part = results_of(row("m/fastplr/none", [9.0], peak_bytes=2, load_seconds=0.1), row("m/new/none", [1.0]))
    part.date = "later"
    found = amend(whole, part)
    assert [one.id for one in found.rows] == ["m/fastplr/none", "m/other/none"]
    assert (found.rows[0].seconds, found.rows[0].peak_bytes, found.rows[0].load_seconds) == ([1.0, 2.0], 2, 0.1)
    assert found.rows[1].peak_bytes == 7
    assert "peak memory and load time of fastplr: later" in render(found)


def test_a_later_run_fills_what_could_not_be_measured_and_brings_its_profile():
    whole = results_of(row("m/fastplr/none", [1.0]), row("m/other/none", [], trouble="no file"))
    part = results_of(row("m/other/none", [2.0]))
    part.date, part.profiles, part.profile_note = "later", [Profile("after", 1.0, {})], "A note."
    part.peak_gops = 7.0
    found = amend(whole, part)
    assert [one.seconds for one in found.rows] == [[1.0], [2.0]]
    assert found.profiles == part.profiles
    assert found.peak_gops == 7.0
    assert "rows of m; profile; peak of the processor: later" in render(found)


def test_one_prompt_for_all_texts_is_that_of_middle_length(written_tasks):
    tasks = json.loads((written_tasks / "tasks.json").read_text("utf-8"))["tasks"]
    tasks[0]["prefix"], tasks[1]["prefix"] = "Much longer: ", "Short: "
    (written_tasks / "tasks.json").write_text(json.dumps({"tasks": tasks}), "utf-8")
    corpus = draw_corpus(6, written_tasks)
    [group] = corpus.groups("one-instruction")
    assert group.prefix == "Is it? Much longer: "
    assert group.texts == corpus.groups("none")[0].texts
    assert corpus.groups("one-paper")[0].suffix == " Is it? Answer:"


def test_missing_tasks_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTPLR_TASKS", str(tmp_path / "nowhere"))
    with pytest.raises(NoTasks, match=r"nowhere.*FASTPLR_TASKS"):
        draw_corpus(5)


ALLOCATING = """
import sys
from collections.abc import Sequence
print('{"ready": true}', flush=True)
for line in sys.stdin:
    block = bytearray(int(line))
    block[::4096] = b'x' * len(block[::4096])
    del block
    print('{"ready": true}', flush=True)
"""


class AllocatingProcess(WorkerProcess):
    def load(self) -> float:
        return 0.0

    def embed(self, groups: Sequence[Group]) -> tuple[float, np.ndarray]:
        return 0.0, np.empty((0, 1), dtype=np.float32)

    def allocate(self, n_bytes: int) -> None:
        self._ask(b"%d\n" % n_bytes)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_peak_over_import_counts_what_was_given_back():
    process = AllocatingProcess([sys.executable, "-c", ALLOCATING], 1)
    try:
        assert process.peak_over_import() < 4 * MIB
        process.allocate(64 * MIB)
        assert 63 * MIB < process.peak_over_import() < 72 * MIB  # the kernel counts pages in batches
        assert resident_bytes(process.pid) < peak_bytes(process.pid) - 60 * MIB
        reset_peak(process.pid)
        assert process.peak_over_import() < 8 * MIB
    finally:
        process.close()


def test_rival_that_is_not_installed_says_so():
    with pytest.raises(RivalUnavailable, match="no_such_package"):
        PythonWorker("no_such_package", "Rival", {}, 1)


def test_rival_that_fails_is_quoted():
    worker = PythonWorker("rivals.fastplr_embedder", "Fastplr", {"model": "x.gguf", "layer": 1, "pooling": "mean"}, 1)
    with pytest.raises(RivalFailed, match=r"ModelError.*x\.gguf"):
        worker.load()
    worker.close()


def test_program_that_does_not_exist_is_unavailable(tmp_path):
    with pytest.raises(RivalUnavailable, match="nothing-here"):
        AllocatingProcess([str(tmp_path / "nothing-here")], 1)


def test_target_is_the_ratio_of_medians_to_the_fastest_float32_rival():
    target = Target("t", "m/ours/none", (), 0.95)
    results = results_of(
        row("m/ours/none", [2.0, 1.0, 9.0]),
        row("m/slow/none", [8.0, 8.0, 8.0]),
        row("m/fast/none", [3.0, 5.0, 4.5]),
        row("m/int8/none", [0.1, 0.1, 0.1], float32=False),
        row("m/other form/paper", [0.1, 0.1, 0.1]),
    )
    reached = target.reached(results)
    assert (reached.rival.title, reached.ratio, reached.met) == ("fast", 4.5 / 2.0, True)
    assert (reached.low, reached.high) == (0.5, 5.0)


def test_memory_target_is_met_from_below():
    target = Target("t", "m/ours/none/memory", ("m/rival/none/memory",), 0.6, memory=True)
    rows = [row("m/ours/none/memory", [1.0], peak_bytes=61), row("m/rival/none/memory", [1.0], peak_bytes=100)]
    assert not target.reached(results_of(*rows)).met
    rows[0].peak_bytes = 60
    assert target.reached(results_of(*rows)).met


def test_every_target_names_rows_of_the_plan():
    from harness.plan import ROWS

    planned = {row.id: row for row in ROWS}
    assert len(planned) == len(ROWS)
    for target in TARGETS:
        assert all(planned[row_id].needed for row_id in (target.ours, *target.rivals))


def test_document_holds_what_the_results_say(tmp_path):
    rows = [
        row(
            "smollm2-q4_0/fastplr-half/none", [2.0, 4.0, 5.0], cosine_mean=0.987654, cosine_min=0.9, peak_bytes=3 * MIB
        ),
        row("smollm2-q4_0/libllama/none", [16.0, 16.0, 16.0]),
        row("smollm2-q4_0/missing/none", [], trouble="No module named 'missing'", installed=False),
    ]
    results = results_of(*rows)
    results.lengths = {"smollm2/none/main": [2, 4]}
    results.profile_note = "A note."
    results.profiles = [
        Profile("before", 20.0, {"attention": (0.75, ["attend"]), "copies": (0.25, ["memcpy"])}),
        Profile("after", 10.0, {"attention": (1.0, ["faster"])}),
    ]
    results.peak_gops = 100.0
    results.save(tmp_path / "results.json")
    text = render(Results.read(tmp_path / "results.json"))
    assert "| smollm2-q4_0 | fastplr-half | 2.5 | 2.0 to 5.0 | 3 | 25 | 3 |  | 0.98765 | 0.90000 |" in text
    assert "not here: No module named 'missing'" in text
    assert "| 4.00× (3.20 to 8.00) | yes |" in text
    assert "| smollm2 | main | no prompt | 2 | 3.0 | 4 |" in text
    assert "| attention | 15.00 | 75.0% | 10.00 | 100.0% | `faster` |" in text
    assert "| copies | 5.00 | 25.0% | 0.00 | 0.0% |  |" in text
    n_tokens = results.rows[0].n_tokens
    gops = n_tokens / 4.0 * 15 * 2 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536) / 1e9
    assert f"| smollm2-q4_0 | fastplr-half | {gops:.0f} | {gops:.0f}% |" in text


def test_profile_sorts_functions_into_kinds():
    report = """
    30.00% ;_core.so ;[.] ggml_gemm_q4_0_8x8_q8_0(int, float*) ;- -
    10.00% ;_core.so ;[.] fastplr::kernels::(anonymous namespace)::multiply_tile<(anonymous namespace)::V, 4> ;- -
    3.00% ;_core.so ;[.] fastplr::kernels::(anonymous namespace)::attend<(anonymous namespace)::V> ;- -
    2.00% ;_core.so ;[.] fastplr::kernels::(anonymous namespace)::multiply_floats_tile<V, 6, 4, true> ;- -
    5.00% ;_core.so ;[.] fastplr::kernels::(anonymous namespace)::activate<V> ;- -
    10.00% ;_core.so ;[.] ggml_compute_forward_flash_attn_ext ;- -
    10.00% ;libc.so.6 ;[.] __memmove_avx512 ;- -
    5.00% ;_core.so ;[.] llm_tokenizer_bpe_session::tokenize ;- -
    15.00% ;_core.so ;[.] ggml_barrier ;- -
    10.00% ;[kernel.kallsyms] ;[k] memcpy ;- -
    """
    shares = {kind: share for kind, (share, _) in sort_by_kind(report).items()}
    wanted = {
        "matrix products": 0.4,
        "attention": 0.15,
        "copies": 0.1,
        "tokenisation": 0.05,
        "norms and activation functions": 0.05,
    }
    assert shares == pytest.approx({**wanted, "waiting for the other thread": 0.15, "the rest": 0.1})


def test_profile_without_symbols_says_how_to_get_them():
    with pytest.raises(NoProfile, match="FASTPLR_BUILD_BENCHMARKS"):
        sort_by_kind("90.00% ;_core.so ;[.] 0x00000000000a1b2c ;- -\n10.00% ;libc.so.6 ;[.] malloc ;- -")
    with pytest.raises(NoProfile, match="no samples"):
        sort_by_kind("")


def test_revision_is_that_of_the_repository() -> None:
    assert re.fullmatch(r"not known|(.*-)?[0-9a-f]{7,}(-dirty)?", revision())
