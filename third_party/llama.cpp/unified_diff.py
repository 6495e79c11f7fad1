"""Apply a unified diff to a folder, exactly: no fuzz, no offsets, no program from outside.

The carried patches are made against one pinned version, so a hunk that does not fit at the very line it names
means that the patch belongs to another version, and guessing would be wrong. Understands what ``diff -u`` and
``git diff`` write for text files that change or are new (paths with a leading ``a/`` and ``b/``); refuses
everything else.
"""

from __future__ import annotations

import re
from pathlib import Path

HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
# Lines that git puts before the two file names of a text change. Renames, deletions and binaries are refused.
IGNORED = (b"diff ", b"index ", b"new file mode 100644")


class PatchError(Exception):
    """The patch is malformed or does not fit; the message names the file and the line."""


def _path(line: bytes, side: bytes) -> str | None:
    """The path on a ``---`` or ``+++`` line without its ``a/`` or ``b/``; None for ``/dev/null``."""
    name = line[4:].split(b"\t")[0].strip()
    if name == b"/dev/null":
        return None
    path = name.decode("utf-8")
    parts = path.split("/")
    if (
        parts[0] != side.decode()
        or len(parts) < 2
        or any(part in ("", ".", "..") for part in parts)
        or "\\" in path
    ):
        raise PatchError(f"unsafe or unexpected path {path!r}")
    return "/".join(parts[1:])


def _count(text: bytes | None) -> int:
    return 1 if text is None else int(text)


def _apply_hunk(
    path: str, source: list[bytes], cursor: int, lines: list[bytes], i: int
) -> tuple[list[bytes], int, int]:
    """Apply the hunk whose header is ``lines[i]``; gives the new lines, source cursor and next `i`."""
    header = HUNK.match(lines[i])
    if header is None:
        raise PatchError(f"{path}: expected a hunk, found {lines[i][:60]!r}")
    n_old, n_new = _count(header[2]), _count(header[4])
    start = int(header[1]) - (1 if n_old else 0)  # with no old lines the header names the line before
    if not cursor <= start <= len(source):
        raise PatchError(f"{path}: hunk at line {int(header[1])} is out of order or beyond the end")
    result = source[cursor:start]
    cursor = start
    i += 1
    while n_old or n_new:
        if i >= len(lines):
            raise PatchError(f"{path}: the last hunk is cut short")
        kind, content = lines[i][:1], lines[i][1:]
        i += 1
        if i < len(lines) and lines[i].startswith(b"\\"):  # "\ No newline at end of file"
            content = content.rstrip(b"\r\n")
            i += 1
        if kind == b"\n":  # an editor stripped the blank of an empty context line
            kind, content = b" ", b"\n"
        if kind in (b" ", b"-"):
            if cursor >= len(source) or source[cursor] != content:
                raise PatchError(
                    f"{path}: line {cursor + 1} is not {content.decode('utf-8', 'replace').rstrip()!r}"
                )
            cursor += 1
            n_old -= 1
        if kind in (b" ", b"+"):
            result.append(content)
            n_new -= 1
        if kind not in (b" ", b"-", b"+") or n_old < 0 or n_new < 0:
            raise PatchError(f"{path}: malformed hunk near {lines[i - 1][:60]!r}")
    return result, cursor, i


def apply(patch: bytes, folder: Path) -> None:
    """Apply `patch` to the files under `folder`. Raises :class:`PatchError` where it does not fit exactly.

    Text before the first ``---`` line is taken as the patch's description. Files patched before a failure
    stay
    patched: apply to a copy that can be thrown away.
    """
    lines = patch.splitlines(keepends=True)
    i, n_files = 0, 0
    while i < len(lines):
        if not (lines[i].startswith(b"--- ") and i + 1 < len(lines) and lines[i + 1].startswith(b"+++ ")):
            if n_files and lines[i].strip() and not lines[i].startswith(IGNORED):
                raise PatchError(f"unexpected line {lines[i][:60]!r}")
            if lines[i].startswith((b"rename ", b"deleted file", b"GIT binary")):
                raise PatchError(f"cannot apply {lines[i][:60]!r}")
            i += 1
            continue
        old, new = _path(lines[i], b"a"), _path(lines[i + 1], b"b")
        if new is None or (old is not None and old != new):
            raise PatchError(f"{old}: deleting and renaming are not supported")
        target = folder / new
        if (old is None) == target.exists():
            raise PatchError(f"{new} {'exists already' if old is None else 'does not exist'}")
        source = target.read_bytes().splitlines(keepends=True) if old is not None else []
        result: list[bytes] = []
        cursor = 0
        i += 2
        while i < len(lines) and lines[i].startswith(b"@@"):
            added, cursor, i = _apply_hunk(new, source, cursor, lines, i)
            result += added
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(result + source[cursor:]))
        n_files += 1
    if n_files == 0:
        raise PatchError("it changes no file")
