"""Rows of preference data, the views that methods take of them, and batches."""
