"""How right the classifier is on the labelled tasks (``accuracy_of_classifiers.py`` above runs it)."""
