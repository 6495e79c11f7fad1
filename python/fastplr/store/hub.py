"""Files of the Hugging Face hub, through the optional package ``huggingface_hub``."""

from __future__ import annotations

from pathlib import Path

from fastplr.errors import InputError, ModelError
from fastplr.progress import note

__all__ = ["hub_file"]

PREFIX = "hf:"


def hub_file(spec: str, progress: bool | None) -> Path:
    """The local path of ``hf:OWNER/REPO/FILE``; FILE may lie in folders of the repository.

    A file that is in the hub's cache already is taken from there, without asking the network whether there is
    a newer
    one: what a name means should not change under a trained classifier.

    Raises:
        InputError: `spec` does not have that form.
        ModelError: ``huggingface_hub`` is not installed, or the file cannot be had.
    """
    parts = spec.removeprefix(PREFIX).split("/")
    if len(parts) < 3 or any(part in ("", ".", "..") for part in parts) or "\\" in spec:
        raise InputError(f"{spec!r} does not name a file of the hub; expected hf:OWNER/REPO/FILE")
    try:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(
            f"{spec!r} needs the package huggingface_hub: pip install 'fastplr[hub]', or give a path instead"
        ) from error
    repository, file_name = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        try:
            found = huggingface_hub.hf_hub_download(repository, file_name, local_files_only=True)
        except LocalEntryNotFoundError:
            note(f"fetching {spec} from the Hugging Face hub", progress)
            found = huggingface_hub.hf_hub_download(repository, file_name)
    # huggingface_hub lets the errors of its HTTP library through, whose classes differ between its versions.
    except Exception as error:
        raise ModelError(f"cannot get {spec!r} from the Hugging Face hub: {error}") from error
    return Path(found)
