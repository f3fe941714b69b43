"""Models on this machine: a leaf package that finds, fetches, converts and caches them."""

from trimtab.artifacts.cache import CachedModel, cache_root, list_cached, remove_cached
from trimtab.artifacts.catalogue import CATALOGUE, DEFAULT_ENCODER, DEFAULT_MODEL, CatalogueEntry, ModelKind
from trimtab.artifacts.checkpoint import Manifest, TrainingFacts, read_facts, read_manifest, write_manifest
from trimtab.artifacts.correction import FORMATS, CorrectionTemplate, FormatName, read_correction, write_correction
from trimtab.artifacts.errors import ArtifactError, LicenceNotAccepted, UnknownModel
from trimtab.artifacts.progress import Progress, SilentProgress, TerminalProgress
from trimtab.artifacts.sources import ALL_GATED, ResolvedModel, resolve

__all__ = [
    "ALL_GATED",
    "CATALOGUE",
    "DEFAULT_ENCODER",
    "DEFAULT_MODEL",
    "FORMATS",
    "ArtifactError",
    "CachedModel",
    "CatalogueEntry",
    "CorrectionTemplate",
    "FormatName",
    "LicenceNotAccepted",
    "Manifest",
    "ModelKind",
    "Progress",
    "ResolvedModel",
    "SilentProgress",
    "TerminalProgress",
    "TrainingFacts",
    "UnknownModel",
    "cache_root",
    "list_cached",
    "read_correction",
    "read_facts",
    "read_manifest",
    "remove_cached",
    "resolve",
    "write_correction",
    "write_manifest",
]
