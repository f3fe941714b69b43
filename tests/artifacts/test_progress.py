"""Progress in a terminal is a bar for each stage, elsewhere a line for each."""

import io

from trimtab.artifacts import TerminalProgress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_for_each_stage() -> None:
    stream = Terminal()
    with TerminalProgress(stream) as progress:
        progress.update("fetching x", 0, 2000)
        progress.update("fetching x", 2000, 2000)
        progress.update("converting x", 512, None)
    assert "fetching x: 100%" in stream.getvalue()
    assert "2.00k/2.00k" in stream.getvalue()
    assert "converting x: 512" in stream.getvalue()


def test_a_full_bar_ends_its_line_and_is_not_drawn_again() -> None:
    stream = Terminal()
    with TerminalProgress(stream) as progress:
        progress.update("fetching x", 0, 2000)
        progress.update("fetching x", 2000, 2000)
        full = stream.getvalue()
        assert full.endswith("\n")
        progress.update("fetching x", 2000, 2000)
    assert stream.getvalue() == full


def test_a_log_gets_a_line_for_each_stage() -> None:
    stream = io.StringIO()
    with TerminalProgress(stream) as progress:
        for done in range(5):
            progress.update("fetching x", done, 5)
        progress.update("converting x", 0, None)
    assert stream.getvalue() == "fetching x\nconverting x\n"
