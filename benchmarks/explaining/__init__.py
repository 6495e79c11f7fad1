"""Which explanations to trust (``explanations.py`` above runs it)."""
