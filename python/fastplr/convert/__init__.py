"""Hugging Face model folders as GGUF files that llama.cpp loads, as ``fastplr convert`` makes them.

Needs the package ``gguf``: ``pip install 'fastplr[convert]'``.
"""

from fastplr.convert.conversion import ConvertedModel, convert_folder, require_gguf_package, write_converted

__all__ = ["ConvertedModel", "convert_folder", "require_gguf_package", "write_converted"]
