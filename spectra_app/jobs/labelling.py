"""Labels for training: sample structures, let a calculator compute them, check, write; killed jobs go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_app.config import LabelSettings
from spectra_app.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.jobs.label_job import LabelProgress, LabelResult
    from spectra_app.labels.candidates import Candidate


def label_structures(
    structures: Sequence[Path | str] | Sequence[Atoms] | Sequence[Candidate] | Path | str,
    calculator: str | Any,
    output: Path | str = "labels.extxyz",
    settings: LabelSettings = LabelSettings(),  # noqa: B008  (frozen)
    *,
    trust: bool = False,
    overwrite: bool = False,
    progress: Callable[[LabelProgress], None] | None = None,
    max_minutes: float | None = None,
    own: bool = True,
) -> LabelResult:
    """Make a set for training: energies, forces and stress of structures by any calculator of ASE.

    A killed job goes on where it was when it is called again with the same arguments; the set appears when it is
    complete (docs/labels.md).

    Args:
        structures: files (all frames; ``file@index`` takes some), or structures.
        calculator: ``'ase:module:factory(arguments)'``, the name or folder of a model, or a calculator of ASE, which
            then works in this process.
        output: extended XYZ; ``output.yaml`` beside it says how it was made.
        settings: sampling, selection, checks.
        trust: load pickled checkpoints that the calculator names.
        overwrite: replace an existing set, and begin anew.
        progress: told how far it is.
        max_minutes: wall time after which the job is stopped, min.
        own: the words are the user's own, not those of a file that may be a stranger's.

    Raises:
        StructureError: structures that cannot be read or treated.
        ConfigError: settings that do not fit, or words that name no calculator.
        ModelError: the calculator cannot be made.
        DatasetError: another set is there, forces and energies do not belong together, too many frames failed, or the
            disk is full.
        StoppedError: a signal, or the time is over; the same call goes on.
    """
    from spectra_app.jobs.label_job import LabelJob
    from spectra_app.labels.sources import source_of

    given = [structures] if isinstance(structures, Path | str) else list(structures)
    candidates = _candidates(given, settings)
    source, sampler = source_of(calculator, trust, own), None
    source.check()
    if settings.sampler is not None:
        if not settings.md:
            raise ConfigError("sampler", got=settings.sampler, wanted="dynamics to sample", todo="Give --md too")
        sampler = source_of(settings.sampler, trust, own)
        sampler.check()
    job = LabelJob(Path(output), source, sampler or source, settings, progress)
    return job.run(candidates, overwrite, max_minutes)


def _candidates(given: list[Any], settings: LabelSettings) -> list[Candidate]:
    from spectra_app.labels.candidates import given_candidates, read_candidates

    if given and all(isinstance(one, Path | str) for one in given):
        return read_candidates([Path(one) for one in given], settings)
    return given_candidates(given, settings)
