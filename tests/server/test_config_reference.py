"""The reference of the configuration: every key is there, with type, default and meaning."""

from trimtab.server.config_file import reference
from trimtab.server.settings import Settings


def test_every_key_is_documented() -> None:
    text = reference()
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line.startswith("| `")]
    assert all(row[-1] for row in rows), [row[0] for row in rows if not row[-1]]
    shown = {row[0] for row in rows}
    for section in (Settings, *(field.annotation for field in Settings.model_fields.values())):
        for name in getattr(section, "model_fields", {}):
            assert f"`{name}`" in shown


def test_types_bounds_and_defaults_are_in_words() -> None:
    text = reference(Settings)
    assert "| `port` | integer >= 0 <= 65535 | `8000` | Port to bind; 0 = any free one. |" in text
    assert "| `on_error` | `closed`, `open` or `degrade` | `closed` |" in text
    assert "| `key` | text, secret | none |" in text
    assert "with `kind: vllm`" in text
    assert "## `models.NAME`" in text
    assert "## `keys[]`" in text
    assert "`TRIMTAB_PORT` (`http.port`)" in text
    assert "typing." not in text
    assert "<class" not in text
