"""Reports of an evaluation: a page, Markdown, JSON and pictures, all of the same numbers."""

from trimtab.server.evaluation.report.writing import write_reports

__all__ = ["write_reports"]
