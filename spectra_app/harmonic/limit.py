"""All of the harmonic limit of one structure: what was relaxed, its modes with their strengths, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ase import Atoms

from spectra_app.harmonic.derivatives import Derivatives
from spectra_app.harmonic.intensities import InfraredStrengths, RamanStrengths
from spectra_app.harmonic.lines import HarmonicInfrared, HarmonicRaman
from spectra_app.harmonic.modes import Kind, NormalModes
from spectra_app.harmonic.phonons import Phonons
from spectra_app.harmonic.polar_modes import PolarModes, Splitting
from spectra_app.harmonic.thermochemistry import Thermochemistry


@dataclass(frozen=True, eq=False)
class HarmonicLimit:
    """The harmonic limit of one structure.

    Attributes:
        atoms: the structure whose modes these are, relaxed where that was asked for.
        kind: crystal, slab or molecule.
        relaxation: what it took, in words; "not relaxed".
        derivatives: at that structure.
        modes: normal modes.
        representations: name of each mode's irreducible representation, or None.
        infrared: strengths; None for a model without Born charges.
        raman: strengths; None for a model without polarizability.
        cell: polar modes of a crystal with eps_inf; else None.
        splittings: of waves along a direction, named by it ("1 0 0").
        thermochemistry: energies at a temperature.
        infrared_spectrum: drawn lines.
        raman_spectrum: drawn lines.
        phonons: bands and density of states, where a supercell was given.
        spacegroup: of a crystal, where spglib is installed.
        source: the model.
        warnings: one sentence for everything that looks wrong.
        settings: everything needed to compute it again.
    """

    atoms: Atoms
    kind: Kind
    relaxation: str
    derivatives: Derivatives
    modes: NormalModes
    representations: tuple[str | None, ...]
    infrared: InfraredStrengths | None
    raman: RamanStrengths | None
    cell: PolarModes | None
    splittings: Mapping[str, tuple[Splitting, ...]]
    thermochemistry: Thermochemistry
    infrared_spectrum: HarmonicInfrared | None
    raman_spectrum: HarmonicRaman | None
    phonons: Phonons | None
    spacegroup: str | None
    source: str
    warnings: tuple[str, ...]
    settings: Mapping[str, object]
