"""What a study is to measure, and what that takes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastplr import model_store
from fastplr.embedder import Embedder
from fastplr.errors import InputError
from fastplr.model_info import ModelInfo, read_model_info
from fastplr.prompt import Prompt
from fastplr.quantization import TYPE_OF_BITS, quantize
from fastplr.study.methods import METHODS
from fastplr.study.results import Cell, Results
from fastplr.study.tasks import WORDINGS, StudyTask, prompt_of

__all__ = ["BITS", "ModelVariant", "StudyOptions", "Unit", "estimate", "units", "variant"]

BITS = ("2", "4", "8", "16", "32", "source")
_TYPES = {"4": "Q4_0", "8": "Q8_0", "16": "F16", "32": "F32"}

#: Texts by which speed is measured before a study, and tokens looked at for its length.
N_PROBED = 48
#: A pass keeps so many vectors of a text: candidate layers and the last one, three poolings.
FEW_SHOT, ENDPOINT = "few-shot", "endpoint"
_OF_A_PASS = ("zero-shot", "zero-shot calibrated", "plr-l", "plr-e", "plr-e final")


@dataclass(frozen=True)
class Endpoint:
    """A large model to compare with, as :class:`fastplr.EndpointClassifier` asks it.

    Attributes:
        model: Its name there.
        base_url: Address; None for the default.
        price_per_million: Of tokens read and of tokens written; None where nothing is counted.
    """

    model: str
    base_url: str | None = None
    price_per_million: tuple[float, float] | None = None


@dataclass(frozen=True)
class StudyOptions:
    """How much is measured.

    Attributes:
        models: Names or paths.
        bits: Of their weights, each one of :data:`BITS`.
        wordings: Of the prompts.
        methods: Of :data:`fastplr.study.methods.METHODS`.
        n_per_class: Rows of each class to learn from.
        n_seeds: Draws.
        n_test: Test rows of a task at most.
        n_few_shot: Test rows of few-shot at most.
        k: Examples of few-shot.
        endpoint: A model elsewhere that is asked too; None for none.
        n_threads: Threads; None: the cores that this process may use.
    """

    models: tuple[str, ...]
    bits: tuple[str, ...] = ("4",)
    wordings: tuple[str, ...] = ("paper",)
    methods: tuple[str, ...] = tuple(METHODS)
    n_per_class: tuple[int, ...] = (5, 10, 20, 50, 75, 100, 150)
    n_seeds: int = 5
    n_test: int = 500
    n_few_shot: int = 200
    k: int = 8
    endpoint: Endpoint | None = None
    n_threads: int | None = None

    def __post_init__(self) -> None:
        for what, given, known in (
            ("bits", self.bits, BITS), ("wording", self.wordings, WORDINGS), ("method", self.methods, METHODS),
        ):  # fmt: skip
            for one in given:
                if one not in known:
                    raise InputError(f"{what} is {one!r}: expected one of {', '.join(known)}")
        for what, numbers in (
            ("rows", self.n_per_class), ("seeds", (self.n_seeds,)), ("test rows", (self.n_test,)),
            ("few-shot rows", (self.n_few_shot,)), ("examples", (self.k,)),
        ):  # fmt: skip
            for number in numbers:
                if number < 1:
                    raise InputError(f"{what} is {number}: expected at least 1")


@dataclass(frozen=True)
class ModelVariant:
    """A model in so many bits.

    Attributes:
        name: As the study calls it.
        bits: As asked for.
        path: The file.
        info: What it really holds.
        source_bits_per_weight: Of the file that it was made from.
    """

    name: str
    bits: str
    path: Path
    info: ModelInfo
    source_bits_per_weight: float


def variant(model: str, bits: str, folder: Path, *, progress: bool | None) -> ModelVariant:
    """`model` with weights of so many `bits`, made on first use: in the model store, of 2 bits in `folder`."""
    source = model_store.resolve(model if ":" in model or os.sep in model else f"{model}:source", progress=progress)
    name = Path(model).stem if os.sep in model or model.endswith(".gguf") else model
    before = read_model_info(source.path)
    if bits == "source":
        return ModelVariant(name, bits, source.path, before, before.bits_per_weight)
    if bits == "2":
        path = folder / f"{name}.{TYPE_OF_BITS[2]}.gguf"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            quantize(source.path, path, bits=2, allow_requantize=True, progress=progress)
        return ModelVariant(name, bits, path, read_model_info(path), before.bits_per_weight)
    made = model_store.variant_of(source, _TYPES[bits], progress=progress)
    return ModelVariant(name, bits, made.path, read_model_info(made.path), before.bits_per_weight)


@dataclass(frozen=True)
class Unit:
    """What is measured at once: one task with one model and one wording; of methods without a model the task alone.

    Attributes:
        task: The task.
        model: Index among the variants; None where no model of this machine takes part.
        wording: Of the prompt.
        cells: What is still to be measured.
    """

    task: StudyTask
    model: int | None
    wording: str
    cells: tuple[Cell, ...]

    @property
    def needs_pass(self) -> bool:
        """Whether a full-depth pass over the task's texts is needed."""
        return any(cell.method in _OF_A_PASS for cell in self.cells)

    def drawn(self) -> list[int]:
        """Training rows that the cells learn from, by number, ascending."""
        rows: set[int] = set()
        for cell in self.cells:
            if cell.method in ("plr-l", "plr-e", "plr-e final"):
                rows |= set(self.task.draw(cell.n_per_class, cell.seed) or [])
        return sorted(rows)


def units(
    tasks: Sequence[StudyTask], variants: Sequence[ModelVariant], options: StudyOptions, results: Results | None
) -> list[Unit]:
    """All units of a study but those whose cells are in `results`. Encoders say nothing: of them there is PLR-E alone.

    Args:
        tasks: The tasks.
        variants: The models.
        options: How much.
        results: What is there; None for nothing.
    """
    found: list[Unit] = []
    for task in tasks:
        sizes = [n for n in options.n_per_class if task.draw(n, 0) is not None]
        n_test = len(task.tested(options.n_test))
        n_few = len(task.tested(options.n_few_shot))
        draws = [(n, seed) for n in sizes for seed in range(options.n_seeds)]
        if "tf-idf" in options.methods:
            cells = [Cell(task.name, "", "", "", "tf-idf", n, seed, n_test) for n, seed in draws]
            found.append(Unit(task, None, "", tuple(cells)))
        if options.endpoint is not None:
            for wording in options.wordings:
                cell = Cell(task.name, options.endpoint.model, "", wording, ENDPOINT, 0, 0, n_test)
                found.append(Unit(task, None, wording, (cell,)))
        for number, one in enumerate(variants):
            model, bits = one.name, one.bits
            for wording in options.wordings:
                cells = []
                for method in options.methods:
                    if one.info.is_encoder and not method.startswith("plr-e"):
                        continue
                    if method in ("zero-shot", "zero-shot calibrated"):
                        cells.append(Cell(task.name, model, bits, wording, method, 0, 0, n_test))
                    elif method == FEW_SHOT:
                        cells.append(Cell(task.name, model, bits, wording, method, options.k, 0, n_few))
                    elif method not in ("tf-idf", ENDPOINT):
                        cells += [Cell(task.name, model, bits, wording, method, n, seed, n_test) for n, seed in draws]
                found.append(Unit(task, number, wording, tuple(cells)))
    left = [
        Unit(
            unit.task,
            unit.model,
            unit.wording,
            tuple(cell for cell in unit.cells if results is None or cell not in results),
        )
        for unit in found
    ]
    return [unit for unit in left if unit.cells]


def estimate(left: Sequence[Unit], variants: Sequence[ModelVariant], options: StudyOptions) -> list[dict[str, Any]]:
    """Tokens to compute and hours for each variant, by a measurement of its speed on some texts of the first unit."""
    rows = []
    for number, one in enumerate(variants):
        own = [unit for unit in left if unit.model == number]
        if not own:
            continue
        embedder = Embedder(one.path, layer=-1, n_threads=options.n_threads, on_long="truncate", progress=False)
        engine = embedder._native_engine([-1])
        n_tokens = 0
        for unit in own:
            n_tokens += _tokens_of(unit, engine, options)
        first = own[0]
        texts = [text for text, _ in first.task.tested(N_PROBED)]
        prompt = prompt_of(first.task, first.wording)
        probe = embedder.set_params(prompt=Prompt("", prompt.suffix))
        started = time.perf_counter()
        _, n_probed = probe._embed_counted(texts, [-1], ["last"], None)
        speed = n_probed / (time.perf_counter() - started)
        rows.append(
            {
                "model": one.name,
                "bits": one.bits,
                "n_units": len(own),
                "n_tokens": n_tokens,
                "tokens_per_second": speed,
                "hours": n_tokens / speed / 3600,
            }
        )
    return rows


def _tokens_of(unit: Unit, engine: Any, options: StudyOptions) -> int:
    """Tokens to compute: those of texts and what follows them; what stands before a text is computed once."""
    prompt = prompt_of(unit.task, unit.wording)
    n_texts = (len(unit.drawn()) + unit.cells[0].n_test) if unit.needs_pass else 0
    few = next((cell for cell in unit.cells if cell.method == FEW_SHOT), None)
    some = [text for text, _ in unit.task.tested(N_PROBED)]
    suffix = prompt.suffix + prompt.cue
    mean = sum(engine.count_tokens(text, suffix=suffix) for text in some) / len(some)
    n_tokens = float(n_texts * mean)
    if few is not None:
        n_tokens += (few.n_test + few.n_per_class) * mean
    return round(n_tokens)
