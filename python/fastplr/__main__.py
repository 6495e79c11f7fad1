"""``python -m fastplr``: the command line."""

import sys

from fastplr.cli import main

sys.exit(main())
