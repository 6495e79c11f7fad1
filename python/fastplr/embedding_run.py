"""One request for the features of a corpus: what is known is looked up, the rest computed and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fastplr import _core
from fastplr.engine import release_others
from fastplr.errors import ContextMemoryError
from fastplr.feature_keys import FeatureKeys
from fastplr.known_features import Gap, KnownFeatures, fill_known
from fastplr.model_file import ModelFile
from fastplr.progress import Bar, text_bar
from fastplr.prompt import Prompt

__all__ = ["EmbeddingRun"]

Features = npt.NDArray[np.float32]

# What the engine gets in one call. It tokenises 512 texts ahead of what it computes, but not across calls: the first
# 512 texts of each call wait for it, of 4096 one eighth. docs/tuning.md has what tokenising costs.
BLOCK_TEXTS = 4096
BLOCK_CHARACTERS = 16 << 20  # the engine copies the texts,
BLOCK_BYTES = 64 << 20  # and their features are copied from a block of their own to the place where they belong


class EmbeddingRun:
    """A request for features, its settings checked. The texts come in pieces and are numbered through all of them.

    Args:
        model: The model, which must be the same from the beginning to the end.
        engine_of: The engine that reaches these layers.
        keys: What the features are kept under.
        known: Where they are kept.
        layers: The wanted layers, as numbers.
        poolings: The wanted poolings.
        prompt: What stands around every text.
        truncate: Whether texts that are too long are cut.
        progress: Whether to show a bar; None: only on a terminal.

    Attributes:
        n_texts: Texts that were filled in.
        n_tokens: Tokens, prompt included, of those that had to be computed.
        n_cut: Texts that were cut.
        first_cut: The number of the first of these, if there is one.
    """

    def __init__(
        self,
        model: ModelFile,
        engine_of: Callable[[Sequence[int]], _core.Embedder],
        keys: FeatureKeys,
        known: KnownFeatures,
        *,
        layers: Sequence[int],
        poolings: Sequence[str],
        prompt: Prompt,
        truncate: bool,
        progress: bool | None,
    ) -> None:
        self._model = model
        self._engine_of = engine_of
        self._keys = keys
        self._known = known
        self._layers = layers
        self._poolings = poolings
        self._prompt = prompt
        self._truncate = truncate
        self._progress = progress
        self.row_shape = (len(layers), len(poolings), model.info.n_embd)
        self.n_texts = 0
        self.n_tokens = 0
        self.n_cut = 0
        self.first_cut: int | None = None

    def fill(self, texts: Sequence[str], rows: Features, bar: Bar | None = None) -> None:
        """Write the features of the next `texts` of the corpus to `rows`; a text that is there twice is computed once.

        Args:
            texts: Any number of texts.
            rows: float32 ``(len(texts), n_layers, n_poolings, n_embd)``.
            bar: What counts the texts, those that were known too. Default: a bar of its own for those that were not.

        Raises:
            As :meth:`fastplr.Embedder.embed`.
        """
        first: dict[str, int] = {}
        for index, text in enumerate(texts):
            first.setdefault(text, index)
        missing, cut = fill_known(
            rows,
            first,
            self._keys,
            self._known,
            layers=self._layers,
            poolings=self._poolings,
            truncate=self._truncate,
        )
        n_missing = sum(map(len, missing.values()))
        with contextlib.ExitStack() as stack:
            if bar is None:
                bar = stack.enter_context(text_bar(n_missing, "embedding", self._progress))
            else:
                bar.update(len(texts) - n_missing)
            for gap, some in missing.items():
                for block in _blocks(some, n_rows=len(gap.layers) * len(gap.poolings), n_embd=self.row_shape[-1]):
                    cut.update(self._compute(gap, block, rows, first, bar))
        for index, text in enumerate(texts):
            row = first[text]
            if row != index:
                rows[index] = rows[row]
            if row in cut:
                self.n_cut += 1
                if self.first_cut is None:
                    self.first_cut = self.n_texts + index
        self.n_texts += len(texts)

    def _compute(self, gap: Gap, texts: list[str], rows: Features, first: dict[str, int], bar: Bar) -> list[int]:
        """Write to `rows` what `texts` lack; returns the rows of those that were cut."""
        layers = [self._layers[place] for place in gap.layers]
        poolings = [self._poolings[place] for place in gap.poolings]
        block = np.empty((len(texts), len(layers), len(poolings), rows.shape[-1]), dtype=np.float32)
        places = [first[text] for text in texts]

        def keep(finished: list[int], cut: list[int]) -> None:
            self._model.require_same()  # or features would be kept under the name of another model
            entries = [(index, layer, word) for index in finished for layer in layers for word in poolings]
            self._known.put(
                [self._keys.of(texts[index], layer, word) for index, layer, word in entries],
                block[finished].reshape(-1, rows.shape[-1]),
                [index in cut for index, _, _ in entries],
            )
            bar.update(len(finished))

        engine = self._engine_of(layers)

        def embed() -> _core.EmbedSummary:
            return engine.embed(
                texts,
                block,
                layers=layers,
                poolings=poolings,
                prefix=self._prompt.prefix,
                suffix=self._prompt.suffix,
                truncate=self._truncate,
                indices=[self.n_texts + place for place in places],
                on_batch=keep,
            )

        n_before = bar.n
        try:
            summary = embed()
        except ContextMemoryError:
            if not release_others(engine):
                raise
            bar.update(n_before - bar.n)
            summary = embed()  # with the memory of those that were only kept in case they are asked for again
        rows[np.ix_(places, gap.layers, gap.poolings)] = block
        self.n_tokens += summary["n_tokens"]
        return [places[index] for index in summary["truncated"]]


def _blocks(texts: list[str], *, n_rows: int, n_embd: int) -> Iterator[list[str]]:
    """`texts` in order, as many at once as the limits above allow; `n_rows` rows of `n_embd` numbers each."""
    most = max(1, min(BLOCK_TEXTS, BLOCK_BYTES // (n_rows * n_embd * 4)))
    block: list[str] = []
    n_characters = 0
    for text in texts:
        if block and (len(block) == most or n_characters + len(text) > BLOCK_CHARACTERS):
            yield block
            block, n_characters = [], 0
        block.append(text)
        n_characters += len(text)
    yield block
