"""What a study is to measure, and what that takes."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastplr import model_store
from fastplr.embedder import Embedder
from fastplr.errors import FastplrError, InputError, ModelError, TruncationWarning
from fastplr.label_logits import LabelLogits
from fastplr.model_info import ModelInfo, read_model_info
from fastplr.prompt import Prompt
from fastplr.quantization import TYPE_OF_BITS, quantize
from fastplr.study.methods import METHODS
from fastplr.study.results import Cell, Results
from fastplr.study.tasks import WORDINGS, StudyTask, prompt_of

__all__ = [
    "BITS",
    "Endpoint",
    "ModelVariant",
    "Plan",
    "StudyOptions",
    "Unit",
    "check_names",
    "estimate",
    "make_plan",
    "variant",
]

BITS = ("2", "4", "8", "16", "32", "source")
_TYPES = {"4": "Q4_0", "8": "Q8_0", "16": "F16", "32": "F32"}

FEW_SHOT, ENDPOINT, TF_IDF = "few-shot", "endpoint", "tf-idf"
#: Methods that ask the model for an answer.
ASKING = ("zero-shot", "zero-shot calibrated", "plr-l", FEW_SHOT, ENDPOINT)
LEARNING = ("plr-l", "plr-e", "plr-e final", TF_IDF)
#: Texts by which speed is measured before a study, and whose tokens tell its length.
N_PROBED = 48
#: Most draws, and rows of each class: more are a mistake.
MAX_SEEDS, MAX_ROWS = 1000, 1_000_000
#: Of the digest of a cell: another number where methods change so that earlier results do not hold.
METHODS_VERSION = 1
#: What one branching of answers of several tokens costs, in tokens.
TOKENS_OF_BRANCH = 10
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
        for what, numbers, most in (
            ("rows", self.n_per_class, MAX_ROWS), ("seeds", (self.n_seeds,), MAX_SEEDS),
            ("test rows", (self.n_test,), MAX_ROWS), ("few-shot rows", (self.n_few_shot,), MAX_ROWS),
            ("examples", (self.k,), MAX_ROWS),
        ):  # fmt: skip
            for number in numbers:
                if not 1 <= number <= most:
                    raise InputError(f"{what} is {number}: expected 1 to {most:,}")
        if ENDPOINT in self.methods and self.endpoint is None and self.methods != tuple(METHODS):
            raise InputError(f"method is {ENDPOINT!r}, but no endpoint is named: expected its model")


@dataclass(frozen=True)
class ModelVariant:
    """A model in so many bits.

    Attributes:
        name: As the study calls it.
        bits: As asked for.
        path: The file.
        sha256: Of the file.
        info: What it really holds.
        made_from: What it was made from, in words; empty for the model as fetched.
    """

    name: str
    bits: str
    path: Path
    sha256: str
    info: ModelInfo
    made_from: str

    def describe(self) -> str:
        """A sentence."""
        n_parameters = self.info.n_parameters
        mix = ", ".join(f"{share.type} {100 * share.n_elements / n_parameters:.0f} %" for share in self.info.tensor_mix)
        asked = f"{self.bits} bits" if self.bits != "source" else "as fetched"
        made = f", made from {self.made_from}" if self.made_from else ""
        return f"{self.name}, {asked}: {self.info.bits_per_weight:.2f} bits a weight ({mix}){made}."


def variant(model: str, bits: str, folder: Path, *, progress: bool | None) -> ModelVariant:
    """`model` with weights of so many `bits`, made on first use: in the model store, of 2 bits in `folder`."""
    is_file = os.sep in model or model.endswith(".gguf")
    spec = model if ":" in model or is_file else f"{model}:source"
    try:
        source = model_store.resolve(spec, progress=progress)
    except ModelError as error:
        raise ModelError(str(error).replace(repr(spec), repr(model))) from error
    name = Path(model).stem if is_file else model
    before = read_model_info(source.path)
    if bits == "source":
        return ModelVariant(name, bits, source.path, source.file_sha256, before, "")
    main = max(before.tensor_mix, key=lambda share: share.n_elements).type
    made_from = f"a file of {before.bits_per_weight:.2f} bits a weight (mostly {main})"
    if bits == "2":
        path = folder / f"{name}.{source.file_sha256[:12]}.{TYPE_OF_BITS[2]}.gguf"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            quantize(source.path, path, bits=2, allow_requantize=True, progress=progress)
        made = model_store.resolve(path, progress=progress)
    else:
        made = model_store.variant_of(source, _TYPES[bits], progress=progress)
    return ModelVariant(name, bits, made.path, made.file_sha256, read_model_info(made.path), made_from)


def check_names(variants: Sequence[ModelVariant]) -> None:
    """Raise InputError where two models would have one name in the results."""
    known: dict[tuple[str, str], ModelVariant] = {}
    for one in variants:
        other = known.setdefault((one.name, one.bits), one)
        if other is not one:
            raise InputError(
                f"{str(other.path)!r} and {str(one.path)!r} are both called {one.name!r}: expected names that differ"
            )


@dataclass(frozen=True)
class Unit:
    """What is measured at once: one task with one model and one wording; of methods without a model the task alone.

    Attributes:
        task: The task.
        model: Index among the variants; None where no model of this machine takes part.
        wording: Of the prompt.
        cells: What is to be measured.
    """

    task: StudyTask
    model: int | None
    wording: str
    cells: tuple[Cell, ...]

    @property
    def needs_pass(self) -> bool:
        """Whether a full-depth pass over the task's texts is needed."""
        return any(cell.method in _OF_A_PASS for cell in self.cells)

    @property
    def asks(self) -> bool:
        """Whether a method asks for an answer."""
        return any(cell.method in ASKING for cell in self.cells)

    def drawn(self) -> list[int]:
        """Training rows that the cells learn from, by number, ascending."""
        rows: set[int] = set()
        for cell in self.cells:
            if cell.method in LEARNING:
                rows |= set(self.task.draw(cell.n_per_class, cell.seed) or [])
        return sorted(rows)


@dataclass(frozen=True)
class Plan:
    """All that a study measures.

    Attributes:
        units: In the order in which they are measured.
        left_out: What was asked for and cannot be measured, in words.
    """

    units: tuple[Unit, ...]
    left_out: tuple[str, ...]

    @property
    def cells(self) -> set[Cell]:
        """Of all units."""
        return {cell for unit in self.units for cell in unit.cells}

    def left(self, results: Results) -> list[Unit]:
        """The units without what is in `results`."""
        cut = [replace(unit, cells=tuple(cell for cell in unit.cells if cell not in results)) for unit in self.units]
        return [unit for unit in cut if unit.cells]


def make_plan(tasks: Sequence[StudyTask], variants: Sequence[ModelVariant], options: StudyOptions) -> Plan:
    """What there is to measure. Encoders say nothing: of them there is PLR-E alone."""
    found: list[Unit] = []
    left_out = [f"{task.name}: {task.remark}" for task in tasks if task.remark]
    for one in variants:
        silent = [method for method in options.methods if method in ASKING and method != ENDPOINT]
        if silent and one.info.is_encoder:
            left_out.append(f"{one.name}: {', '.join(silent)}; it is an encoder, which says nothing")
    for task in tasks:
        n_test, n_few = len(task.tested(options.n_test)), len(task.tested(options.n_few_shot))
        rare = min(task.n_of_class, key=task.n_of_class.__getitem__)
        sizes = [n for n in options.n_per_class if n <= task.n_of_class[rare]]
        for n in options.n_per_class:
            if n not in sizes:
                left_out.append(f"{task.name}: {n} rows of each class; it has {task.n_of_class[rare]} of {rare!r}")
        draws = [(n, seed) for n in sizes for seed in range(options.n_seeds)]
        if TF_IDF in options.methods:
            source = _digest(task, None, "")
            cells = [Cell(task.name, "", "", "", TF_IDF, n, seed, n_test, source) for n, seed in draws]
            found.append(Unit(task, None, "", tuple(cells)))
        asking: dict[str, bool] = {}
        for wording in options.wordings:
            try:
                assert LabelLogits(prompt=prompt_of(task, wording)).answers
                asking[wording] = True
            except InputError as error:
                asking[wording] = False
                left_out.append(f"{task.name}, wording {wording!r}: methods that ask for an answer ({error})")
        if options.k > len(task.train) and FEW_SHOT in options.methods:
            left_out.append(f"{task.name}: few-shot with {options.k} examples; it has {len(task.train)} training rows")
        if options.endpoint is not None:
            place = options.endpoint.base_url or ""
            for wording in filter(asking.__getitem__, options.wordings):
                source = _digest(task, prompt_of(task, wording), place)
                cell = Cell(task.name, options.endpoint.model, "", wording, ENDPOINT, 0, 0, n_test, source)
                found.append(Unit(task, None, wording, (cell,)))
        for number, one in enumerate(variants):
            for wording in options.wordings:
                source = _digest(task, prompt_of(task, wording), one.sha256)
                cells = []
                for method in options.methods:
                    if method in ASKING and (one.info.is_encoder or not asking[wording]):
                        continue
                    if method == FEW_SHOT:
                        shapes = [(options.k, 0, n_few)] if options.k <= len(task.train) else []
                    elif method in ("zero-shot", "zero-shot calibrated"):
                        shapes = [(0, 0, n_test)]
                    else:
                        shapes = [(n, seed, n_test) for n, seed in draws] if method in _OF_A_PASS else []
                    cells += [Cell(task.name, one.name, one.bits, wording, method, *shape, source) for shape in shapes]
                found.append(Unit(task, number, wording, tuple(cells)))
    return Plan(tuple(unit for unit in found if unit.cells), tuple(left_out))


def _digest(task: StudyTask, prompt: Prompt | None, model: str) -> str:
    asked = None if prompt is None else prompt.to_dict()
    what = json.dumps([METHODS_VERSION, task.digest, asked, model])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def estimate(left: Sequence[Unit], variants: Sequence[ModelVariant], options: StudyOptions) -> list[dict[str, Any]]:
    """Tokens to compute and hours for each variant and task, by its speed on some texts; requests of the endpoint."""
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(variants):
        own = [unit for unit in left if unit.model == number]
        if not own:
            continue
        embedder = Embedder(
            one.path, layer=-1, pooling="last", n_threads=options.n_threads, on_long="truncate", progress=False,
            prompt=Prompt("", " What is it? Answer:"),
        )  # fmt: skip
        engine = embedder._native_engine([-1])
        texts = [text for text, _ in own[0].task.tested(N_PROBED)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            embedder.embed(texts[:4])  # what only the first texts pay for
            started = time.perf_counter()
            _, n_probed = embedder._embed_counted([f"{text} ." for text in texts], None, None, None)
        speed = n_probed / (time.perf_counter() - started)
        for unit in own:
            n_tokens = _tokens_of(unit, engine, one)
            rows.append({"model": one.name, "bits": one.bits, "task": unit.task.name, "wording": unit.wording,
                         "n_tokens": n_tokens, "tokens_per_second": speed, "hours": n_tokens / speed / 3600,
                         })  # fmt: skip
    for unit in left:
        if unit.cells[0].method == ENDPOINT:
            rows.append({"model": unit.cells[0].model, "bits": "", "task": unit.task.name, "wording": unit.wording,
                         "n_requests": unit.cells[0].n_test})  # fmt: skip
    return rows


def _tokens_of(unit: Unit, engine: Any, one: ModelVariant) -> int:
    """Tokens to compute: those of texts and what follows them; what stands before a text is computed once. Answers of
    several tokens count a few tokens for each place where they branch, of each text: the whole head is computed there.
    """
    prompt = prompt_of(unit.task, unit.wording)
    n_texts = (len(unit.drawn()) + max(cell.n_test for cell in unit.cells)) if unit.needs_pass else 0
    few = next((cell for cell in unit.cells if cell.method == FEW_SHOT), None)
    n_ctx = one.info.n_ctx_train
    some = [text for text, _ in unit.task.tested(N_PROBED)]
    suffix = prompt.suffix + prompt.cue
    mean = sum(min(engine.count_tokens(text, suffix=suffix), n_ctx) for text in some) / len(some)
    n_branches = 0
    if unit.asks:
        with suppress(FastplrError):  # answers that cannot be asked for: told when the unit is measured
            answers = LabelLogits(one.path, prompt=prompt).answer_tokens
            n_branches = len({tuple(tokens[:n]) for tokens in answers for n in range(1, len(tokens))})
    n_tokens: float = n_texts * (mean + TOKENS_OF_BRANCH * n_branches)
    if few is not None:
        n_tokens += few.n_test * (mean + TOKENS_OF_BRANCH * n_branches) + few.n_per_class * mean
    return round(n_tokens)
