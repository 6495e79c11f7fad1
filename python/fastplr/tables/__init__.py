"""Tables of texts: CSV, TSV, JSON Lines and Parquet, read with errors that name the file and the row.

>>> from fastplr.tables import read_table, write_table
>>> table = read_table("reviews.csv", ["text", "label"])            # doctest: +SKIP
>>> texts, labels = table.texts("text"), table.labels("label")      # doctest: +SKIP
>>> write_table("out.tsv", {"text": texts, "length": [len(text) for text in texts]})  # doctest: +SKIP

The format follows the file's ending (:data:`FORMAT_OF_ENDING`); ``"-"`` is standard input or output, and is
CSV unless told otherwise. Delimited files are UTF-8 (a byte order mark is accepted) with a header line and
RFC 4180 quoting, with a tab in place of the comma in TSV. Everything that cannot be used raises
:class:`fastplr.errors.InputError`.
"""

from fastplr.tables.atomic_output import atomic_output, check_output
from fastplr.tables.formats import FORMAT_OF_ENDING, STANDARD_STREAM, format_of
from fastplr.tables.reading import read_table
from fastplr.tables.table import Table
from fastplr.tables.writing import Column, write_table

__all__ = [
    "FORMAT_OF_ENDING",
    "STANDARD_STREAM",
    "Column",
    "Table",
    "atomic_output",
    "check_output",
    "format_of",
    "read_table",
    "write_table",
]
