"""A demonstration on real work: route a bank's customer messages to one of three desks.

:func:`load_demo` gives the messages (see README.md beside this file), :func:`run_demo` fits on some of them
and says how it does on the others. ``fastplr demo`` shows that in a terminal.
"""

from fastplr.demo.data import INSTRUCTION, load_demo
from fastplr.demo.run import format_demo, run_demo

__all__ = ["INSTRUCTION", "format_demo", "load_demo", "run_demo"]
