"""The study of Buckmann & Hill 2024 (arXiv 2408.03414) on one's own tasks and models: ``fastplr study``."""

from fastplr.study.document import as_html, as_markdown
from fastplr.study.plan import Endpoint, Plan, StudyOptions, check_names, estimate, make_plan, variant
from fastplr.study.results import Cell, Results
from fastplr.study.run import run_units
from fastplr.study.tasks import StudyTask, read_csv_task, read_tasks

__all__ = [
    "Cell",
    "Endpoint",
    "Plan",
    "Results",
    "StudyOptions",
    "StudyTask",
    "as_html",
    "as_markdown",
    "check_names",
    "estimate",
    "make_plan",
    "read_csv_task",
    "read_tasks",
    "run_units",
    "variant",
]
