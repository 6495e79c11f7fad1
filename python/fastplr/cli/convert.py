"""``fastplr convert``: a Hugging Face model folder as a GGUF file."""

from __future__ import annotations

from typing import Literal

import click

from fastplr.cli.options import debug_option, json_option, quiet_option
from fastplr.cli.output import format_bytes, print_json, print_pairs


@click.command()
@click.argument("folder", metavar="FOLDER", type=click.Path())
@click.option("-o", "--output", metavar="FILE", type=click.Path(), required=True, help="The GGUF file to write.")
@click.option(
    "--type", "tensor_type", type=click.Choice(["f32", "f16"]), default="f32", show_default=True,
    help="Type of the matrices; f32 keeps every value of the source.",
)  # fmt: skip
@click.option("--name", help="What the file calls the model.  [default: the name of FOLDER]")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@json_option
@quiet_option
@debug_option
def convert(
    folder: str,
    output: str,
    tensor_type: Literal["f32", "f16"],
    name: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert a Hugging Face model to GGUF.

    FOLDER has config.json, model.safetensors and tokenizer.json of a BERT encoder (MiniLM, BGE, E5, GTE and others of
    the class BertModel; vocab.txt will do) or of a Llama, Mistral, Qwen2 or Qwen3 with a byte-level BPE vocabulary.
    Needs the package gguf: pip install 'fastplr[convert]'.
    """
    from fastplr.convert import convert_folder
    from fastplr.model_info import read_model_info

    converted = convert_folder(
        folder,
        output,
        tensor_type=tensor_type,
        name=name,
        overwrite=overwrite,
        progress=False if quiet else None,
    )
    info = read_model_info(converted.path)
    if as_json:
        print_json(
            {
                "output": output,
                "architecture": converted.architecture,
                "source_sha256": converted.source_sha256,
                "n_parameters": info.n_parameters,
                "left_out": list(converted.left_out),
            }
        )
    elif not quiet:
        print_pairs(
            [
                ("file", f"{output} ({format_bytes(info.file_size)})"),
                ("architecture", converted.architecture),
                ("parameters", f"{info.n_parameters:,}"),
                ("layers", f"{info.n_layers} of width {info.n_embd}"),
                ("source", f"sha256 {converted.source_sha256}"),
                ("left out", ", ".join(converted.left_out) or "nothing"),
            ]
        )
