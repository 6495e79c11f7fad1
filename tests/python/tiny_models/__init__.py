"""Tiny random GGUF models for the tests, and their hidden states computed independently in NumPy.

``tiny = write_tiny_llama(path)`` writes a file; ``forward(tiny, tiny.tokenize(text))`` gives the states of
its layers.
"""

from .architectures import ARCHITECTURES, DECODERS, ENCODERS, RECURRENT, UNUSABLE, Decoder
from .encoders import BERTS, Encoder
from .hidden_states import forward
from .shape import Shape
from .vocabulary import Vocabulary, bpe_vocabulary, spm_vocabulary, unigram_vocabulary, wordpiece_vocabulary
from .writing import TinyModel, write_tiny, write_tiny_bert, write_tiny_llama, write_tiny_mamba, write_tiny_t5

__all__ = [
    "ARCHITECTURES",
    "BERTS",
    "DECODERS",
    "ENCODERS",
    "RECURRENT",
    "UNUSABLE",
    "Decoder",
    "Encoder",
    "Shape",
    "TinyModel",
    "Vocabulary",
    "bpe_vocabulary",
    "forward",
    "spm_vocabulary",
    "unigram_vocabulary",
    "wordpiece_vocabulary",
    "write_tiny",
    "write_tiny_bert",
    "write_tiny_llama",
    "write_tiny_mamba",
    "write_tiny_t5",
]
