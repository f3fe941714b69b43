"""A finished log scored by scorers that are named, with the engines they ask and no others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.cli.eval_place import running, trained
from trimtab.cli.eval_run import end, score_all, to_its_end
from trimtab.cli.flags import ServeFlags, load
from trimtab.server.evaluation.catalogue import CATALOGUE, Materials
from trimtab.server.evaluation.choosing import check_names, check_needs, choose
from trimtab.server.evaluation.identity import model_sha256
from trimtab.server.evaluation.log import Log, LogWriter, read_log
from trimtab.server.evaluation.merging import check_askable
from trimtab.server.evaluation.records import Header
from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.service import Service
from trimtab.server.settings import ModelConfig, ScriptedConfig, Settings


@dataclass(frozen=True, slots=True)
class Rescoring:
    """What is written on the command line."""

    folder: Path
    scorers: tuple[str, ...]
    flags: ServeFlags
    config: Path | None
    max_dropped: float
    report: bool


def rescore(wanted: Rescoring) -> None:
    """Score the log, write its reports, and end the command where too much was dropped."""
    check_names(wanted.scorers)
    log, settings = read_log(wanted.folder), load(wanted.flags, wanted.config)
    check_askable(log.header, wanted.scorers)
    check_needs(wanted.scorers, log.samples.values())
    to_its_end(_score(wanted, log, settings), "the numbers of scorers that had finished are there")
    end(wanted.folder, wanted.max_dropped, report=wanted.report, pipelines=settings.pipelines)


async def _score(wanted: Rescoring, log: Log, settings: Settings) -> None:
    async with _asked(wanted, log.header, settings) as (service, model):
        chosen = choose(wanted.scorers, Materials(tuple(log.samples.values()), service, model, log.header.seed))
        with LogWriter.reopen(wanted.folder) as writer:
            await score_all(wanted.folder, chosen, writer, again=True)


@asynccontextmanager
async def _asked(wanted: Rescoring, header: Header, settings: Settings) -> AsyncIterator[tuple[Service | None, str]]:
    """The service with the engines that the scorers ask, and what it calls the model; None where they ask none."""
    roles = {role for name in wanted.scorers if (role := CATALOGUE[name].asks) is not None}
    if not roles:
        yield None, header.model
    elif "policy" in roles or ("judge" in roles and "judge" not in settings.roles):
        async with _with_model(wanted, header) as found:
            yield found
    else:
        unasked = ModelConfig(engine=ScriptedConfig())
        async with running(settings.model_copy(update={"models": {header.model: unasked}})) as service:
            yield service, header.model


@asynccontextmanager
async def _with_model(wanted: Rescoring, header: Header) -> AsyncIterator[tuple[Service, str]]:
    """A service with the model that answered. Raises ScorerError where it is another one."""
    source = wanted.flags.model or (None if wanted.config else header.model)
    async with running(load(replace(wanted.flags, model=source), wanted.config)) as service:
        model = trained(source) or service.models()[0]
        weights = await asyncio.to_thread(model_sha256, service, model)
        if header.model_sha256 and weights != header.model_sha256:
            kind = service.registry.resolve(model).model.engine.kind
            raise ScorerError(
                f"{model!r} on the engine {kind} has not the weights that answered ({header.model!r} on {header.engine}); "
                "name those with --model and --engine"
            )
        yield service, model
