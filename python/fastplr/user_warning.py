"""Warnings that name the line of the program that called fastplr."""

from __future__ import annotations

import os
import sys
import warnings

import sklearn

__all__ = ["warn_user"]

#: scikit-learn wraps transform() to convert what it returns.
_OUR_FOLDERS = tuple(os.path.dirname(path) + os.sep for path in (__file__, sklearn.__file__))  # noqa: PTH120


def warn_user(message: str, category: type[Warning]) -> None:
    """As ``warnings.warn``, at the innermost line outside fastplr and scikit-learn, however deep the call.

    Python shows a warning once a line: one that named a line of fastplr would be shown for the first caller only.
    """
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OUR_FOLDERS):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level + 1)
