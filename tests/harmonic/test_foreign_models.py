"""Normal modes of calculators of other programs: differences, with whatever response they have, beside ASE's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.vibrations import Infrared, Vibrations

from spectra_app import AsePotential, harmonic_limit
from spectra_app.config import HarmonicSettings
from spectra_app.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def test_a_calculator_without_dipole_has_frequencies_only(tmp_path: Path) -> None:
    limit = harmonic_limit(AsePotential(EMT()), molecule("H2O"))
    assert limit.infrared is None
    assert limit.raman is None
    assert any("no Born charges" in line for line in limit.warnings)
    atoms = limit.atoms.copy()
    atoms.calc = EMT()
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"))
    vibrations.run()
    np.testing.assert_allclose(limit.modes.frequencies_per_cm, vibrations.get_frequencies().real[-3:], rtol=1e-3)


def test_phonons_of_a_calculator_are_left_to_phonopy() -> None:
    with pytest.raises(ConfigError, match=r"supercell: got model .*, a calculator of another program"):
        harmonic_limit(AsePotential(EMT()), bulk("Cu"), HarmonicSettings(supercell=(2, 2, 2)))
    limit = harmonic_limit(AsePotential(EMT()), bulk("Cu", cubic=True))
    assert np.abs(limit.modes.rigid_per_cm).max() < 1.0
    assert len(limit.modes.frequencies_per_cm) == 9


def test_dipoles_of_tight_binding_give_infrared_intensities(tmp_path: Path) -> None:
    pytest.importorskip("tblite.ase", reason="tblite has no wheel here")
    from tblite.ase import TBLite

    limit = harmonic_limit(AsePotential(TBLite(method="GFN2-xTB", verbosity=0)), molecule("H2O"))
    atoms = limit.atoms.copy()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    vibrations = Infrared(atoms, name=str(tmp_path / "ir"))
    vibrations.run()
    vibrations.read()
    assert limit.infrared is not None
    intensities = np.asarray(vibrations.intensities)[-3:] * 42.2561  # km/mol of 1 (D/A)^2/amu
    np.testing.assert_allclose(limit.infrared.intensities_km_per_mol, intensities, rtol=0.02)
    np.testing.assert_allclose(limit.modes.frequencies_per_cm, vibrations.get_frequencies().real[-3:], rtol=1e-3)
