"""`trimtab doctor --judge`: how often a model is right when it judges answers, on the labelled cases of this version."""

import asyncio
from typing import TYPE_CHECKING

from trimtab.cli.checks import Check
from trimtab.cli.flags import ServeFlags, load
from trimtab.cli.serve import prepare_threads

if TYPE_CHECKING:
    from trimtab.server.service import Service
    from trimtab.strategies.judging.measure import JudgeReport


def judge(flags: ServeFlags) -> list[Check]:
    """Checks that tell accuracy, letter bias and pace of the judge a server with these flags would have. Keeps the report.

    Raises what a server's start raises.
    """
    settings = load(flags, None)
    prepare_threads({model.engine.kind for model in settings.models.values()} or {"auto"})

    from trimtab.artifacts import TerminalProgress
    from trimtab.server.assembly import build
    from trimtab.server.judges import judge_of, keep

    with TerminalProgress() as progress:
        service = build(settings, progress=progress)
    report = asyncio.run(_measured(service))
    name = judge_of(settings, next(iter(service.registry.models)))
    kept = keep(settings.data_root, name, report)
    return [*_told(name, report), Check("judge report", "ok", f"kept in {kept}; servers with this data directory heed it")]


async def _measured(service: "Service") -> "JudgeReport":
    """The report on the service's judge, with a bar on standard error."""
    from tqdm import tqdm

    from trimtab.strategies.core.budget import Budget
    from trimtab.strategies.core.context import RequestContext, Step, Trace
    from trimtab.strategies.core.engine import Params
    from trimtab.strategies.judging.labelled import labelled_cases
    from trimtab.strategies.judging.measure import measure
    from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig

    config = SelfEvaluationConfig()
    model = next(iter(service.registry.models.values()))
    try:
        await service.start()
        engines = {"policy": model.engine.ports, **{role: engine.ports for role, engine in service.roles.items()}}
        config.check(engines, by="doctor --judge")
        ctx = RequestContext("doctor", engines, Params(), Budget(), Trace("doctor"), Step("doctor", "decoder"))
        with tqdm(total=len(labelled_cases().cases), unit="case", desc="judging", leave=False, disable=None) as bar:
            return await measure(config, ctx, progress=bar.update)
    finally:
        await service.close()


def _told(name: str, report: "JudgeReport") -> list[Check]:
    from trimtab.server.judges import summary

    remedy = "judge with a larger model (roles.judge, or serve --role judge=SOURCE) or a reward model (role reward)"
    bias = (
        f"right in {report.accuracy_a:.1%} with the good description behind A, {report.accuracy_b:.1%} behind B; says A in "
        f"{report.says_a:.1%}; its orders contradict each other in {report.undecided:.1%}"
    )
    missing = report.cases - report.scored
    verdict = (
        Check("judge", "warn", f"{name} is near chance: {summary(report)}", remedy)
        if report.near_chance
        else Check("judge", "ok", f"{name}: {summary(report)}")
    )
    return [
        verdict,
        Check("judge letters", "ok", bias),
        *([Check("judge verdicts", "warn", f"{missing} of {report.cases} cases got no readable judgement")] if missing else []),
        Check(
            "judge pace", "ok", f"{2 * report.cases / report.seconds:.1f} judgements a second, {report.seconds:.1f} s in all"
        ),
    ]
