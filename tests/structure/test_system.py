"""The record of a batch, and what is refused at the border."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from spectra_app.errors import StructureError
from spectra_app.structure.system import (
    MINIMUM_DISTANCE_A,
    MINIMUM_VACUUM_A,
    VACUUM_RATIO,
    concatenate,
    from_ase,
    make_system,
    slab_cell,
    sum_by_structure,
)

TRICLINIC = np.array([[5.0, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.7, 0.9, 4.2]])


def test_fields_of_one_structure() -> None:
    atoms = molecule("H2O")
    atoms.info["charge"] = -1
    system = from_ase(atoms)
    assert system.sizes == (3,)
    assert system.n_structures == 1
    assert system.numbers.tolist() == [8, 1, 1]
    assert system.charge.tolist() == [-1.0]
    assert not system.periodic.item()
    assert system.volume.item() == 0.0
    np.testing.assert_array_equal(system.positions.numpy(), atoms.positions)


def test_periodic_structure_keeps_unwrapped_positions() -> None:
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [25.0, 0.3, -7.0]], cell=TRICLINIC, pbc=True)
    system = from_ase(atoms, charge=2.0)
    np.testing.assert_array_equal(system.positions.numpy(), atoms.positions)
    assert system.charge.item() == 2.0
    assert system.volume.item() == pytest.approx(
        5.0 * 4.6 * 4.2, rel=1e-12
    )  # lower triangular: product of the diagonal


def test_batch_of_different_sizes_cells_and_boundaries(rng: np.random.Generator) -> None:
    parts = [from_ase(molecule("H2O")), from_ase(bulk("NaCl", "rocksalt", a=5.6)), from_ase(molecule("CH4"))]
    batch = concatenate(parts)
    assert batch.sizes == (3, 2, 5)
    assert batch.batch.tolist() == [0] * 3 + [1] * 2 + [2] * 5
    assert batch.periodic.tolist() == [False, True, False]
    again = concatenate([concatenate(parts[:2]), parts[2]])
    for one, other in zip(batch, again, strict=True):
        assert torch.equal(one, other) if torch.is_tensor(one) else one == other
    values = torch.from_numpy(rng.normal(size=(10, 3)))
    expected = torch.stack([values[:3].sum(0), values[3:5].sum(0), values[5:].sum(0)])
    torch.testing.assert_close(sum_by_structure(values, batch), expected)
    torch.testing.assert_close(sum_by_structure(values[:3], parts[0]), expected[:1])


def test_conversion_changes_reals_only() -> None:
    system = make_system(np.zeros((1, 3)), np.array([8]), TRICLINIC).to(dtype=torch.float32)
    assert system.positions.dtype == system.cell.dtype == system.charge.dtype == torch.float32
    assert system.numbers.dtype == system.batch.dtype == torch.int64
    assert system.periodic.dtype == torch.bool


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "got no atoms, wanted at least one"),
        (Atoms("H2", positions=[[0, 0, 0], [0, np.nan, 1]]), "position of atom 1: got NaN"),
        (Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.3]]), r"atoms 0 and 1: got 0\.300 A apart.*Check the units"),
        (
            Atoms("H", cell=np.eye(3) * 4, pbc=[True, False, False]),
            r"periodicity.*all three directions periodic, two \(a slab\), or none",
        ),
        (Atoms("H", cell=[[4, 0, 0], [8, 0, 0], [0, 0, 9]], pbc=[True, True, False]), "cell: got area 0 A"),
        (
            Atoms("H2", positions=[[0.1, 1, 0], [3.9, 1, 0]], cell=[4, 4, 0], pbc=[True, True, False]),
            r"a periodic image: got 0\.200 A apart",
        ),
        (Atoms("H", cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]], pbc=True), "cell: got volume 0 A"),
    ],
    ids=["empty", "nan", "overlap", "wire", "flat", "flat slab", "overlap of a slab"],
)
def test_what_no_model_can_treat_is_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        from_ase(atoms)


@pytest.mark.parametrize("fraction", [0.0, 0.37, 0.999])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_overlap_through_every_face_of_a_triclinic_cell(fraction: float, axis: int) -> None:
    # Two atoms on either side of a face, 0.3 A apart through it, far apart inside the cell.
    first = np.full(3, fraction)
    first[axis] = 0.001
    first = first @ TRICLINIC
    normal = TRICLINIC[axis] / np.linalg.norm(TRICLINIC[axis])
    second = first - 0.3 * normal + TRICLINIC[axis]
    atoms = Atoms("H2", positions=[first, second], cell=TRICLINIC, pbc=True)
    with pytest.raises(StructureError, match=r"got 0\.300 A apart"):
        from_ase(atoms)
    atoms.positions[1] -= (MINIMUM_DISTANCE_A - 0.3 + 0.01) * normal
    from_ase(atoms)


def test_atom_on_its_own_image_is_refused() -> None:
    with pytest.raises(StructureError, match=r"and a periodic image: got 0\.350 A apart"):
        from_ase(Atoms("H", cell=np.diag([0.35, 5.0, 5.0]), pbc=True))


def test_name_of_the_structure_is_in_the_error() -> None:
    with pytest.raises(StructureError, match=r"^frame 12 of a\.xyz"):
        from_ase(Atoms("H2", positions=np.zeros((2, 3))), name="frame 12 of a.xyz")


def slab_atoms(open_axis: int, third: float = 0.0, tilt: float = 0.0) -> Atoms:
    """A slab 2 A thick whose lateral vectors are neither orthogonal nor along the axes."""
    lateral = np.array([[5.0, 0.3, 0.0], [1.3, 4.6, 0.4]])
    normal = np.cross(*lateral) / np.linalg.norm(np.cross(*lateral))
    cell = np.zeros((3, 3))
    cell[(open_axis + 1) % 3], cell[(open_axis + 2) % 3] = lateral
    cell[open_axis] = third * normal + tilt * lateral[0]
    positions = np.stack([0.2 * lateral[0] + 7.0 * normal, 0.6 * lateral[1] + 9.0 * normal])
    return Atoms("OH", positions=positions, cell=cell, pbc=np.arange(3) != open_axis)


@pytest.mark.parametrize("open_axis", [0, 1, 2])
def test_slab_of_any_open_axis_has_its_normal_last(open_axis: int) -> None:
    atoms = slab_atoms(open_axis)
    system = from_ase(atoms)
    cell = system.cell[0].numpy()
    assert system.slab.tolist() == [True]
    assert system.periodic.tolist() == [True]
    np.testing.assert_array_equal(cell[:2], [atoms.cell[(open_axis + 1) % 3], atoms.cell[(open_axis + 2) % 3]])
    np.testing.assert_allclose(cell[:2] @ cell[2], 0.0, atol=1e-12)
    assert np.linalg.det(cell) > 0.0
    assert np.linalg.norm(cell[2]) == pytest.approx(2.0 + MINIMUM_VACUUM_A)
    np.testing.assert_array_equal(system.positions.numpy(), atoms.positions)


@pytest.mark.parametrize(("third", "expected"), [(0.0, 17.0), (12.0, 17.0), (40.0, 40.0)])
@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_vacuum_of_a_slab_is_extended_but_never_cut(third: float, expected: float, tilt: float) -> None:
    cell = from_ase(slab_atoms(2, third, tilt)).cell[0].numpy()
    assert np.linalg.norm(cell[2]) == pytest.approx(expected)


def test_vacuum_of_a_wide_slab_follows_the_widest_lateral_spacing() -> None:
    # Rows 30 A apart, in a cell whose first vector is longer than any spacing: the skewed vector must not mislead.
    cell = np.array([[4.0, 0, 0], [4.0 * 5, 30.0, 0], [0, 0, 0]])
    height = np.linalg.norm(slab_cell(np.zeros((1, 3)), cell, np.array([True, True, False]))[2])
    assert height == pytest.approx(VACUUM_RATIO * 30.0)


def test_slabs_in_a_batch_and_on_the_way() -> None:
    slab, molecule_ = from_ase(slab_atoms(2)), from_ase(molecule("H2O"))
    assert molecule_.slab is None
    assert concatenate([molecule_, molecule_]).slab is None
    assert concatenate([molecule_, slab, molecule_]).slab.tolist() == [False, True, False]
    assert slab.to(dtype=torch.float32).slab.tolist() == [True]


def test_charged_slab_is_refused() -> None:
    atoms = slab_atoms(2)
    atoms.info["charge"] = 1.0
    with pytest.raises(StructureError, match=r"charge of a slab: got 1 e, wanted 0"):
        from_ase(atoms)
