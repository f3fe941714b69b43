import pytest

from trimtab.cli.banner import Ready, exposure_warning, render
from trimtab.server.settings import HttpConfig, KeyConfig, Settings

READY = Ready("http://127.0.0.1:8000", "m", "scripted", None, 0)


def test_the_banner_says_where_what_and_who() -> None:
    text = render(READY)
    assert "http://127.0.0.1:8000/v1" in text
    assert "Engine    scripted" in text
    assert "passes through" in text or "pass through" in text
    assert "no API key is asked for" in text
    assert "http://127.0.0.1:8000/docs" in text
    assert "Authorization" not in text


def test_with_keys_the_example_sends_one() -> None:
    text = render(Ready("http://127.0.0.1:8000", "m", "vllm", [{"kind": "value_prompt"}], 2))
    assert "2 API keys" in text
    assert "Authorization: Bearer YOUR_KEY" in text
    assert '[{"kind": "value_prompt"}]' in text


def test_a_unix_socket_gets_its_own_example() -> None:
    text = render(Ready("unix:/run/t.sock", "m", "vllm", None, 0))
    assert "--unix-socket /run/t.sock http://localhost/v1/chat/completions" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_loopback_is_not_warned_about(host: str) -> None:
    assert exposure_warning(Settings(http=HttpConfig(host=host))) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_everything_else_is_reachable_and_warned_about(host: str) -> None:
    http = HttpConfig(host=host)
    assert host in (exposure_warning(Settings(http=http)) or "")
    assert exposure_warning(Settings(http=http, keys=(KeyConfig(name="k", sha256="0" * 64),))) is None


def test_a_model_without_conversations_is_shown_with_a_raw_prompt() -> None:
    text = render(Ready("http://127.0.0.1:8000", "m", "transformers", None, 0, chats=False))
    assert "/v1/completions" in text
    assert '"prompt"' in text
    assert "chat/completions" not in text
