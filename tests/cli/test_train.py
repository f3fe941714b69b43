"""`trimtab train` in this process, on a model made on the spot."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from filelock import FileLock
from typer.main import get_command
from typer.testing import CliRunner, Result

from tests.cli.serving import environment
from tests.server.engines.transformers.checkpoints import write_llama, write_reward
from trimtab.artifacts import read_facts
from trimtab.cli import train_options
from trimtab.cli.app import app
from trimtab.cli.flags import ServeFlags, load
from trimtab.cli.train_options import METHODS
from trimtab.cli.train_preview import most_positions, pieces
from trimtab.cli.train_settings import parse_set, settings_of
from trimtab.training.data.examples import Branch, Example
from trimtab.training.methods.catalogue import PRESETS
from trimtab.training.methods.online import ONLINE
from trimtab.training.models import LoraSettings
from trimtab.training.reports.metrics import read_metrics
from trimtab.training.settings import TrainSettings
from trimtab.training.sharding import CONFIGS
from trimtab.training.workspace import LOCK

RUN = CliRunner()
PAIRS = (
    {"prompt": "Name a fruit.", "chosen": "An apple.", "rejected": "A chair."},
    {"prompt": "Say hello.", "chosen": "Hello!", "rejected": "No."},
    {"prompt": "Count to two.", "chosen": "One, two.", "rejected": "Five."},
)
ANSWERS = tuple({"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in PAIRS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("tiny-llama"), seed=0)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return rows(tmp_path / "pairs.jsonl", PAIRS)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return rows(tmp_path / "answers.jsonl", ANSWERS)


def rows(path: Path, records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def trained(*words: object, env: dict[str, str] | None = None) -> Result:
    """`trimtab train WORDS`."""
    return RUN.invoke(app, ["train", *map(str, words)], env={"COLUMNS": "200", **(env or {})})


def failed(status: int, *words: object) -> str:
    """What is said by a command that must end with a status and in one message."""
    result = trained(*words)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.replace("│", " ").split())


def settings_in(output: str) -> dict[str, Any]:
    """The settings that a dry run shows."""
    told: dict[str, Any] = yaml.safe_load(output.partition("# output")[0])
    return told


# --- flags


def flags() -> dict[str, Any]:
    """The flags by the name of their key."""
    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in command.params}


def keys() -> dict[str, Any]:
    """Every key of the settings that has a flag of its own name; those of the adapter with their prefix."""
    own = {name: field for name, field in TrainSettings.model_fields.items() if name not in ("method", "parameters", "lora")}
    return {**own, **{f"lora_{name}": field for name, field in LoraSettings.model_fields.items()}}


def test_every_key_has_a_flag_with_its_own_words() -> None:
    found = flags()
    assert found["parameters"].help.startswith(TrainSettings.model_fields["parameters"].description.removesuffix("e.g. beta."))  # type: ignore[union-attr]
    assert set(found) == {*keys(), "method", "parameters", "config", "resume", "dry_run", "server", "server_model"}
    assert {name: found[name].help for name in keys()} == {name: field.description for name, field in keys().items()}


def test_flags_show_the_defaults_of_the_settings() -> None:
    for name, field in keys().items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, bool):
            expected: str | bool = ("" if default else "no-") + name.replace("_", "-")
        else:
            expected = False if default in (None, (), frozenset()) else str(default)
        assert flags()[name].show_default == expected, name


def test_choices_are_those_of_the_settings() -> None:
    aliases = {"scheduler": train_options.Scheduler, "dtype": train_options.Dtype, "save_dtype": train_options.SaveDtype}
    for name, alias in aliases.items():
        choices, _ = get_args(get_args(alias)[0])
        assert choices == TrainSettings.model_fields[name].annotation, name


def test_methods_are_those_of_the_catalogue() -> None:
    assert sorted(METHODS) == sorted(PRESETS)
    assert set(train_options.ONLINE) == set(ONLINE)
    assert all(name in flags()["method"].help for name in PRESETS)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom trimtab.cli.app import app\n"
        "try:\n    app(['train', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert "--grad-accum" in done.stdout


# --- settings


def test_flag_beats_environment_beats_file_beats_default(model: Path, answers: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    told = {"method": "sft", "model": str(model), "data": str(answers), "output": str(tmp_path / "out")}
    file.write_text(yaml.safe_dump({**told, "seed": 5, "batch_size": 5, "epochs": 5, "parameters": {"prompt_weight": 0.5}}))
    env = {"TRIMTAB_TRAIN_SEED": "6", "TRIMTAB_TRAIN_BATCH_SIZE": "6", "TRIMTAB_MODEL": "of-a-server"}
    words = ("--config", file, "--seed", 7, "--set", "turns=last", "--dry-run")
    shown = settings_in(trained(*words, env=env).stdout)
    assert (shown["seed"], shown["batch_size"], shown["epochs"], shown["grad_accum"]) == (7, 6, 5.0, 1)
    assert (shown["model"], shown["parameters"]) == (str(model), {"turns": "last", "prompt_weight": 0.5})
    # sft starts from 2e-5 where nothing is said
    assert shown["lr"] == pytest.approx(2e-5)


def test_what_a_dry_run_shows_is_a_file_for_the_same_run(model: Path, pairs: Path, tmp_path: Path) -> None:
    words = ("--data", pairs, "--output", tmp_path / "out", "--dry-run", "--lora-r", 2, "--lora-target", "q_proj")
    first = trained("dpo", "--model", model, *words)
    file = tmp_path / "again.yaml"
    file.write_text(first.stdout.partition("# output")[0])
    assert trained("--config", file, "--dry-run").stdout == first.stdout


def test_an_unknown_key_suggests_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("method: dpo\ndata: d\noutput: o\nepoch: 2\n")
    assert "run.yaml:4: epoch: unknown key; did you mean 'epochs'?" in failed(2, "--config", file)


def test_a_value_that_makes_no_sense_names_its_key() -> None:
    said = failed(2, "sft", "--data", "d", "--output", "o", "--batch-size", 0)
    assert "batch_size: Input should be greater than or equal to 1 (got '0')" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("dop", "--data", "d", "--output", "o"), "no method 'dop'. Did you mean 'dpo'? Methods: sft, reward, value"),
        (("--data", "d", "--output", "o"), "METHOD is missing"),
        (("sft", "--output", "o"), "--data is missing"),
        (("sft", "--data", "d"), "--output is missing"),
        (("sft", "--data", "d", "--output", "o", "--set", "beta"), "--set must be NAME=VALUE, e.g. beta=0.2, not 'beta'"),
    ],
)
def test_usage_errors_say_what_is_wrong(words: tuple[str, ...], reason: str) -> None:
    assert reason in failed(2, *words)


@pytest.mark.parametrize(("pair", "reason"), [("bta=0.2", "Parameters of dpo: beta, form"), ("beta=-1", "dpo: beta:")])
def test_a_parameter_that_makes_no_sense_is_named_before_anything_is_fetched(pair: str, reason: str) -> None:
    assert reason in failed(2, "dpo", "--model", "not/there", "--data", "d", "--output", "o", "--set", pair)


def test_set_reads_yaml_scalars() -> None:
    told = parse_set(["beta=0.2", "form=robust", "sft_weight=null", "on=true", "text=a=b"])
    assert told == {"beta": 0.2, "form": "robust", "sft_weight": None, "on": True, "text": "a=b"}


def test_a_sharding_file_that_ships_goes_by_its_name(tmp_path: Path) -> None:
    told = {"method": "dpo", "data": "d", "output": tmp_path / "out"}
    assert settings_of({**told, "accelerate_config": Path("fsdp.json")}, None).accelerate_config == CONFIGS / "fsdp.json"
    own = tmp_path / "fsdp.json"
    own.write_text("{}")
    assert settings_of({**told, "accelerate_config": own}, None).accelerate_config == own


# --- dry run


def test_a_dry_run_shows_the_run_and_writes_nothing(model: Path, pairs: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = trained("dpo", "--model", model, "--data", pairs, "--output", tmp_path / "out", "--dry-run", "--set", "beta=0.2")
    assert result.exit_code == 0, result.output
    assert settings_in(result.stdout)["parameters"]["beta"] == 0.2
    assert "94,912 of 94,912 learn (100.00%); LlamaForCausalLM" in result.stdout
    assert "3 examples in 1 steps of up to 4" in result.stdout
    # One token a byte: 9 of "An apple." and of "A chair." 8, and the end of turn.
    chosen, rejected = result.stdout.partition("## answer 1 of 2")[2].split("## answer 2 of 2")
    assert "An apple." in chosen
    assert "(10 of " in chosen
    assert "A chair." in rejected
    assert "(9 of " in rejected
    assert "total" in result.stdout.partition("# memory")[2]
    assert sorted(tmp_path.iterdir()) == before


def test_the_mask_is_in_colour(model: Path, answers: Path, tmp_path: Path) -> None:
    words = ("--data", answers, "--output", tmp_path / "out", "--dry-run")
    shown = trained("sft", "--model", model, *words, env={"FORCE_COLOR": "1", "TERM": "xterm"}).stdout
    # Tokens that count are green and bright green by turns, the even ones green; 14 stand before them. The prompt's are dim.
    assert "\x1b[30;42mA\x1b[0m\x1b[30;102mn\x1b[0m" in shown
    assert "\x1b[2mN\x1b[0m\x1b[2ma\x1b[0m" in shown


def test_an_adapter_trains_its_own_parameters_alone(model: Path, pairs: Path, tmp_path: Path) -> None:
    words = ("--data", pairs, "--output", tmp_path / "out", "--dry-run", "--lora-r", 2)
    shown = trained("dpo", "--model", model, *words).stdout
    # Rank times the sum of inputs and outputs: q and o 128 each, k and v 96, gate, up and down 160; two layers: 2 x 2 x 928.
    assert "3,712 of 98,624 learn" in shown
    assert settings_in(shown)["lr"] == pytest.approx(1e-5)


def test_every_phase_is_shown(model: Path, tmp_path: Path) -> None:
    data = rows(tmp_path / "e.jsonl", [{"prompt": "Name a fruit.", "draft": "A chair.", "correction": "An apple."}] * 5)
    shown = trained("aligner", "--model", model, "--data", data, "--output", tmp_path / "out", "--dry-run").stdout
    # A fifth of the five rows is copied once first; then three passes of corrections.
    assert "phase 1: 1 examples" in shown
    assert "phase 2: 5 examples" in shown
    assert "16 examples in 4 steps of up to 4" in shown
    assert shown.index("# first example of phase 1") < shown.index("# first example of phase 2")


def test_a_dry_run_says_that_the_output_is_taken(model: Path, answers: Path, tmp_path: Path) -> None:
    assert (
        "is not empty: a run would refuse it"
        in trained("sft", "--model", model, "--data", answers, "--output", tmp_path, "--dry-run").stdout
    )


def test_the_largest_micro_batch_counts() -> None:
    def example(prompt: int, *branches: int) -> Example:
        return Example((0,) * prompt, tuple(Branch((1,) * size) for size in branches))

    order = [example(5, 2, 3), example(4, 1, 1), example(9, 8, 2)]
    # Shared: 10 + 6 and 19 tokens. Apart: rows of 7, 8, 5 and 5 tokens, so 4 x 8; and of 17 and 11, so 2 x 17.
    assert most_positions(order, 2, share_prompts=True) == 19
    assert most_positions(order, 2, share_prompts=False) == 34


def test_pieces_keep_the_spaces_that_a_tokenizer_writes_behind_words_only() -> None:
    class Words:
        def decode(self, ids: list[int], **_: bool) -> str:
            return " ".join("abc"[one] for one in ids)

    assert pieces(Words(), (0, 1, 2)) == ["a", " b", " c"]


# --- runs


def test_a_run_is_served(model: Path, answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    words = ("--data", answers, "--eval-data", answers, "--output", out, "--max-steps", 2, "--batch-size", 2, "--lr", "1e-3")
    result = trained("sft", "--model", model, *words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == f"serve    trimtab serve {out}"
    assert lines[-3] == f"result   {out}"
    assert any(line.startswith("eval_loss") for line in lines)
    assert any(line.startswith("2 steps in ") for line in lines)
    assert str(out / "report.html") in lines[-2]
    settings = load(ServeFlags(model=str(out)), None)
    assert {name: entry.source for name, entry in settings.models.items()} == {"mine": str(out)}
    facts = read_facts(out)
    assert facts is not None
    assert (facts.method, facts.steps, facts.base) == ("sft", 2, str(model))


def test_an_output_that_is_used_is_refused(model: Path, answers: Path, tmp_path: Path) -> None:
    words = ("sft", "--model", model, "--data", answers, "--output", tmp_path / "out")
    (tmp_path / "out").mkdir()
    assert "holds no run to resume; leave out --resume" in failed(1, *words, "--resume")
    with FileLock(tmp_path / "out" / LOCK):
        assert "is in use by another run" in failed(1, *words)
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "is not empty (thesis.txt)" in failed(1, *words)


def test_bad_rows_are_told_with_their_lines(model: Path, tmp_path: Path) -> None:
    data = rows(tmp_path / "some.jsonl", [ANSWERS[0], {"prompt": "Why?", "completion": 7}, ANSWERS[1]])
    words = ("sft", "--model", model, "--data", data, "--output", tmp_path / "out", "--dry-run")
    said = failed(1, *words)
    assert "line 2" in said
    assert "completion must be a string" in said
    result = trained(*words, "--max-bad-rows", 1)
    assert result.exit_code == 0, result.output
    assert "2 rows, 1 malformed ones skipped" in result.stdout
    assert "line 2" in result.stderr


def test_a_reward_model_is_no_policy(pairs: Path, tmp_path: Path) -> None:
    reward = write_reward(tmp_path / "reward")
    said = failed(1, "dpo", "--model", reward, "--data", pairs, "--output", tmp_path / "out")
    assert "is a reward model" in said
    assert "this method trains a language model" in said


# --- methods that sample


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward(tmp_path_factory.mktemp("tiny-reward"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return rows(tmp_path / "prompts.jsonl", [{"prompt": [{"role": "user", "content": pair["prompt"]}]} for pair in PAIRS[:2]])


SMALL = ("--batch-size", 2, "--set", "prompts=2", "--set", "samples=2", "--set", "max_new_tokens=4")


def test_a_policy_learns_from_its_own_answers(model: Path, reward: Path, prompts: Path, tmp_path: Path) -> None:
    words = ("--data", prompts, "--output", tmp_path / "out", "--max-steps", 2, *SMALL, "--set", f"reward={reward}")
    result = trained("rloo", "--model", model, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"serve    trimtab serve {tmp_path / 'out'}"
    facts = read_facts(tmp_path / "out")
    assert facts is not None
    assert (facts.method, facts.steps) == ("rloo", 2)


def test_a_dry_run_says_how_answers_are_sampled(model: Path, prompts: Path, tmp_path: Path) -> None:
    words = ("--data", prompts, "--output", tmp_path / "out", "--dry-run", "--max-steps", 8, *SMALL, "--set", "reward=r")
    shown = trained("ppo", "--model", model, *words).stdout
    # A rollout of 2 prompts is one step a pass, and ppo makes 4 passes.
    assert "2 rollouts of 2 prompts x 2 answers of up to 4 tokens, each learned from in 4 steps: 8 steps" in shown
    assert "Name a fruit." in shown
    assert "so does the value model" in shown


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("ppo",), "nothing scores the answers; name a reward model, e.g. --set reward=runs/rm"),
        (("dpo", "--server", "http://127.0.0.1:9"), "--server is for methods that sample (ppo, rloo, grpo, rest), not dpo"),
        (("rest", "--set", "reward=r", "--server-model", "m"), "--server-model names a model of --server URL"),
    ],
)
def test_what_sampling_needs_is_asked_for_first(words: tuple[str, ...], reason: str) -> None:
    assert reason in failed(2, *words, "--data", "d", "--output", "o")


def test_a_server_that_is_not_there_is_told(model: Path, reward: Path, prompts: Path, tmp_path: Path) -> None:
    words = ("--data", prompts, "--output", tmp_path / "out", *SMALL, "--set", f"reward={reward}")
    said = failed(1, "rloo", "--model", model, *words, "--server", "http://127.0.0.1:9")
    assert "cannot be reached" in said


def test_a_model_that_is_not_there_is_named(pairs: Path, tmp_path: Path) -> None:
    words = ("--data", pairs, "--output", tmp_path / "out", "--dry-run")
    assert "nowhere.gguf" in failed(2, "dpo", "--model", tmp_path / "nowhere.gguf", *words)


def test_lima_ships_as_a_file(model: Path, answers: Path, tmp_path: Path) -> None:
    """Its rate falls from 1e-5 to 1e-6: 15 passes over 3 rows in steps of 32 are 2 steps, the second half way down."""
    told = trained("--config", "lima.yaml", "--model", model, "--data", answers, "--output", tmp_path / "run")
    assert told.exit_code == 0, told.output
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "learning_rate" in row]
    assert rates == pytest.approx([1e-5, 5.5e-6])
