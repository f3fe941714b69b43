"""The command line: one file a command; everything heavy is imported by the command that needs it."""

from trimtab.cli.app import main

__all__ = ["main"]
