"""What an evaluation refuses before a model is loaded: what it was told, what the samples lack, what the log says otherwise."""

from trimtab.cli.eval_run import Wanted
from trimtab.cli.flags import load
from trimtab.server.evaluation.choosing import check_names, check_needs
from trimtab.server.evaluation.data.datasets import SampleSet
from trimtab.server.evaluation.identity import named
from trimtab.server.evaluation.log import HEADER, check_free, check_same
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.errors import MissingRole
from trimtab.strategies.pipeline import Pipeline


def check_words(wanted: Wanted) -> None:
    """Raise ScorerError, ConfigError or LogError for what cannot work whatever the data are."""
    check_names(wanted.scorers or ())
    if wanted.url is None:  # what a server knows, it says itself
        _check_alignments(wanted)
    if not wanted.resume:
        check_free(wanted.output)


def _check_alignments(wanted: Wanted) -> None:
    """Raise ConfigError for a spec that is none, or one that needs a role that nobody was given."""
    settings = load(wanted.flags, wanted.config)
    for spec in wanted.specs:
        for step in Pipeline.of(parse_spec(spec, pipelines=settings.pipelines, param="--align"), param="--align").steps:
            for role in sorted(step.engine_roles() - {"policy", *settings.roles}):
                raise MissingRole(f"{step.kind} needs an engine for the role {role!r}; give one: --role {role}=SOURCE")


def check_samples(wanted: Wanted, samples: SampleSet) -> None:
    """Raise ScorerError or LogError for what cannot work on these samples, or with the log that is gone on with."""
    check_needs(wanted.scorers or (), samples.samples)
    if wanted.resume and (wanted.output / HEADER).exists():
        alignments = [{"name": one.name, "spec": one.spec} for one in named(wanted.specs, lambda spec: "")]
        known = {"dataset_sha256": samples.sha256, "samples": len(samples.samples), "seed": wanted.seed}
        check_same(wanted.output, {**known, "sampling": dict(wanted.sampling or {}), "alignments": alignments})
