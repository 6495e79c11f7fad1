"""``fastplr info``: what is in a classifier file or in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastplr.cli.options import debug_option, json_option
from fastplr.cli.output import format_estimate, format_numbers, print_json, print_pairs

_CLASSIFIER_ARCHITECTURE = b"fastplr-classifier"


@click.command()
@click.argument("file", metavar="FILE|NAME")
@json_option
@debug_option
def info(file: str, as_json: bool) -> None:
    """Show what a classifier file or a model is.

    FILE is a saved classifier or any GGUF file; NAME a model from 'fastplr models list' that was fetched.
    """
    import fastplr

    path = _path_of(file)
    if _is_classifier(path):
        classifier = fastplr.classifier_file_info(path)
        if as_json:
            print_json(classifier)
        else:
            print_pairs(_classifier_lines(classifier))
        return
    model = fastplr.read_model_info(path)
    if as_json:
        print_json(model.to_dict())
    else:
        click.echo(model.format())


def _is_classifier(path: Path) -> bool:
    """Whether a file begins as the classifiers that fastplr writes do, so that errors speak of what it is.

    Both kinds are GGUF; its first entry is the architecture, and a classifier's has a name of its own.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _CLASSIFIER_ARCHITECTURE in file.read(128)


def _path_of(file: str) -> Path:
    """The file itself, else the model of that name; a model of the catalogue is not fetched for this."""
    from fastplr import model_store

    if Path(file).exists():
        return Path(file)
    if file.startswith("hf:"):
        return model_store.resolve(file).path
    return model_store.path(file)


def _classifier_lines(info: dict[str, Any]) -> list[tuple[str, str]]:
    prompt, model, report, norms = info["prompt"], info["model"], info["report"], info["coef_norm"]
    lines = [
        ("file", f"classifier, format version {info['format_version']}, written by {info['created_with']}"),
        ("labels", ", ".join(map(repr, info["labels"]))),
        ("features", f"{info['n_features']}, layer {info['layer']}, {info['pooling']} pooling"),
        ("prompt", f"{prompt['prefix']!r} + text + {prompt['suffix']!r}"),
        ("long texts", f"on-long {info['on_long']}"),
        ("C", f"{info['C']:.6g}"),
        ("temperature", f"{info['temperature']:.4g}"),
        *(
            [("class prior", f"log ratios {format_numbers(info['log_prior_ratio'])}")]
            if info["log_prior_ratio"]
            else []
        ),
        ("training kept", f"{info['n_training_rows']} rows" if info["n_training_rows"] else "no"),
        ("scaler", f"mean {format_numbers(info['mean'])}, scale {format_numbers(info['scale'])}"),
        ("coefficients", f"{len(norms)} x {info['n_features']}, norm {format_numbers(norms)}"),
        ("intercept", format_numbers(info["intercept"])),
        ("model", model["name"]),
        ("model source", f"sha256 {model['source_sha256']}"),
    ]
    lines += [(f"variant {key}", str(value)) for key, value in model["recipe"].items() if value is not None]
    if report:
        counts = ", ".join(f"{entry['label']!r} {entry['count']}" for entry in report["classes"])
        lines.append(("fitted on", f"{report['n_texts']} texts: {counts}"))
        if report.get("estimate"):
            lines.append(("estimate", format_estimate(report["estimate"])))
    return lines
