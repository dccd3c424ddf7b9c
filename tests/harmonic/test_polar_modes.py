"""Dielectric function, longitudinal modes and reflectivity of polar modes against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_app.errors import ConfigError
from spectra_app.harmonic.intensities import infrared_strengths
from spectra_app.harmonic.modes import normal_modes, wavenumbers
from spectra_app.harmonic.polar_modes import (
    PolarModes,
    dielectric_function,
    nonanalytic_term,
    reflectivity,
    splittings,
    static_tensor,
)
from spectra_app.harmonic.representations import phonopy_at_centre
from spectra_app.spectra.optics import optical_constants

EPS_INF = np.diag([2.3, 2.3, 2.6])
TWO = PolarModes(np.array([300.0, 300.0, 500.0]), np.array([[0.6, 0, 0], [0, 0.6, 0], [0, 0, 0.8]]), 40.0, EPS_INF)


def test_lyddane_sachs_teller() -> None:
    many = PolarModes(
        np.array([200.0, 300.0, 500.0, 700.0]),
        np.array([[0.3, 0, 0], [0.6, 0.1, 0], [0.0, 0, 0.8], [0.5, 0, 0]]),
        40.0,
        EPS_INF,
    )
    static = static_tensor(many)
    for n in np.eye(3):
        pairs = splittings(many, n)
        ratio = np.prod([(one.longitudinal_per_cm / one.transverse_per_cm) ** 2 for one in pairs])
        assert ratio == pytest.approx(n @ static @ n / (n @ EPS_INF @ n), rel=1e-9)
        assert sum(one.strength for one in pairs) == pytest.approx(n @ (static - EPS_INF) @ n, rel=1e-9)
        for one in pairs:  # a zero of n.eps.n
            eps = dielectric_function(many, [one.longitudinal_per_cm], 0.0)[0].real
            assert n @ eps @ n == pytest.approx(0.0, abs=1e-8)
    assert splittings(PolarModes(many.frequencies_per_cm, 0.0 * many.charges, 40.0, EPS_INF), [1, 0, 0]) == []


def test_a_degenerate_pair_has_one_polar_mode_in_any_direction() -> None:
    along, turned = splittings(TWO, [1, 0, 0]), splittings(TWO, [3.0, 4.0, 0])
    assert len(along) == len(turned) == 1
    assert turned[0].longitudinal_per_cm == pytest.approx(along[0].longitudinal_per_cm)


def test_longitudinal_modes_are_those_of_phonopy() -> None:
    from ase import Atoms

    rng = np.random.default_rng(2)
    cell = np.array([[4.0, 0, 0], [0.5, 4.2, 0], [0.2, 0.3, 4.5]])
    atoms = Atoms("SiO2", scaled_positions=rng.uniform(size=(3, 3)), cell=cell, pbc=True)
    random = rng.normal(size=(9, 9))
    springs = (random @ random.T).reshape(3, 3, 3, 3)
    springs -= springs.mean(axis=0, keepdims=True)
    springs -= springs.mean(axis=2, keepdims=True)
    springs = 5.0 * springs.reshape(9, 9)
    born = rng.normal(size=(3, 3, 3))
    born -= born.mean(axis=0)
    eps_inf = np.array([[2.0, 0.1, 0], [0.1, 2.5, 0.2], [0, 0.2, 3.0]])
    masses = atoms.get_masses()
    phonons = phonopy_at_centre(atoms, masses, springs)
    phonons.nac_params = {"born": born, "dielectric": eps_inf, "factor": 14.399645, "method": "wang"}
    modes = normal_modes(springs, masses, atoms.positions, "crystal")
    polar = PolarModes(modes.frequencies_per_cm, infrared_strengths(modes, born).charges, atoms.cell.volume, eps_inf)
    for n in ([1.0, 0, 0], [0.3, -0.5, 0.8]):
        direction = np.asarray(n) @ cell.T  # phonopy takes it on the reciprocal basis
        phonons.run_qpoints([[0, 0, 0]], nac_q_direction=direction)
        wanted = np.sort(phonons.qpoints.frequencies[0])[3:]  # THz
        whole = springs + nonanalytic_term(born, n, atoms.cell.volume, eps_inf)
        root = np.repeat(np.sqrt(masses), 3)
        ours = wavenumbers(np.linalg.eigvalsh(whole / root[:, None] / root))[3:] / 33.35640952
        np.testing.assert_allclose(ours, wanted, atol=1e-3)
        longitudinal = [one.longitudinal_per_cm / 33.35640952 for one in splittings(polar, n)]
        assert len(longitudinal) >= 5  # a mode that is hardly polar along n is left out
        assert max(np.abs(wanted - one).min() for one in longitudinal) < 1e-3


def test_imaginary_modes_have_no_part_in_the_dielectric_function() -> None:
    soft = PolarModes(np.array([-50.0, 300.0]), np.array([[1.0, 0, 0], [0.6, 0, 0]]), 40.0, EPS_INF)
    hard = PolarModes(np.array([300.0]), np.array([[0.6, 0, 0]]), 40.0, EPS_INF)
    np.testing.assert_allclose(dielectric_function(soft, [10.0], 5.0), dielectric_function(hard, [10.0], 5.0))
    assert splittings(soft, [1, 0, 0]) == splittings(hard, [1, 0, 0])


def test_reflectivity_is_fresnels() -> None:
    nu = np.linspace(50.0, 800.0, 40)
    eps = dielectric_function(TWO, nu, 8.0)
    s, p = reflectivity(eps, [0, 0, 1], [1, 0, 0])
    wanted = optical_constants(nu, eps[:, 0, 0].real.copy(), eps[:, 0, 0].imag.copy())["reflectivity"]
    np.testing.assert_allclose(s, wanted)
    np.testing.assert_allclose(p, wanted)
    isotropic = np.broadcast_to(2.25 * np.eye(3) + 0j, (1, 3, 3))  # n = 1.5: Brewster's angle
    s, p = reflectivity(isotropic, [0, 0, 1], [1, 0, 0], np.degrees(np.arctan(1.5)))
    assert p[0] == pytest.approx(0.0, abs=1e-12)
    assert s[0] == pytest.approx(((2.25 - 1.0) / (2.25 + 1.0)) ** 2)
    assert (np.stack(reflectivity(eps, [0, 0, 1], [1, 0, 0], 70.0)) <= 1.0).all()
    for wrong in ({"in_plane": [0, 0, 1]}, {"angle_degrees": 90.0}, {"in_plane": [1, 0, 0], "surface": [0, 1, 1]}):
        with pytest.raises(ConfigError, match="reflectivity"):
            reflectivity(eps, **{"surface": [0, 0, 1], "in_plane": [1, 0, 0], **wrong})
