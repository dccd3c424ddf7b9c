"""From a run file, or a series of another code, to its spectrum: one function each, the same in every entrance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ase.data import chemical_symbols

from spectra_app.config import NumberOrTensor, SpectraSettings, parse_settings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.jobs.policy import (
    bound_dipole_of,
    eps_inf_of,
    integration_of,
    quanta_of,
    temperature_of,
    timestep_of,
    volume_of,
    with_f_sum,
    with_run_notes,
    with_runs,
)
from spectra_app.readers.series import FORMATS, Request, open_series
from spectra_app.runs import Run, is_run_file, join_runs, read_run
from spectra_app.spectra import (
    dielectric_function,
    infrared_spectrum,
    raman_spectrum,
    timestep_from_times,
    vdos,
)

if TYPE_CHECKING:
    from spectra_app.spectra import Spectrum

Kind = Literal["ir", "raman", "vdos", "dielectric"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_FUNCTIONS: dict[Kind, Callable[..., Spectrum]] = {
    "ir": infrared_spectrum,
    "raman": raman_spectrum,
    "vdos": vdos,
    "dielectric": dielectric_function,
}
_QUANTITIES: dict[Kind, Literal["dipole", "polarizability"]] = {
    "ir": "dipole",
    "dielectric": "dipole",
    "raman": "polarizability",
}


def run_spectrum(
    run: Run | Path | str | Sequence[Run | Path | str],
    kind: Kind,
    settings: SpectraSettings | None = None,
    **overrides: Any,
) -> Spectrum:
    """A spectrum of a run: what ``spectra-app ir run.h5`` and a recipe give, number for number.

    Volume (the mean of a cell that changes), temperature, time step and eps_inf are those of the run, unless the
    settings say otherwise; a molecule has an intensity in km/mol, and of a slab the settings must tell the volume.

    Several runs of one system are replicas of it: every segment (time origin) of any of them counts the same, so that a
    run weighs by its length, and error bars come from leaving out runs, replicas and blocks of long ones
    (docs/spectra.md).

    Args:
        run: a run or its file, of any length; or several of one system, of equal length or not.
        kind: ``ir``, ``raman``, ``vdos`` or ``dielectric``.
        settings: of the spectrum; None takes the defaults.
        overrides: single settings, e.g. ``resolution_per_cm=10``; they win over ``settings``.

    Raises:
        SeriesError: a slab without ``volume_A3``; no polarizability, velocities, temperature or eps_inf where one is
            needed; a dielectric function of a slab or molecule; too few frames; a jump of the dipole.
        TrajectoryError: no such file, damaged, or not a run file; runs that do not belong together.
        ConfigError: unknown kind or setting.

    Warns:
        SpectrumWarning: an external field acted on the run, the run went outside the training data of its model, or
            the spectrum looks wrong.
    """
    chosen = spectra_settings(settings, overrides)
    if kind not in KINDS:
        raise ConfigError("kind of spectrum", got=repr(kind), wanted=", ".join(KINDS))
    run = opened(run)
    values, given = _of_run(run, kind, chosen)
    spectrum = _compute(kind, chosen, values, {**given, **integration_of(run, chosen)})
    return with_run_notes(with_f_sum(with_runs(spectrum, run), run), run)


def opened(source: Run | Path | str | Sequence[Run | Path | str]) -> Run:
    """A run, from itself, its file, or several of either.

    Raises:
        TrajectoryError: see ``read_run`` and ``join_runs``.
    """
    if isinstance(source, Run):
        return source
    if isinstance(source, Path | str):
        return read_run(source)
    return join_runs([opened(one) for one in source])


def series_spectrum(
    source: Path | str,
    kind: Kind,
    settings: SpectraSettings | None = None,
    *,
    request: Request | None = None,
    say: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Spectrum:
    """A spectrum of dipoles or polarizabilities of another code.

    Volume, temperature and eps_inf are those of the settings, else of the file; without a volume the system is a
    molecule.

    Args:
        source: any file of ``series.FORMATS``.
        kind: ``ir``, ``raman`` or ``dielectric``.
        settings: of the spectrum; None takes the defaults.
        request: unit, time step, columns and whatever else the file leaves unsaid.
        say: told what the file was taken for, and what was done to it.
        overrides: single settings, e.g. ``temperature_K=300``; they win over ``settings``.

    Raises:
        SeriesError: see ``series.open_series``; a temperature, volume or eps_inf that nobody told; or a run file,
            which knows more than its series (``run_spectrum``).
        ConfigError: unknown kind or setting, or a request for another quantity.
    """
    chosen, path = spectra_settings(settings, overrides), Path(source)
    if kind not in _QUANTITIES:
        raise ConfigError("kind of spectrum", got=repr(kind), wanted=", ".join(_QUANTITIES))
    request = Request(_QUANTITIES[kind]) if request is None else request
    if request.quantity != _QUANTITIES[kind]:
        raise ConfigError(f"request for '{kind}'", got=request.quantity, wanted=_QUANTITIES[kind])
    if is_run_file(path):
        raise SeriesError(f"series {path}", got="a run file", todo="Use run_spectrum, which knows cell and temperature")
    series = open_series(path, request)
    for note in (f"{path}: {FORMATS[series.format]}", *series.notes):
        if say is not None:
            say(note)
    temperature = chosen.temperature_K if chosen.temperature_K is not None else series.temperature_K
    volume = chosen.volume_A3 if chosen.volume_A3 is not None else series.volume_A3
    eps_inf: NumberOrTensor = chosen.eps_inf if chosen.eps_inf is not None else series.eps_inf
    given: dict[str, Any] = {
        "timestep_fs": series.timestep_fs,
        "temperature_K": temperature,
    }
    _needed(temperature, "temperature_K", "--temperature-K", path, "300")
    if kind == "dielectric":
        _needed(volume, "volume_A3", "--volume-A3", path, "1945.1")
        _needed(eps_inf, "eps_inf", "--eps-inf", path, "1.78")
    if kind != "raman":
        quantity = "current" if series.quantity == "current" else "dipole"
        given |= {"volume_A3": volume, "eps_inf": eps_inf, "quantity": quantity}
        given |= {"n_molecules": None} if kind == "ir" and volume is None else {}
    return _compute(kind, chosen, series.values, given)


def spectra_settings(settings: SpectraSettings | None, overrides: dict[str, Any]) -> SpectraSettings:
    """Settings with single ones replaced.

    Raises:
        ConfigError: unknown setting (with the nearest known name), or a value out of range.
    """
    settings = SpectraSettings() if settings is None else settings
    return parse_settings(SpectraSettings, {**settings.model_dump(), **overrides}, "spectra") if overrides else settings


def _of_run(run: Run, kind: Kind, settings: SpectraSettings) -> tuple[Any, dict[str, Any]]:
    """The series of a run that a spectrum is made of, and what else it takes from the run."""
    if kind == "vdos":
        return _velocities(run)
    given: dict[str, Any] = {}
    values: Any = run.dipole_eA
    if kind == "raman":
        values = run.polarizability_e2A2_per_eV
        if values is None:
            raise SeriesError(
                f"polarizability in {run.path}",
                got="none",
                wanted="a model with induced dipoles (iu in the name of its variant)",
                todo="Use another model for Raman",
            )
    else:
        eps_inf = eps_inf_of(run, settings)
        given = {"volume_A3": volume_of(run, settings, kind), "eps_inf": eps_inf}
        if kind == "dielectric" and eps_inf is None:
            raise SeriesError(f"eps_inf of {run.path}", got="none", wanted="a number", todo="Give eps_inf (--eps-inf)")
        if kind == "dielectric":
            given |= {"quanta_eA": quanta_of(run), **bound_dipole_of(run)}
        given |= {"n_molecules": None} if kind == "ir" and not run.periodic else {}
    return values, {"timestep_fs": timestep_of(run), "temperature_K": temperature_of(run, settings), **given}


def _velocities(run: Run) -> tuple[Any, dict[str, Any]]:
    """The velocities of a run, and what their density of states takes besides."""
    velocities = run.velocities_A_per_fs
    if velocities is None:
        raise SeriesError(
            f"velocities in {run.path}", got="none", wanted="a run of md, or a recorded trajectory with velocities"
        )
    if len(velocities) < 2:
        raise SeriesError(f"velocities in {run.path}", got=f"{len(velocities)} frames", wanted="a time series")
    return velocities, {
        "masses_amu": run.masses_amu,
        "timestep_fs": timestep_from_times(run.trajectory_time_fs),
        "symbols": [chemical_symbols[z] for z in run.numbers.tolist()],
        "degrees_of_freedom": 3 * len(run.numbers) - 3,  # the centre of mass is at rest
    }


def _compute(kind: Kind, settings: SpectraSettings, values: Any, given: dict[str, Any]) -> Spectrum:
    """The spectrum: a setting goes to the argument of its name, unless the source has decided (``given``)."""
    function = _FUNCTIONS[kind]
    names = inspect.signature(function).parameters
    arguments = {name: getattr(settings, name) for name in SpectraSettings.model_fields if name in names}
    return function(values, settings=settings, **{**arguments, **given})


def _needed(value: object, name: str, option: str, source: Path, example: str) -> None:
    """A number that neither the file nor the settings may leave out.

    Raises:
        SeriesError: nobody told it.
    """
    if value is None:
        raise SeriesError(
            f"{name} or {option} for {source}", got="none", wanted="a number", todo=f"Say {option} {example}"
        )
