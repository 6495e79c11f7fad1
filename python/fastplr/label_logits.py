"""What a language model would answer about a text: logits of the answers of a prompt, as features."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from fastplr import _core, model_store
from fastplr.embedder import Embedder
from fastplr.engine import Kernels, release_others
from fastplr.errors import AnswerWarning, ContextMemoryError, InputError
from fastplr.inputs import as_texts
from fastplr.progress import text_bar
from fastplr.prompt import Prompt
from fastplr.user_warning import warn_user

__all__ = ["LabelLogits"]

Floats = npt.NDArray[np.float64]

#: Answers that a warning names.
N_NAMED = 3

#: First and last characters of blocks written without blanks: CJK punctuation and kana, ideographs and their
#: compatibility and vertical forms, fullwidth forms and halfwidth kana.
_WITHOUT_BLANKS = (
    ("\u3000", "\u312f"), ("\u31a0", "\u9fff"), ("\uf900", "\ufaff"), ("\ufe10", "\ufe1f"), ("\ufe30", "\ufe4f"),
    ("\uff00", "\uff9f"), ("\uffe0", "\uffef"), ("\U00020000", "\U0003ffff"),
)  # fmt: skip


class LabelLogits(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How strongly a language model would answer with each label, as ``(n_texts, n_labels)`` features.

    The model reads ``prefix + text + suffix + cue``; the head is computed for what follows, and for the tokens of the
    answers alone. A space is put before an answer unless the answer begins with white space, or the cue ends with white
    space, an opening bracket or quotation mark, or a character of those written without spaces (Chinese, kana,
    fullwidth punctuation); a space at the end of the cue goes before the answer. An answer of several tokens counts
    whole: the logit of its first token plus the log-probabilities of the others, so that the difference of two columns
    is the difference of the answers' log-probabilities.

    Args:
        model: As in :class:`fastplr.Embedder`; a causal model.
        prompt: A :class:`fastplr.Prompt` with `answers` for at least two labels, and with a `suffix` or `cue`.
        on_long, n_ctx, n_batch, n_threads, n_gpu_layers, kernels, cache, progress: As in :class:`fastplr.Embedder`.

    Attributes:
        labels: The labels of the columns, in the order of the prompt's answers.
        answers: What stands for each label, with the white space before it.
        answer_tokens: Their tokens.

    Raises:
        InputError: The prompt has no answers or nothing that asks for one, or its answers cannot be told apart.
        UnsupportedArchitecture: An encoder, or an architecture whose output head is not known.

    Warns:
        AnswerWarning: Answers begin with the same token; once a call.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = model_store.DEFAULT_MODEL,
        *,
        prompt: Prompt | None = None,
        on_long: Literal["error", "truncate"] = "error",
        n_ctx: int | None = None,
        n_batch: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
        kernels: Kernels = True,
        cache: bool | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.on_long = on_long
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.n_threads = n_threads
        self.n_gpu_layers = n_gpu_layers
        self.kernels = kernels
        self.cache = cache
        self.progress = progress

    # -- what is asked -----------------------------------------------------------------------------------------------

    @property
    def labels(self) -> list[Any]:
        """The labels of the columns."""
        return list(_answers_of(self.prompt))

    @property
    def answers(self) -> list[str]:
        """What stands for each label, with the white space before it."""
        _, gap = _asked(self.prompt)
        return [word if word[0].isspace() else gap + word for word in _answers_of(self.prompt).values()]

    @property
    def answer_tokens(self) -> list[list[int]]:
        """Tokens of each answer."""
        return self._scorer(self.embedder())[0].tokens

    def embedder(self) -> Embedder:
        """What gives the state after the prompt: layer -1 of the last token."""
        assert _answers_of(self.prompt)
        assert self.prompt is not None
        return Embedder(
            self.model, layer=-1, pooling="last", prompt=Prompt(self.prompt.prefix, _asked(self.prompt)[0]),
            on_long=self.on_long, n_ctx=self.n_ctx, n_batch=self.n_batch, n_threads=self.n_threads,
            n_gpu_layers=self.n_gpu_layers, kernels=self.kernels, cache=self.cache, progress=self.progress,
        )  # fmt: skip

    def _scorer(self, embedder: Embedder) -> tuple[_core.AnswerScorer, _core.Embedder]:
        engine = embedder._native_engine([-1])
        prompt = Prompt.coerce(embedder.prompt)
        return _core.AnswerScorer(engine, prefix=prompt.prefix, suffix=prompt.suffix, answers=self.answers), engine

    # -- features ----------------------------------------------------------------------------------------------------

    def transform(self, X: Iterable[str]) -> Floats:
        """Logits of the answers, float64 ``(n_texts, n_labels)``.

        Raises:
            InputError, ModelError, ContextMemoryError: As :meth:`fastplr.Embedder.embed`, and see above.
        """
        return self._logits(as_texts(X), whole_vocabulary=False)[0]

    def log_probabilities(self, X: Iterable[str]) -> Floats:
        """Log-probability of each whole answer among all that the model could say: float64 ``(n_texts, n_labels)``.

        Computes the whole head once a text; otherwise as :meth:`transform`.
        """
        logits, normalisers = self._logits(as_texts(X), whole_vocabulary=True)
        assert normalisers is not None
        return np.asarray(logits - normalisers[:, None])

    def of_states(self, X: Iterable[str], states: npt.NDArray[np.float32]) -> Floats:
        """As :meth:`transform`, where the `states` of :meth:`embedder` are known: float32 ``(n_texts, n_embd)``."""
        embedder = self.embedder()
        scorer, engine = self._scorer(embedder)
        return self._scored(scorer, engine, as_texts(X), states)

    def _logits(self, texts: list[str], *, whole_vocabulary: bool) -> tuple[Floats, Floats | None]:
        embedder = self.embedder()
        scorer, engine = self._scorer(embedder)
        if len({tokens[0] for tokens in scorer.tokens}) < len(scorer.tokens):
            warn_user(f"answers begin with the same token ({self._shared(scorer.tokens)}): each is scored as a whole",
                      AnswerWarning)  # fmt: skip
        distinct = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(distinct)}
        rows = [place[text] for text in texts]
        states = embedder.embed(distinct)
        logits = self._scored(scorer, engine, distinct, states)
        if not whole_vocabulary:
            return logits[rows], None
        n_threads = embedder._engine_settings()["n_threads"]
        return logits[rows], scorer.log_normalisers(states, n_threads=n_threads)[rows]

    def _shared(self, tokens: list[list[int]]) -> str:
        firsts = [some[0] for some in tokens]
        shared = [word for word, first in zip(self.answers, firsts, strict=True) if firsts.count(first) > 1]
        more = f" and {len(shared) - N_NAMED} more" if len(shared) > N_NAMED else ""
        return ", ".join(f"{word!r:.60}" for word in shared[:N_NAMED]) + more

    def _scored(
        self, scorer: _core.AnswerScorer, engine: _core.Embedder, texts: list[str], states: npt.NDArray[np.float32]
    ) -> Floats:
        single = all(len(tokens) == 1 for tokens in scorer.tokens)
        with text_bar(0 if single else len(texts), "scoring", self.progress) as bar:

            def score() -> Floats:
                return scorer.logits(
                    texts, states, truncate=self.on_long == "truncate",
                    on_progress=lambda n_done, _: bar.update(n_done - bar.n),
                )  # fmt: skip

            try:
                return score()
            except ContextMemoryError:
                if not release_others(engine):
                    raise
                return score()

    # -- scikit-learn ------------------------------------------------------------------------------------------------

    def fit(self, X: object = None, y: object = None) -> LabelLogits:
        """Nothing is learnt; checks the prompt and loads the model."""
        self._scorer(self.embedder())
        return self

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """``logit of LABEL`` for each label."""
        return np.array([f"logit of {label}" for label in self.labels], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _answers_of(prompt: object) -> dict[Any, str]:
    """The answers of `prompt`. Raises InputError where it is no Prompt, or has fewer than two."""
    if not isinstance(prompt, Prompt):
        raise InputError(f"prompt is {prompt!r:.80}: expected a fastplr.Prompt with answers")
    if prompt.answers is None or len(prompt.answers) < 2:
        raise InputError(f"prompt has answers={prompt.answers!r}: expected an answer for each of two or more labels")
    return prompt.answers


def _asked(prompt: object) -> tuple[str, str]:
    """What follows the text without blanks at its end, and what stands between it and an answer.

    A tokeniser makes one token of a blank and the word after it: the blank belongs to the answer.
    """
    _answers_of(prompt)
    assert isinstance(prompt, Prompt)
    whole = prompt.suffix + prompt.cue
    if not whole.strip():
        raise InputError(
            "prompt has neither suffix nor cue: expected words that ask for an answer, such as cue=' Answer:'"
        )
    asked = whole.rstrip(" \t")
    blanks = whole[len(asked) :]
    return asked, blanks or ("" if _goes_on_without_blank(asked[-1]) else " ")


def _goes_on_without_blank(character: str) -> bool:
    """Whether a word follows `character` without a blank between them."""
    if character.isspace() or character in "\"'" or unicodedata.category(character) in ("Ps", "Pi"):
        return True
    return any(first <= character <= last for first, last in _WITHOUT_BLANKS)
