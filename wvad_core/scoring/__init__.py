"""Scores of a dataset, and the metrics over its frames."""
