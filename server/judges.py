"""What is known of judges: reports of `trimtab doctor --judge`, kept with the server's state, and the warnings they lead to."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.server.settings import ModelConfig, RoleConfig, ScriptedConfig, Settings, UpstreamConfig
from trimtab.strategies.judging.labelled import labelled_cases
from trimtab.strategies.judging.measure import ENOUGH, JudgeReport
from trimtab.strategies.prompts.judge import fingerprint


class KeptReport(BaseModel):
    """A report and whom it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    report: JudgeReport

    @property
    def is_current(self) -> bool:
        """Whether cases and prompt are still those that were used."""
        known = (labelled_cases().sha256, fingerprint("harmlessness"))
        return (self.report.cases_sha256, self.report.prompt_sha256) == known


def judge_of(settings: Settings, model: str) -> str:
    """What names the judge of a served model across servers: the source of its weights, or where it is served."""
    given = settings.roles.get("judge")
    if isinstance(given, RoleConfig):
        return _named("judge", given)
    name = given or model
    return _named(name, settings.models.get(name, ModelConfig()))


def _named(name: str, config: ModelConfig | RoleConfig) -> str:
    if isinstance(config.engine, UpstreamConfig):
        return f"{config.engine.url} {config.engine.model or ''}".strip()
    source = config.source or name
    if isinstance(config.engine, ScriptedConfig):
        return f"scripted {name}"
    return str(Path(source).resolve()) if Path(source).exists() else source


def keep(root: Path, judge: str, report: JudgeReport) -> Path:
    """Keep a report under the data directory `root`, in place of an earlier one; where it now lies. Raises OSError."""
    path = _path(root, judge)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_text(KeptReport(judge=judge, report=report).model_dump_json(indent=2), encoding="utf-8")
    fresh.replace(path)
    return path


def kept(root: Path, judge: str) -> JudgeReport | None:
    """The report on a judge; None where there is none that holds for these cases and this prompt."""
    try:
        found = KeptReport.model_validate_json(_path(root, judge).read_bytes())
    except (OSError, ValidationError):
        return None
    return found.report if found.is_current else None


def _path(root: Path, judge: str) -> Path:
    return root / "judges" / f"{hashlib.sha256(judge.encode()).hexdigest()[:24]}.json"


def cautions(settings: Settings, models: Sequence[str]) -> dict[str, str]:
    """Model id -> the warning its judge deserves; judges that were found good enough have none. Reads files."""
    found = {}
    for model in models:
        judge = judge_of(settings, model)
        report = kept(settings.data_root, judge)
        if report is None:
            found[model] = f"the judge {judge} was never measured: `trimtab doctor --judge` tells how often it is right"
        elif report.near_chance:
            found[model] = f"the judge {judge} is near chance: {summary(report)}"
    return found


def summary(report: JudgeReport) -> str:
    """The figures in a sentence."""
    return (
        f"it is right in {report.accuracy:.1%} of {report.scored} labelled cases with both orders "
        f"(95 % interval {report.low:.1%} to {report.high:.1%}; a coin has 50 %, {ENOUGH:.0%} are advised)"
    )
