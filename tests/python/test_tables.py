"""Tables of texts: what is written reads back the same, and what cannot be used is refused with its place."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastplr.errors import InputError
from fastplr.tables import Table, atomic_output, check_output, format_of, read_table, write_table

# Any text that UTF-8 can hold; NUL is refused in files (tested below).
texts_of_any_kind = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


# -- what is written reads back the same --


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(texts_of_any_kind, texts_of_any_kind), min_size=1),
    format=st.sampled_from(["csv", "tsv"]),
)
def test_delimited_round_trip(rows: list[tuple[str, str]], format: str) -> None:
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    stream = io.BytesIO()
    write_table("out", columns, format=format, stream=stream)
    stream.seek(0)
    table = read_table("out", format=format, stream=stream)
    assert table.columns == columns
    assert table.n_rows == len(table.lines) == len(rows)


@settings(deadline=None)
@given(
    cells=st.lists(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            texts_of_any_kind,
        ),
        min_size=1,
    )
)
def test_json_lines_round_trip(cells: list[object]) -> None:
    stream = io.BytesIO()
    write_table("out", {"cell": cells}, format="jsonl", stream=stream)
    stream.seek(0)
    table = read_table("out", ["cell"], format="jsonl", stream=stream)
    assert list(map(repr, table.columns["cell"])) == list(map(repr, cells))  # repr tells True from 1


@settings(deadline=None)
@given(cells=st.lists(texts_of_any_kind, min_size=1))
def test_one_column_of_texts_round_trips(cells: list[str]) -> None:
    # An empty cell alone in its row must not become a blank line, which is no row.
    stream = io.BytesIO()
    write_table("out", {"text": cells}, format="csv", stream=stream)
    stream.seek(0)
    assert read_table("out", ["text"], format="csv", stream=stream).columns["text"] == cells


def test_pandas_reads_what_is_written(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    texts = ['he said "no", twice', "two\nlines", "tab\there", " spaces ", "naïve 🙂"]
    for ending, separator in ((".csv", ","), (".tsv", "\t")):
        path = tmp_path / f"out{ending}"
        write_table(path, {"text": texts, "p": [0.1, 0.25, 1e-9, 1.0, 0.0]})
        frame = pandas.read_csv(path, sep=separator)
        assert frame["text"].tolist() == texts
        assert frame["p"].tolist() == [0.1, 0.25, 1e-9, 1.0, 0.0]


def test_reads_what_pandas_and_pyarrow_write(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {"text": ['a "b", c', "d\r\ne", "f\u2028g"], "label": [0, 1, 1], "kind": [True, False, True]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_json(tmp_path / "t.ndjson", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")
    for name, labels in (("t.csv", ["0", "1", "1"]), ("t.ndjson", [0, 1, 1]), ("t.parquet", [0, 1, 1])):
        table = read_table(tmp_path / name, ["text", "label"])
        assert table.texts("text") == frame["text"].tolist()
        assert table.labels("label") == labels
    assert read_table(tmp_path / "t.parquet", ["kind"]).labels("kind") == [True, False, True]


def test_embeddings_keep_every_bit_of_float32(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    embeddings = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for name in ("e.csv", "e.jsonl", "e.parquet"):
        write_table(tmp_path / name, {"text": ["a", "b", "c"], "embedding": embeddings})
    table = read_table(tmp_path / "e.csv")
    assert list(table.columns) == ["text", "embedding_0", "embedding_1", "embedding_2", "embedding_3"]
    from_csv = np.array([table.columns[f"embedding_{j}"] for j in range(4)]).T.astype(np.float32)
    np.testing.assert_array_equal(from_csv, embeddings)
    for name in ("e.jsonl", "e.parquet"):
        cells = read_table(tmp_path / name, ["embedding"]).columns["embedding"]
        np.testing.assert_array_equal(np.array(cells, dtype=np.float32), embeddings)


# -- reading --


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "\ufefftext,label\na,b\n")
    assert list(read_table(path).columns) == ["text", "label"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_end_and_blank_lines(tmp_path: Path, line_end: str) -> None:
    path = write(tmp_path / "t.csv", line_end.join(["text,label", "a,x", "", "b,y", "", ""]))
    table = read_table(path)
    assert table.columns == {"text": ["a", "b"], "label": ["x", "y"]}
    assert table.where(1) == "row 2 (line 4)"


def test_row_and_line_differ_after_a_cell_of_several_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'text,label\n"one\ntwo\nthree",x\nfour,\n')
    table = read_table(path, ["label"])
    with pytest.raises(InputError, match=r"1 row has no label in column 'label': row 2 \(line 5\)$"):
        table.labels("label")


def test_only_the_wanted_columns_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "id\ttext\tlabel\n1\ta\tx\n")
    assert read_table(path, ["label", "text"]).columns == {"label": ["x"], "text": ["a"]}


def test_another_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'text;label\n"a;b";x\n')
    assert read_table(path, delimiter=";").columns == {"text": ["a;b"], "label": ["x"]}
    with pytest.raises(InputError, match=r"has no column 'text'; .*separated by ';'"):
        read_table(path, ["text"])
    with pytest.raises(InputError, match="expected one character"):
        read_table(path, delimiter=";;")
    with pytest.raises(InputError, match="jsonl table has none"):
        read_table(path, delimiter=";", format="jsonl")


def test_a_cell_longer_than_the_csv_module_allows_by_default(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    text = "word " * (limit // 4)
    path = write(tmp_path / "t.csv", f'text,label\n"{text}",x\n')
    assert read_table(path).texts("text") == [text]
    assert csv.field_size_limit() == limit  # other users of the csv module keep theirs


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\na\n")))
    assert read_table("-", ["text"]).texts("text") == ["a"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n')))
    with pytest.raises(InputError, match=r"^standard input has no column 'label'; its columns: 'text'"):
        read_table("-", ["label"], format="jsonl")


# -- what cannot be used --

BAD_FILES = {
    "empty": ("t.csv", b"", "is empty"),
    "blank": ("t.csv", b" \n\n", "only white space"),
    "mark only": ("t.csv", b"\xef\xbb\xbf", "only white space"),
    "header only": ("t.csv", b"text,label\n", "has a header but no rows"),
    "too many cells": ("t.csv", b"text,label\na,b\na,b,c\n", r"row 2 \(line 3\): 3 cells; expected 2"),
    "too few cells": ("t.csv", b'text,label\n"a\nb",c\nd\n', r"row 2 \(line 4\): 1 cells; expected 2"),
    "open quote": ("t.csv", b'text,label\na,b\n"c,d\ne,f\n', "row that begins at line 3: broken quoting"),
    "text after a quote": ("t.csv", b'text,label\n"a"b,c\n', "row that begins at line 2: broken quoting"),
    "twice": ("t.csv", b"text,text,label\na,b,c\n", "2 columns named 'text'"),
    "latin-1": ("t.csv", b"text,label\nab,x\ncaf\xe9,y\n", "line 3: byte 0xE9 at byte 19 is not UTF-8"),
    "UTF-16": ("t.csv", "text,label\na,b\n".encode("utf-16"), "looks like UTF-16"),
    "NUL": ("t.csv", b"text,label\na\0b,x\n", "line 2: NUL byte at byte 12"),
    "no column": ("t.csv", b"Text ,label\n1,a\n", r"its columns: 'Text ', 'label'\. Did .* 'Text '\?"),
    "not JSON": ("t.jsonl", b'{"text": "a", "label": 1}\n\n{"text": \n', r"row 2 \(line 3\): not JSON"),
    "no object": ("t.jsonl", b'["a"]\n', r"row 1 \(line 1\): expected a JSON object .* got a list"),
    "deep": ("t.jsonl", b"[" * 200_000, r"row 1 \(line 1\): (JSON that cannot be read|not JSON)"),
    "huge number": ("t.jsonl", b'{"text": ' + b"9" * 5000 + b"}", r"row 1 \(line 1\)"),
    "no key": ("t.jsonl", b'{"txt": "a"}\n', r"no column 'text'; its columns: 'txt'\. Did you mean 'txt'\?"),
    "no Parquet": ("t.parquet", b"text,label\na,b\n", "no readable Parquet file"),
    "unknown ending": ("t.xlsx", b"PK", r"the ending '.xlsx'; expected one of .csv, .tsv"),
    "no ending": ("t", b"text\na\n", "cannot tell the table's format"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_with_their_name_and_place(tmp_path: Path, case: str) -> None:
    name, data, message = BAD_FILES[case]
    path = write(tmp_path / name, data)
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, ["text", "label"])
    assert str(path) in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: no such file"):
        read_table(tmp_path / "nothing.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv is a directory"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_table("nul\0.csv")


def test_truncated_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_table(tmp_path / "whole.parquet", {"text": ["a"] * 100})
    data = (tmp_path / "whole.parquet").read_bytes()
    for n_bytes in (0, 4, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match=r"is empty|no readable Parquet file"):
            read_table(write(tmp_path / "cut.parquet", data[:n_bytes]))
    write_table(tmp_path / "none.parquet", {"text": []})
    with pytest.raises(InputError, match="has columns but no rows"):
        read_table(tmp_path / "none.parquet")


def test_blank_texts_are_counted_and_the_first_are_named() -> None:
    table = Table("t.csv", {"text": ["a", "", " \t", None, "\u00a0", "", "", "b"]})
    with pytest.raises(InputError, match=r"^t\.csv: 6 rows have no text in column 'text': row 2, .*row 6 and 1 more$"):
        table.texts("text")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (7, r"row 2: column 'text' holds 7 \(int\); expected text"),
        (["b"], r"row 2: column 'text' holds \['b'\] \(list\)"),
        ("b\0c", "row 2: the text in column 'text' holds a NUL character"),
        ("b\ud800", r"row 2: .*lone surrogate U\+D800 at character 1"),
    ],
)
def test_cells_that_are_no_text(cell: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Table("t.jsonl", {"text": ["a", cell]}).texts("text")


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan")])
def test_missing_labels(cell: object) -> None:
    with pytest.raises(InputError, match=r"t\.csv: 1 row has no label in column 'label': row 2"):
        Table("t.csv", {"label": ["x", cell]}).labels("label")


def test_labels_keep_their_kind_but_must_be_simple() -> None:
    assert Table("t", {"label": [1, 0]}).labels("label") == [1, 0]
    assert Table("t", {"label": [" a", "a"]}).labels("label") == [" a", "a"]
    with pytest.raises(InputError, match=r"row 1: the label in column 'label' is \['a'\] \(list\)"):
        Table("t", {"label": [["a"]]}).labels("label")


# -- writing --


def interrupt_after_writing(file: BinaryIO) -> None:
    file.write(b"half")
    raise KeyboardInterrupt


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    with pytest.raises(InputError, match="cannot be written as UTF-8"):
        write_table(path, {"text": ["fine", "lone surrogate \ud800"]})
    with pytest.raises(KeyboardInterrupt), atomic_output(path) as file:
        interrupt_after_writing(file)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
def test_a_written_file_has_the_permissions_of_any_new_file_and_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_table(tmp_path / "out.csv", {"text": ["a"]})
    assert (tmp_path / "out.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "out.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to(tmp_path / "out.csv")
    write_table(tmp_path / "link.csv", {"text": ["b"]})
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "out.csv").read_text() == "text\nb\n"
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null")
def test_a_device_is_written_not_replaced() -> None:
    write_table("/dev/null", {"text": ["a"]}, format="csv")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null")
def test_devices_are_refused_where_a_file_is_wanted(tmp_path: Path) -> None:
    check_output("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", "/dev/stdout", tmp_path / "pipe"):
        with pytest.raises(InputError, match="is a device or a pipe"):
            check_output(path, devices=False)
    check_output(tmp_path / "file", devices=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_a_table_is_read_does_not_lock_the_child(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "text\na\n")
    # In a process of its own: pytest's has threads, and a child that waits for ever must end.
    program = f"""
import os, signal
from fastplr.tables import read_table, reading
with reading._FIELD_SIZE_LOCK:
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        print(read_table({str(path)!r}).texts("text"), flush=True)
        os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['a']\n"


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        check_output(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_output(tmp_path / "none" / "out.csv")
    given = write(tmp_path / "in.csv", "text\na\n")
    (tmp_path / "link.csv").symlink_to(given)
    with pytest.raises(InputError, match="is an input as well"):
        check_output(tmp_path / "link.csv", inputs=(given,))
    with pytest.raises(InputError, match="unequal length"):
        write_table(tmp_path / "out.csv", {"a": [1], "b": []})
    with pytest.raises(InputError, match="cannot be written as JSON"):
        write_table(tmp_path / "out.jsonl", {"a": [float("nan")]})
    assert not (tmp_path / "out.jsonl").exists()


def test_json_lines_are_plain_utf8(tmp_path: Path) -> None:
    write_table(tmp_path / "out.jsonl", {"text": ["é"], "p": np.array([0.5]), "n": np.array([1], dtype=np.int64)})
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"text": "é", "p": 0.5, "n": 1}\n'
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == {"text": "é", "p": 0.5, "n": 1}


def test_format_by_ending() -> None:
    endings = {
        "a.csv": "csv",
        "A.CSV": "csv",
        "b.tsv": "tsv",
        "c.ndjson": "jsonl",
        "d.jsonl": "jsonl",
        "e.parquet": "parquet",
    }
    for name, format in endings.items():
        assert format_of(name) == format
    assert format_of("-") == "csv"
    assert format_of("a.txt", "jsonl") == "jsonl"
    with pytest.raises(InputError, match="unknown table format 'xml'; expected one of csv, tsv, jsonl, parquet"):
        format_of("a.csv", "xml")
