"""The command line: ``fastplr fit | predict | embed | models | info | convert | demo``.

Results go to standard output, everything else (progress, warnings, errors) to standard error.

Exit codes: 0 done; 1 the data or the model cannot be used (one line on standard error says why; ``--debug``
shows the traceback); 2 a wrong command line; 130 Ctrl-C; 141 the reader of standard output went away
(``fastplr ... | head``).
"""

from fastplr.cli.app import cli, main

__all__ = ["cli", "main"]
