"""fastplr.quantize and `fastplr quantize`: what a file holds, what is refused, and that nothing is lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

import fastplr
from cli_tools import Run
from fastplr import InputError, ModelError, QuantizationWarning, _core, model_store
from fastplr.cli import main
from fastplr.tables import file_in_the_making
from tiny_models import TinyModel, write_tiny_llama, write_tiny_t5

TEXTS = ["the film is good", "not a good film at all", "the company said that the market was up"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Rows of 64 and 96: no K type fits them."""
    return write_tiny_llama(tmp_path_factory.mktemp("quantize") / "narrow.gguf")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Rows of 256 and 512: the K types fit."""
    return write_tiny_llama(tmp_path_factory.mktemp("quantize") / "wide.gguf", n_embd=256, n_ff=512, n_layer=3)


def features(path: Path, layer: int = 2) -> np.ndarray:
    return fastplr.Embedder(path, layer=layer, kernels=False).embed(TEXTS)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("bits", "type_name", "most"), [(8, "Q8_0", 0.03), (4, "Q4_0", 0.4), (2, "Q2_K", 1.0)])
def test_bits(wide: TinyModel, tmp_path: Path, bits: int, type_name: str, most: float) -> None:
    made = fastplr.quantize(wide.path, tmp_path / "out.gguf", bits=bits)
    assert made.type == type_name
    assert not made.is_mixed
    assert made.path == tmp_path / "out.gguf"
    blocks = [t for t in gguf.GGUFReader(made.path).tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    assert type_name in {t.tensor_type.name for t in blocks if t.shape[1] > 1}
    assert made.info.bits_per_weight < made.source_bits_per_weight == 32.0
    assert set(made.kernels) == {share.type for share in made.info.tensor_mix}
    error = relative_error(features(made.path), features(wide.path))
    assert 1e-4 < error < most
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf"]


def test_fewer_bits_are_fewer_bytes_and_more_error(wide: TinyModel, tmp_path: Path) -> None:
    made = [fastplr.quantize(wide.path, tmp_path / f"{bits}.gguf", bits=bits) for bits in (2, 4, 8)]
    sizes = [one.info.file_size for one in made]
    errors = [relative_error(features(one.path), features(wide.path)) for one in made]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_two_bits_that_do_not_fit_are_told(narrow: TinyModel, tmp_path: Path) -> None:
    with pytest.warns(QuantizationWarning, match=r"asked for in Q2_K, but rows .* it holds \d+\.\d\d bits a weight"):
        made = fastplr.quantize(narrow.path, tmp_path / "out.gguf", bits=2)
    assert made.is_mixed
    assert made.info.bits_per_weight > 2.7
    assert "Q2_K" not in {share.type for share in made.info.tensor_mix}
    with pytest.raises(InputError, match=r"Q4_K_M, of blocks of 256, .* has rows of 64\): expected .* Q4_0 or Q8_0"):
        fastplr.quantize(narrow.path, tmp_path / "k.gguf", type="q4_k_m")
    assert not (tmp_path / "k.gguf").exists()


def test_a_quantised_source_has_to_be_asked_for(wide: TinyModel, tmp_path: Path) -> None:
    four = fastplr.quantize(wide.path, tmp_path / "4.gguf", bits=4).path
    with pytest.raises(InputError, match=r"is quantised already \('blk.*' is Q4_0\).*allow_requantize"):
        fastplr.quantize(four, tmp_path / "8.gguf", bits=8)
    with pytest.warns(QuantizationWarning, match=r"4\.gguf has \d\.\d\d bits a weight, fewer than the \d\.\d\d of"):
        eight = fastplr.quantize(four, tmp_path / "8.gguf", bits=8, allow_requantize=True)
    assert relative_error(features(eight.path), features(four)) < 0.03


def test_layers_are_left_out(wide: TinyModel, tmp_path: Path) -> None:
    made = fastplr.quantize(wide.path, tmp_path / "cut.gguf", type="F32", layers=2)
    assert made.info.n_layers == 2
    np.testing.assert_array_equal(features(made.path), features(wide.path))
    resolved = model_store.resolve(made.path)
    assert resolved.source_sha256 == _core.sha256_file(str(wide.path))
    assert (resolved.recipe["type"], resolved.recipe["cut"]) == ("F32", 2)
    everything = fastplr.quantize(wide.path, tmp_path / "all.gguf", type="F32", layers=3)
    assert model_store.resolve(everything.path).recipe["cut"] is None
    t5 = write_tiny_t5(tmp_path / "t5.gguf")
    for model, layers, message in (
        (wide.path, 4, "layers is 4: expected 1 to 3"),
        (wide.path, 0, "layers is 0: expected an int from 1 to 2147483647"),
        (wide.path, 2**40, "layers is 1099511627776: expected an int from 1"),
        (t5.path, 1, "blocks of the architecture 't5.*' cannot be left out"),
    ):
        with pytest.raises(InputError, match=message):
            fastplr.quantize(model, tmp_path / "no.gguf", type="F32", layers=layers)
    assert not (tmp_path / "no.gguf").exists()


def test_what_a_variant_is_made_from_is_the_variant(wide: TinyModel, tmp_path: Path) -> None:
    first = fastplr.quantize(wide.path, tmp_path / "8.gguf", bits=8).path
    second = fastplr.quantize(first, tmp_path / "4.gguf", bits=4, allow_requantize=True).path
    assert model_store.resolve(first).source_sha256 == _core.sha256_file(str(wide.path))
    assert model_store.resolve(second).source_sha256 == _core.sha256_file(str(first))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "bits=None and type=None: expected one of bits"),
        ({"bits": 4, "type": "Q4_0"}, "bits=4 and type='Q4_0': expected one"),
        ({"bits": 3}, "bits is 3: expected 2, 4 or 8"),
        ({"bits": True}, "bits is True: expected 2, 4 or 8"),
        ({"bits": "4"}, "bits is '4': expected 2, 4 or 8"),
        ({"type": "Q9"}, "tensor type is 'Q9': expected one of F32, F16"),
        ({"type": 4}, "type is 4: expected a str"),
        ({"bits": 4, "allow_requantize": "yes"}, "allow_requantize is 'yes'"),
        ({"bits": 4, "n_threads": 0}, "n_threads is 0: expected an int from 1 to 512"),
        ({"bits": 4, "n_threads": 2**40}, "n_threads is 1099511627776: expected an int from 1 to 512"),
    ],
)
def test_bad_arguments(wide: TinyModel, tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fastplr.quantize(wide.path, tmp_path / "out.gguf", **settings)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(wide: TinyModel, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists; it is replaced only"):
        fastplr.quantize(wide.path, out, bits=4)
    assert out.read_text() == "mine"
    out.chmod(0o640)
    fastplr.quantize(wide.path, out, bits=4, overwrite=True)
    assert out.stat().st_mode & 0o777 == 0o640
    before = wide.path.read_bytes()
    with pytest.raises(InputError, match="the model itself"):
        fastplr.quantize(wide.path, wide.path, bits=4, overwrite=True)
    assert wide.path.read_bytes() == before
    with pytest.raises(InputError, match="there is no folder"):
        fastplr.quantize(wide.path, tmp_path / "none" / "out.gguf", bits=4)
    with pytest.raises(InputError, match="is a directory"):
        fastplr.quantize(wide.path, tmp_path, bits=4)


def meanwhile(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Has `action` done after the file was made and before it is in its place."""
    original = _core.quantize_file

    def made(*args: object, **settings: object) -> None:
        original(*args, **settings)
        action()

    monkeypatch.setattr(_core, "quantize_file", made)


def no_hard_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("with_links", [True, False])
def test_what_something_else_makes_meanwhile_is_kept(
    wide: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_links: bool
) -> None:
    out = tmp_path / "out.gguf"
    if not with_links:
        monkeypatch.setattr(os, "link", no_hard_links)
    fastplr.quantize(wide.path, out, bits=4)
    assert out.stat().st_nlink == 1
    out.unlink()
    meanwhile(monkeypatch, lambda: out.write_text("of another process"))
    with pytest.raises(InputError, match="exists; it is replaced only"):
        fastplr.quantize(wide.path, out, bits=4)
    assert out.read_text() == "of another process"
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
    fastplr.quantize(wide.path, out, bits=4, overwrite=True)
    assert out.stat().st_size > 1000


KILLED = """
import os, signal, sys, fastplr
from fastplr import _core
original = _core.quantize_file
def killed(*args, **settings):
    original(*args, **settings)
    os.kill(os.getpid(), signal.SIGKILL)
_core.quantize_file = killed
fastplr.quantize(sys.argv[1], sys.argv[2], bits=8)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_what_a_killed_process_left_is_removed(
    wide: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.gguf"
    killed = subprocess.run([sys.executable, "-c", KILLED, wide.path, out], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert [path.name for path in left.iterdir()] == ["model.gguf"]
    (tmp_path / ".fastplr-other").mkdir()
    kept = sorted([".fastplr-other", "out.gguf"])

    def names() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    def age() -> None:
        for path in (*left.iterdir(), left):
            os.utime(path, (0, 0))

    fastplr.quantize(wide.path, out, bits=4)
    assert names() == sorted([*kept, left.name])  # it may just have been made
    age()
    held = file_in_the_making._lock(left)
    fastplr.quantize(wide.path, out, bits=4, overwrite=True)
    assert names() == sorted([*kept, left.name])  # its process is at work
    os.close(held)
    fastplr.quantize(wide.path, out, bits=4, overwrite=True)
    assert names() == kept

    def another() -> None:
        (left,) = tmp_path.glob(".fastplr-making-*")
        with pytest.raises(BlockingIOError):
            file_in_the_making._lock(left)

    meanwhile(monkeypatch, another)
    fastplr.quantize(wide.path, out, bits=4, overwrite=True)


def test_a_damaged_source_leaves_nothing(wide: TinyModel, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(wide.path.read_bytes()[:-5000])
    with pytest.raises(ModelError):
        fastplr.quantize(damaged, tmp_path / "out.gguf", bits=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.gguf"]


FULL = """
import resource, signal, sys, fastplr
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    fastplr.quantize(sys.argv[1], sys.argv[2], bits=8, overwrite=True)
except fastplr.ModelError as error:
    print(error)
"""


def test_a_full_disk_loses_nothing(wide: TinyModel, tmp_path: Path) -> None:
    # A limit on the size of files stops the writing in the middle, as a full disk does.
    out = tmp_path / "out.gguf"
    out.write_text("the old file")
    done = subprocess.run([sys.executable, "-c", FULL, wide.path, out], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "could not be written as Q8_0" in done.stdout
    assert "MB are free there" in done.stdout
    assert f"to '{out}'" in done.stdout
    assert out.read_text() == "the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_progress_and_cancelling(wide: TinyModel, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    _core.quantize_file(str(wide.path), str(tmp_path / "out.gguf"), "Q8_0", on_progress=lambda *one: told.append(one))
    n_tensors = len(gguf.GGUFReader(wide.path).tensors)
    assert told == [(number, n_tensors) for number in range(n_tensors)]

    class Stop(Exception):
        pass

    def stop(n_done: int, _: int) -> None:
        if n_done == 3:
            raise Stop

    with pytest.raises(Stop):
        _core.quantize_file(str(wide.path), str(tmp_path / "stopped.gguf"), "Q8_0", on_progress=stop)
    _core.quantize_file(str(wide.path), str(tmp_path / "again.gguf"), "Q8_0")
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "out.gguf").read_bytes()


def test_ctrl_c_leaves_nothing(wide: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = _core.quantize_file

    def interrupted(*args: object, on_progress: object, **settings: object) -> None:
        original(*args, on_progress=lambda *_: os.kill(os.getpid(), signal.SIGINT), **settings)

    monkeypatch.setattr(_core, "quantize_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastplr.quantize(wide.path, tmp_path / "out.gguf", bits=4)
    assert not list(tmp_path.iterdir())


def test_kernels_of_types(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = _core.kernels_name()
    assert _core.kernel_of_type("q8_0") == (f"fastplr {ours}" if ours else "ggml")
    assert _core.kernel_of_type("F16") == "ggml"
    assert _core.kernel_of_type("Q2_0") == "ggml, scalar"
    assert _core.kernel_of_type("MXFP4") == "ggml, repacked"
    with pytest.raises(InputError, match="tensor type is 'Q9'"):
        _core.kernel_of_type("Q9")


def test_command_line(
    run: Run, wide: TinyModel, narrow: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.gguf"
    shown = run("quantize", wide.path, "--bits", "4", "-o", out, "--layers", "2")
    for said in ("Q4_0", "computed by", "source 32.00", "2 of width 256"):
        assert said in shown
    assert "--overwrite" in run("quantize", wide.path, "--bits", "4", "-o", out, code=1)
    assert "expected one of --bits (2, 4, 8) and --type" in run("quantize", wide.path, "-o", out, code=2)
    arguments = ["quantize", str(narrow.path), "--bits", "2", "-o", str(out), "--overwrite", "--json", "-q"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.err.startswith("fastplr: warning: ")
    described = json.loads(said.out)
    assert described["is_mixed"] is True
    assert described["bits_per_weight"] == pytest.approx(
        8 * sum(share["n_bytes"] for share in described["tensor_mix"]) / described["n_parameters"]
    )
    shown = run("quantize", narrow.path, "--bits", "2", "-o", out, "--overwrite")
    assert "asked for Q2_K; the file holds none of it" in shown
    partly = write_tiny_llama(tmp_path / "partly.gguf", n_embd=256, n_ff=288)  # ffn_down alone does not fit
    assert "Q2_K, in parts only" in run("quantize", partly.path, "--bits", "2", "-o", out, "--overwrite")
    run("quantize", wide.path, "--bits", "3", "-o", out, code=2)


def test_log_lines_reach_the_logger(wide: TinyModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastplr.llama"):
        _core.set_log_level(2)
        fastplr.quantize(wide.path, tmp_path / "out.gguf", bits=4)
    _core.set_log_level(3)
    assert any("quant size" in record.message for record in caplog.records)
