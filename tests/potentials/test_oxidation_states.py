"""Charges that atoms carry through a cell: integers of topological transport (Grasselli and Baroni 2019)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import ModelSettings
from spectra_app.errors import ConfigError, DatasetError, StructureError
from spectra_app.potentials import Potential
from spectra_app.potentials.elements import common_oxidation_states
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, concatenate, from_ase
from spectra_app.training.chemistry import resolve_oxidation_states, resolve_smearing
from spectra_app.training.dataset import LabelledFrame
from tests.random_weights import with_random_weights

STATES = {"H": 1, "O": -2, "Na": 1}
WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
CELL = np.array([[8.0, 0.0, 0.0], [1.5, 7.5, 0.0], [-1.0, 0.8, 7.8]])


def ionic(random: bool = True, variant: str = "puipiu", **settings) -> Potential:
    torch.manual_seed(5)
    small = {"channels": 8, "n_radial": 4, "cutoff_A": 3.5, "response": "one-shot", "ewald_tolerance": 1e-6}
    chosen = ModelSettings(variant=variant, oxidation_states=STATES, **{**small, **settings})
    potential = Potential(chosen, ("H", "O", "Na"), eps_inf=1.9).double()
    potential.scale = PhysicalScale(1.9, 0.3, 1.3)
    return with_random_weights(potential, 1.5) if random else potential.requires_grad_(False)


def two_waters() -> Atoms:
    first, second = Atoms("OH2", WATER), Atoms("OH2", WATER @ np.diag([1, -1, 1]))
    first.translate([1.0, 1.0, 1.2])
    second.translate([4.2, 4.5, 4.1])
    return first + second


def electrolyte() -> Atoms:
    """A sodium ion and two waters."""
    atoms = two_waters()
    atoms += Atoms("Na", [[5.0, 1.5, 2.5]])
    atoms.cell, atoms.pbc = CELL, True
    atoms.info["charge"] = 1.0
    return atoms


def polarization(potential: Potential, atoms: Atoms) -> np.ndarray:
    system = from_ase(atoms)
    prediction = potential(system, build_neighbors(system, potential.cutoff), forces=False)
    return potential.scale.vectors(prediction.dipole, system)[0].numpy()


@pytest.mark.parametrize(("who", "charge"), [([6], 1), ([0], -2), ([1], 1), ([0, 1, 2], 0), ([0, 1, 2, 6], 1)])
@pytest.mark.parametrize("vector", [0, 2])
def test_a_way_round_the_cell_transports_the_oxidation_state(who: list[int], charge: int, vector: int) -> None:
    potential, atoms = ionic(), electrolyte()
    before = polarization(potential, atoms)
    atoms.positions[who] += CELL[vector]
    assert polarization(potential, atoms) - before == pytest.approx(charge * CELL[vector], abs=1e-9)


def test_on_the_way_the_polarization_follows_the_born_charges() -> None:
    """An integral along a crooked way: nothing jumps where the ion passes others or crosses the face of the cell."""
    potential, atoms = ionic(), electrolyte()
    way = np.linspace(0.0, 1.0, 161)
    crooked = way[:, None] * CELL[1] + np.sin(np.pi * way)[:, None] * [0.9, 0.1, 0.7]
    start = atoms.positions[6].copy()
    systems = []
    for point in crooked:
        atoms.positions[6] = start + point
        systems.append(from_ase(atoms))
    together = concatenate(systems)
    born = potential.born_charges(together, build_neighbors(together, potential.cutoff)).numpy()
    gradient = born.reshape(len(way), len(atoms), 3, 3)[:, 6]
    velocity = np.gradient(crooked, way, axis=0, edge_order=2)
    current = np.einsum("sab,sb->sa", gradient, velocity)
    carried = np.trapezoid(current, way, axis=0)
    assert carried == pytest.approx(CELL[1], abs=0.02)


def test_a_proton_handed_down_a_wire_of_water_carries_one_charge() -> None:
    """Every molecule of a periodic chain hands one proton to the next: the same structure, one charge further."""
    potential, n, spacing = ionic(), 4, 2.7
    oxygens = np.stack([np.arange(n) * spacing, np.zeros(n), np.zeros(n)], axis=1)
    bonds = np.array([[0.0, 0, 0], [1.0, 0, 0], [-0.25, 0.93, 0]])
    chain = Atoms(f"O{n}H{n}H{n}", (bonds[:, None] + oxygens).reshape(-1, 3))
    chain.cell, chain.pbc = [n * spacing, 9.0, 9.0], True
    before = polarization(potential, chain)
    chain.positions[n : 2 * n] += [spacing, 0, 0]
    assert polarization(potential, chain) - before == pytest.approx([n * spacing, 0, 0], abs=1e-9)


def charges(potential: Potential, system: System) -> np.ndarray:
    return potential(system, build_neighbors(system, potential.cutoff)).charges.numpy()


def test_a_bound_molecule_begins_neutral_and_the_excess_charge_stays_on_its_ion() -> None:
    potential = ionic(random=False, variant="p")
    atoms = two_waters()
    hydronium = Atoms("OH3", [[0, 0, 0.3], [0.95, 0, 0], [-0.48, 0.82, 0], [-0.48, -0.82, 0]])
    hydronium.positions += [5.5, 1.5, 4.5]
    atoms += hydronium
    atoms.cell, atoms.pbc, atoms.info["charge"] = CELL, True, 1.0
    physical = np.sqrt(potential.scale.eps_e) * charges(potential, from_ase(atoms))
    assert physical[:6] / np.sqrt(potential.scale.eps_e) == pytest.approx([-0.2, 0.1, 0.1, -0.2, 0.1, 0.1], abs=0.03)
    assert physical[:3].sum() == pytest.approx(0.0, abs=0.01)
    assert physical[6:].sum() == pytest.approx(1.0, abs=0.01)


def test_an_unbound_ion_begins_with_its_own_charge_and_a_passing_proton_is_shared() -> None:
    potential = ionic(random=False, variant="p")
    root = np.sqrt(potential.scale.eps_e)
    atoms = electrolyte()
    assert root * charges(potential, from_ase(atoms))[6] == pytest.approx(1.0, abs=1e-6)
    for share, place in ((0.0, 1.0), (0.45, 1.25), (0.9, 1.5)):
        # O-H...O, 2.5 A long; both oxygens have their two own hydrogens, far enough apart
        zundel = Atoms("OOH", [[0, 0, 0], [2.5, 0, 0], [place, 0, 0]]) + Atoms(
            "H4", [[-0.4, 0.85, 0], [-0.4, -0.85, 0], [2.9, 0, 0.85], [2.9, 0, -0.85]]
        )
        zundel.info["charge"] = 1.0
        q = charges(potential, from_ase(zundel))
        assert q[1] + q[5] + q[6] == pytest.approx(share, abs=0.05)  # a tenth of its charge stays on the proton


def test_handing_a_proton_over_costs_energy_before_anything_is_learned() -> None:
    """Charge on two atoms attracts itself: without the self-energies of what is moved, 0.9 e would gain 4 eV here."""
    potential = ionic(random=False, variant="p")
    potential.energy_scale.zero_()  # electrostatics alone
    waters = Atoms("OOH", [[0, 0, 0], [2.5, 0, 0], [1.0, 0, 0]]) + Atoms(
        "H3", [[-0.25, 0.93, 0], [2.8, -0.45, 0.8], [2.8, -0.45, -0.8]]
    )
    energies = []
    for place in np.arange(0.95, 1.56, 0.05):
        waters.positions[2, 0] = place
        system = from_ase(waters)
        energies.append(float(potential(system, build_neighbors(system, potential.cutoff), forces=False).energy))
    assert np.diff(energies).min() > -0.02  # eV
    assert 2.0 < energies[-1] - energies[0] < 6.0


def test_a_bound_molecule_has_no_energy_of_transfer() -> None:
    potential = ionic(random=False, variant="p")
    system = from_ase(electrolyte())
    neighbors = build_neighbors(system, potential.cutoff)
    assert (
        float(potential.evaluate(system, neighbors, potential.k_vectors(system)).latents.transfer_energy.sum()) < 1e-4
    )


def test_shares_of_a_cation_hold_while_its_bonds_vibrate_and_end_smoothly_where_they_break() -> None:
    settings = {"oxidation_states": {"O": -2, "Si": 4}, "channels": 8, "n_radial": 4, "cutoff_A": 4.0}
    potential = Potential(ModelSettings(variant="p", **settings), ("O", "Si"), eps_inf=2.4).double()
    potential.requires_grad_(False)
    potential.scale = PhysicalScale(2.4, 0.6, 1.6)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)

    def share(length_A: float) -> float:
        """Of the silicon's charge, that its first oxygen takes."""
        positions = np.concatenate([[[0.0, 0, 0]], corners * np.array([length_A, 1.62, 1.62, 1.62])[:, None]])
        atoms = Atoms("SiO4", positions)
        atoms.info["charge"] = -4.0
        q = charges(potential, from_ase(atoms))
        return (q[1] + 2.0) / (q[1:].sum() + 8.0)

    assert share(1.62) == pytest.approx(0.25, abs=1e-6)
    assert share(1.8) == pytest.approx(0.25, abs=0.002)  # two standard deviations at 300 K
    assert share(2.3) == pytest.approx(0.25, abs=0.02)
    assert 0.1 < share(2.65) < 0.2
    assert share(3.1) < 0.001
    lengths = np.arange(1.5, 3.9, 0.05)
    assert np.abs(np.diff([share(x) for x in lengths])).max() < 0.06


def test_a_charge_that_the_oxidation_states_do_not_explain_is_refused() -> None:
    atoms = electrolyte()
    atoms.info["charge"] = 0.0
    with pytest.raises(
        StructureError, match=r"total charge of structure: got \+0 e, wanted \+1 e, the sum of the oxid"
    ):
        ionic().check_system(from_ase(atoms))
    ionic().check_system(from_ase(electrolyte()))


def frame(symbols: str, charge: float = 0.0) -> LabelledFrame:
    atoms = Atoms(symbols, np.arange(3.0 * len(Atoms(symbols))).reshape(-1, 3))
    atoms.info["charge"] = charge
    return LabelledFrame(atoms, 0.0, np.zeros((len(atoms), 3)), None, f"frame of {symbols}")


def resolved(frames: list[LabelledFrame], given="auto", variant: str = "pu"):
    species = sorted({s for f in frames for s in f.atoms.get_chemical_symbols()})
    settings = ModelSettings(variant=variant, oxidation_states=given)
    return resolve_oxidation_states(settings, frames, species).oxidation_states


def test_which_oxidation_states_are_known_by_themselves() -> None:
    assert resolved([frame("H2O"), frame("NaOH")]) == {"H": 1, "Na": 1, "O": -2}
    assert resolved([frame("SiO2")]) == {"O": -2, "Si": 4}
    assert resolved([frame("H3O", 1.0), frame("OH", -1.0)]) == {"H": 1, "O": -2}
    assert resolved([frame("H2O"), frame("H2O2")]) == "free"  # a peroxide
    assert resolved([frame("Si2")]) == "free"
    assert resolved([frame("CO2")]) == "free"  # carbon has many
    assert resolved([frame("H2O")], variant="uiu") == "free"  # independent atomic charges
    assert resolved([frame("H2O")], given="free") == "free"
    assert resolved([frame("PbI2")], given={"Pb": 2, "I": -1, "H": 1}) == {"I": -1, "Pb": 2}
    assert common_oxidation_states(["Ba", "Ti", "O"]) == {"Ba": 2, "Ti": 4, "O": -2}


def test_soft_elements_are_smeared_wider_by_themselves() -> None:
    def widths(variant: str = "puiu", **settings):
        return resolve_smearing(ModelSettings(variant=variant, **settings), ["H", "I", "O", "Pb"]).element_sigma_A

    assert widths() == {"I": 1.5, "Pb": 1.5}
    assert widths(sigma_A=1.5) == {}
    assert widths("pu") == {}  # nothing is induced
    assert widths(element_sigma_A={"O": 1.2}) == {"O": 1.2}
    with pytest.raises(ConfigError, match=r"element_sigma_A: got O: 0, wanted widths above 0 A"):
        widths(element_sigma_A={"O": 0.0})


def test_given_oxidation_states_must_explain_the_data() -> None:
    with pytest.raises(ConfigError, match=r"model.oxidation_states: got none for I, wanted a number for each of I, Pb"):
        resolved([frame("PbI2")], given={"Pb": 2})
    with pytest.raises(DatasetError, match=r"frame of PbI2, total charge: got \+0 e, where .* make \+2 e"):
        resolved([frame("PbI2")], given={"Pb": 4, "I": -1})
    with pytest.raises(ConfigError, match=r"got variant uiu, wanted a variant with p"):
        ionic(variant="uiu")
