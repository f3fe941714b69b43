"""`trimtab check`: scores of a text that is there already, by a server or here; nothing is generated."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from trimtab.cli.failure import USAGE, fail


def check(
    text: Annotated[str | None, typer.Argument(help="The text; - reads it from the input.")] = None,
    conversation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON of a conversation that ends in the answer to check, in place of TEXT."),
    ] = None,
    scorers: Annotated[
        str | None, typer.Option(metavar="A,B", help="Default toxicity, refusal and reward, as far as possible here.")
    ] = None,
    norms: Annotated[str | None, typer.Option(metavar="CORPUS", help="Show the rules nearest to the text.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Most rules.")] = 5,
    judge: Annotated[
        Literal["none", "judge", "policy"],
        typer.Option(help="Who reads whether the text keeps each rule: nobody, the role `judge` (or the model), the model."),
    ] = "none",
    url: Annotated[str | None, typer.Option(envvar="TRIMTAB_URL", help="A running server, in place of engines here.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", metavar="KEY", help="Key for --url.")] = None,
    model: Annotated[
        str | None,
        typer.Option(envvar="TRIMTAB_MODEL", help="The model that reads rules, as for `serve`; with --url its name there."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(envvar="TRIMTAB_ROLE", metavar="ROLE=SOURCE", help="Engine of a role (reward, judge); repeatable."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="TRIMTAB_CONFIG", metavar="FILE", help="Configuration (trimtab.yaml).")
    ] = None,
    engine: Annotated[
        Literal["auto", "vllm", "transformers", "upstream", "scripted"] | None,
        typer.Option(envvar="TRIMTAB_ENGINE", help="What runs the model; auto: vLLM where installed."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(envvar="TRIMTAB_DATA_DIR", help="Where corpora live, without --url.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer of /v1/alignment/check.")] = False,
) -> None:
    """Score a text or the last answer of a conversation, or hold it against rules. No model is started that is not asked."""
    from trimtab.cli.check_run import checked, told
    from trimtab.cli.flags import ServeFlags
    from trimtab.cli.spec import parse_roles

    if judge != "none" and norms is None:
        raise typer.BadParameter("--judge reads rules: name their corpus with --norms")
    body: dict[str, Any] = _subject(text, conversation)
    if scorers is not None:
        body["scorers"] = [name.strip() for name in scorers.split(",") if name.strip()]
    if norms is not None:
        body["norms"] = {"corpus": norms, "k": k, "judge": judge}
    flags = ServeFlags(model=model, engine=engine, roles=parse_roles(role or ()), data_dir=data_dir, log_level="warning")
    answer = checked(body, flags, config, url, api_key)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else told(answer))


def _subject(text: str | None, conversation: Path | None) -> dict[str, Any]:
    """What is checked, as the body has it."""
    if (text is None) == (conversation is None):
        raise typer.BadParameter("give either a TEXT (- for the input) or --conversation FILE")
    if conversation is None:
        return {"text": sys.stdin.read() if text == "-" else text}
    try:
        found = json.loads(conversation.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"{conversation} cannot be read: {error}", USAGE)
    messages = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(messages, list):
        fail(f"{conversation} must hold a list of messages, or an object with one under `messages`", USAGE)
    return {"messages": messages}
