"""The harmonic limit of a structure with a model: relax, differentiate, diagonalise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_app.config import HarmonicSettings
from spectra_app.errors import ConfigError, MissingExtraError, StructureError
from spectra_app.jobs.harmonic_store import Computed, identity_of, read_computed, write_computed
from spectra_app.jobs.harmonic_structure import (
    Progress,
    kind_of,
    masses_of,
    minimum_of,
    relaxation_words,
    start_of,
)

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.harmonic.intensities import InfraredStrengths, RamanStrengths
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.harmonic.lines import HarmonicInfrared, HarmonicRaman
    from spectra_app.harmonic.modes import Kind, NormalModes
    from spectra_app.harmonic.phonons import Phonons
    from spectra_app.harmonic.polar_modes import PolarModes
    from spectra_app.harmonic.relaxation import Relaxation

_UNRELAXED_EV_PER_A = 0.01
_RIGID_PER_CM = {"crystal": 1.0, "slab": 10.0, "molecule": 100.0}  # forces that are left turn a molecule
_FAR_A = 0.5
_HIGHEST_PER_CM = 5000.0  # H2 vibrates at 4400


def harmonic_limit(
    model: Any,
    structure: Atoms,
    settings: HarmonicSettings | None = None,
    progress: Progress | None = None,
    *,
    store: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> HarmonicLimit:
    """Normal modes of a structure, with everything that follows from them.

    Args:
        model: from ``load_model``, best in float64; calculators of other programs take differences.
        structure: crystal (three periodic directions), slab (two) or molecule (none).
        settings: None takes the defaults.
        progress: called with the stage, what is done of it, and its length.
        store: file that keeps the relaxed structure and the derivatives; where it fits, nothing is computed again.
        say: told that it fits.

    Raises:
        ConfigError: a polarization geometry that is none; phonons of a calculator of another program.
        StructureError: no minimum found, a cell that goes to pieces, an element unknown to the model, atoms that clash,
            a mass of an atom that is not there.
        MissingExtraError: spglib is needed and not installed.
    """
    from spectra_app.harmonic.intensities import infrared_strengths, raman_strengths
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.harmonic.modes import normal_modes
    from spectra_app.harmonic.polar_modes import splittings
    from spectra_app.harmonic.thermochemistry import thermochemistry

    chosen = _possible(model, settings or HarmonicSettings())
    told = progress or (lambda _stage, _done, _of: None)
    kind = kind_of(structure)
    identity = "" if store is None else identity_of(model, structure, chosen)
    kept = None if store is None else read_computed(store, identity)
    if kept is not None and say is not None:
        say(f"relaxation and derivatives: {store} fits and is kept")
    computed = kept or _computed(model, structure, chosen, told)
    relaxed, atoms, found = computed.relaxation, computed.atoms, computed.derivatives
    masses = masses_of(atoms, chosen.masses)
    modes = normal_modes(found.hessian_eV_per_A2, masses, atoms.positions, kind)
    infrared = None if found.born_e is None else infrared_strengths(modes, found.born_e)
    raman = None if found.raman_e2A_per_eV is None else raman_strengths(modes, found.raman_e2A_per_eV)
    eps_inf = chosen.eps_inf if chosen.eps_inf is not None else model.eps_inf
    cell = _polar_modes(atoms, modes, infrared, eps_inf) if kind == "crystal" else None
    spacegroup, names = _symmetry(atoms, kind, modes, found.hessian_eV_per_A2)
    infrared_spectrum, raman_spectrum = _spectra(modes, infrared, raman, cell, chosen)
    waves, computed = _phonons(model, computed, masses, cell, chosen, told)
    if store is not None and computed is not kept:
        write_computed(store, identity, computed)
    return HarmonicLimit(
        atoms=atoms,
        kind=kind,
        relaxation=relaxation_words(relaxed),
        derivatives=found,
        modes=modes,
        representations=names,
        infrared=infrared,
        raman=raman,
        cell=cell,
        splittings={} if cell is None else {_words(n): tuple(splittings(cell, n)) for n in chosen.directions},
        thermochemistry=thermochemistry(
            modes,
            atoms.positions,
            kind,
            temperature_K=chosen.temperature_K,
            pressure_bar=chosen.pressure_bar,
            symmetry_number=chosen.symmetry_number,
            spin=chosen.spin,
        ),
        infrared_spectrum=infrared_spectrum,
        raman_spectrum=raman_spectrum,
        phonons=waves,
        spacegroup=spacegroup,
        source=f"model '{model.card.name}'",
        warnings=tuple(_warnings(modes, found, relaxed, kind, eps_inf)),
        settings=chosen.model_dump(mode="json"),
    )


def _computed(model: Any, structure: Atoms, settings: HarmonicSettings, told: Progress) -> Computed:
    """Relaxation and derivatives, which take time."""
    from spectra_app.dynamics.foreign import remember
    from spectra_app.harmonic.derivatives import derivatives
    from spectra_app.structure.system import from_ase

    remember(model, structure)
    masses_of(start_of(structure, settings), settings.masses)  # a fault in them is said before the long part
    atoms, relaxed = minimum_of(model, structure, settings, told)
    system = from_ase(atoms, device=model.device, dtype=model.dtype)
    return Computed(
        relaxed,
        atoms,
        derivatives(model, system, settings.method, lambda done, of: told("derivatives", done, of), settings.step_A),
    )


def _possible(model: Any, settings: HarmonicSettings) -> HarmonicSettings:
    """The settings, with differences for calculators of other programs, which know no second derivatives.

    Raises:
        ConfigError: phonons with such a calculator; a polarization geometry that is none.
    """
    from spectra_app.dynamics.foreign import is_foreign
    from spectra_app.spectra.raman import parse_porto

    for geometry in settings.geometries:
        parse_porto(geometry)

    name = model.card.name
    if not is_foreign(model):
        return settings
    if settings.supercell is not None:
        raise ConfigError(
            "supercell",
            got=f"model {name}, a calculator of another program",
            wanted="a model of ours, which has exact second derivatives",
            todo="Let phonopy make the displacements for it",
        )
    return settings.model_copy(update={"method": "differences"})


def _polar_modes(
    atoms: Atoms, modes: NormalModes, infrared: InfraredStrengths | None, eps_inf: Any
) -> PolarModes | None:
    """What makes a crystal's dielectric function, where all of it is known."""
    from spectra_app.harmonic.polar_modes import PolarModes

    if infrared is None or eps_inf is None:
        return None
    tensor = np.asarray(eps_inf) * (np.eye(3) if np.ndim(eps_inf) == 0 else 1.0)
    return PolarModes(modes.frequencies_per_cm, infrared.charges, float(atoms.cell.volume), tensor)


def _spectra(
    modes: NormalModes,
    infrared: InfraredStrengths | None,
    raman: RamanStrengths | None,
    cell: PolarModes | None,
    settings: HarmonicSettings,
) -> tuple[HarmonicInfrared | None, HarmonicRaman | None]:
    """Drawn lines, to a little above the highest mode where no end is given."""
    from spectra_app.harmonic.lines import infrared_lines, raman_lines

    highest, damping = float(modes.frequencies_per_cm.max(initial=0.0)), settings.damping_per_cm
    end = settings.max_wavenumber_per_cm or highest + max(20.0 * damping, 0.05 * highest)
    first = None if infrared is None else infrared_lines(modes, infrared, cell, damping, end)
    if raman is None:
        return first, None
    second = raman_lines(
        modes,
        raman,
        damping_per_cm=damping,
        end_per_cm=end,
        temperature_K=settings.temperature_K,
        laser_nm=settings.laser_nm,
        prefactor=settings.prefactor,
        geometries=settings.geometries,
    )
    return first, second


def _symmetry(
    atoms: Atoms, kind: Kind, modes: NormalModes, hessian: np.ndarray
) -> tuple[str | None, tuple[str | None, ...]]:
    """Space group, and the names of the modes' representations, where the packages for it are installed."""
    from spectra_app.born.symmetry import find_symmetry
    from spectra_app.harmonic.representations import representations

    nothing = (None,) * len(modes.frequencies_per_cm)
    if kind != "crystal":
        return None, nothing
    try:
        group = find_symmetry(atoms.positions, atoms.numbers, np.asarray(atoms.cell.array)).spacegroup
        return group, representations(atoms, modes, hessian)
    except (MissingExtraError, StructureError):
        return None, nothing


def _warnings(modes: NormalModes, found: Any, relaxed: Relaxation | None, kind: Kind, eps_inf: object) -> list[str]:
    out = []
    largest = float(np.linalg.norm(found.forces_eV_per_A, axis=1).max())
    if relaxed is None and largest > _UNRELAXED_EV_PER_A:
        out.append(
            f"not relaxed: forces up to {largest:.3g} eV/A; away from a minimum frequencies depend on coordinates"
        )
    if relaxed is not None and relaxed.moved_A > _FAR_A:
        out.append(
            f"atoms moved by up to {relaxed.moved_A:.2f} A as it relaxed: is it still the structure that was meant?"
        )
    highest = float(np.abs(modes.frequencies_per_cm).max(initial=0.0))
    if highest > _HIGHEST_PER_CM:
        out.append(
            f"frequencies up to {highest:.0f} cm^-1, which no molecule has: the model does not know this structure"
        )
    if len(modes.imaginary):
        frequencies = ", ".join(f"{-modes.frequencies_per_cm[m]:.1f}i" for m in modes.imaginary)
        out.append(
            f"{len(modes.imaginary)} imaginary modes ({frequencies} cm^-1): no minimum; the files imaginary_*.extxyz "
            "show where it lies"
        )
    rigid = float(np.abs(modes.rigid_per_cm).max(initial=0.0))
    if rigid > _RIGID_PER_CM[kind] and (relaxed is not None or kind != "molecule"):
        out.append(f"translations and rotations had up to {rigid:.1f} cm^-1 before they were taken out")
    if found.born_e is None:
        out.append("no infrared intensities: the model has no Born charges")
    elif kind == "crystal" and eps_inf is None:
        out.append("no dielectric function and no longitudinal modes: eps_inf is not known (--eps-inf)")
    if found.raman_e2A_per_eV is None:
        out.append("no Raman intensities: the model has no polarizability")
    return out


def _phonons(
    model: Any,
    computed: Computed,
    masses: np.ndarray,
    cell: PolarModes | None,
    settings: HarmonicSettings,
    told: Progress,
) -> tuple[Phonons | None, Computed]:
    """Phonons where a supercell was given, and what was computed, with their force constants."""
    if settings.supercell is None:
        return None, computed
    from spectra_app.harmonic.phonons import phonons

    known = computed.force_constants if computed.supercell == settings.supercell else None
    found = phonons(
        model,
        computed.atoms,
        masses,
        settings.supercell,
        computed.derivatives.born_e,
        None if cell is None else cell.eps_inf,
        lambda done, of: told("phonons", done, of),
        known,
    )
    if known is not None:
        return found, computed
    return found, computed._replace(force_constants=found.force_constants_eV_per_A2, supercell=settings.supercell)


def _words(direction: tuple[float, float, float]) -> str:
    return " ".join(f"{value:g}" for value in direction)
