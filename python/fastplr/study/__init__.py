"""The study of Buckmann & Hill 2024 (arXiv 2408.03414) on one's own tasks and models: ``fastplr study``."""

from fastplr.study.document import as_html, as_markdown
from fastplr.study.plan import Endpoint, StudyOptions, estimate, units, variant
from fastplr.study.results import Cell, Results
from fastplr.study.run import run
from fastplr.study.tasks import StudyTask, read_csv_task, read_tasks

__all__ = [
    "Cell",
    "Endpoint",
    "Results",
    "StudyOptions",
    "StudyTask",
    "as_html",
    "as_markdown",
    "estimate",
    "read_csv_task",
    "read_tasks",
    "run",
    "units",
    "variant",
]
