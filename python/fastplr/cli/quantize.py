"""``fastplr quantize``: a model file of fewer bits, or with fewer layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastplr.cli.options import debug_option, json_option, quiet_option, threads_option
from fastplr.cli.output import format_bytes, print_json, print_pairs

if TYPE_CHECKING:
    from fastplr.quantization import QuantizedModel


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--bits", type=click.Choice(["2", "4", "8"]), help="2 (Q2_K), 4 (Q4_0) or 8 (Q8_0).")
@click.option("--type", "type_name", metavar="TYPE", help="Instead: a type of llama.cpp, such as Q4_K_M.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(), required=True, help="The GGUF file to write.")
@click.option("--layers", type=int, metavar="N", help="Keep the first N layers only.  [default: all]")
@click.option("--allow-requantize", is_flag=True, help="Quantise again what is quantised already.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@threads_option
@json_option
@quiet_option
@debug_option
def quantize(
    model: str,
    bits: str | None,
    type_name: str | None,
    output: str,
    layers: int | None,
    allow_requantize: bool,
    overwrite: bool,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a model with weights of fewer bits.

    MODEL is a name of the catalogue (fastplr models list) or a GGUF file. What the new file really holds, and what
    multiplies by it on this machine, is printed: a type is not the same for every model.
    """
    from fastplr.quantization import quantize as make

    if (bits is None) == (type_name is None):
        raise click.UsageError("expected one of --bits (2, 4, 8) and --type (such as Q4_K_M)")
    made = make(
        model,
        output,
        bits=None if bits is None else int(bits),
        type=type_name,
        layers=layers,
        allow_requantize=allow_requantize,
        overwrite=overwrite,
        n_threads=threads,
        progress=False if quiet else None,
    )
    if as_json:
        print_json(made.to_dict())
    elif not quiet:
        n_parameters = made.info.n_parameters
        print_pairs(
            [
                ("file", f"{output} ({format_bytes(made.info.file_size)})"),
                ("type", _type_of(made)),
                ("layers", f"{made.info.n_layers} of width {made.info.n_embd}"),
                ("bits a weight", f"{made.info.bits_per_weight:.2f} (source {made.source_bits_per_weight:.2f})"),
                *(
                    (
                        share.type,
                        f"{100 * share.n_elements / n_parameters:.1f} % of weights, {share.n_tensors} tensors,"
                        f" computed by {made.kernels[share.type]}",
                    )
                    for share in made.info.tensor_mix
                ),
            ]
        )


def _type_of(made: QuantizedModel) -> str:
    if not made.is_mixed:
        return made.type
    if made.type in {share.type for share in made.info.tensor_mix}:
        return f"{made.type}, in parts only"
    return f"asked for {made.type}; the file holds none of it"
