"""The solver beside its rivals: problems, one adapter a rival, measuring, and the document (``solver.py`` above)."""
