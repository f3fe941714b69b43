from pathlib import Path

import pytest
import typer

from trimtab.cli.spec import parse_align, parse_roles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("value_prompt", "value_prompt"),
        (" plain ", "plain"),
        ('["norms", "rain"]', ["norms", "rain"]),
        ("[norms, {kind: rain, max_iterations: 20}]", ["norms", {"kind": "rain", "max_iterations": 20}]),
        ('{"kind": "value_prompt", "principles": ["Be brief."]}', {"kind": "value_prompt", "principles": ["Be brief."]}),
    ],
)
def test_a_spec_is_a_name_a_list_or_an_object(text: str, expected: object) -> None:
    assert parse_align(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "a,b", "kind: a", "[a, b", "{kind"])
def test_a_malformed_spec_is_a_usage_error_that_says_what_is_allowed(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"name|JSON|object"):
        parse_align(text)


def test_roles_are_pairs() -> None:
    assert parse_roles(["judge=smollm2-135m-instruct", "reward=./runs/rm=1"]) == {
        "judge": "smollm2-135m-instruct",
        "reward": "./runs/rm=1",
    }


@pytest.mark.parametrize("items", [["judge"], ["judge="], ["king=x"], ["judge=a", "judge=b"]])
def test_a_wrong_role_is_a_usage_error(items: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="judge"):
        parse_roles(items)


def test_a_spec_may_name_a_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "head.txt").write_text("Be kind.", encoding="utf-8")
    spec = parse_align(f'{{"kind": "urial", "prompt_file": "{tmp_path}/head.txt"}}')
    assert spec == {"kind": "urial", "prompt": "Be kind."}
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        parse_align("{kind: urial, prompt_file: /nowhere/head.txt}")
