"""Dipole models of mace-torch through its own calculator: a spectrum in one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write

from spectra_app import born_charges, load_model, read_run
from spectra_app.couplings.calculator_spec import parse_calculator_spec
from spectra_app.units import DEBYE_TO_E_ANGSTROM
from tests.springs_calculator import Springs

pytestmark = [
    pytest.mark.mace,
    pytest.mark.skipif(find_spec("mace") is None, reason="needs mace-torch: run make test-mace"),
    pytest.mark.filterwarnings("ignore"),  # of the library and of what it imports
]

BOND = Springs(("dipole", "polarizability"), charge_e=0.35, second=0.02)  # the truth that the models learn
TRAINING_STEPS = 120
ENERGY = "ase:tests.springs_calculator:Springs(())"
STRETCH_PER_CM = 521.4709 * (30.0 * (1.0 / 1.008 + 1.0 / 15.999)) ** 0.5  # sqrt(k/mu) of its bond


def bond(length_A: float = 1.0, along: tuple[float, float, float] = (0.3, -0.5, 0.8)) -> Atoms:
    """An O-H pair."""
    direction = np.array(along) / np.linalg.norm(along)
    return Atoms("OH", [np.zeros(3), length_A * direction])


def small_model(kind: str) -> Any:
    """A small model of the library with random weights, in float64 (set by the caller)."""
    from mace import modules  # before e3nn, whose own tables it makes readable

    from e3nn import o3  # isort: skip

    dielectric = kind == "AtomicDielectricMACE"
    features = "4x0e + 4x1o + 4x2e" if dielectric else "4x0e + 4x1o"
    energies = np.array([-1.0, -2.0]) if kind == "EnergyDipolesMACE" else None
    torch.manual_seed(1)
    return getattr(modules, kind)(
        r_max=2.5,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps(features),
        MLP_irreps=o3.Irreps(features if dielectric else "4x0e"),
        avg_num_neighbors=1.0,
        atomic_numbers=[1, 8],
        correlation=1,
        gate=torch.nn.functional.silu,
        atomic_energies=energies,
        **({"use_polarizability": True} if dielectric else {}),
    )


def train(model: Any, dielectric: bool) -> None:
    """Teach a model the bond's dipole, debye (e A of a dielectric one), and polarizability."""
    from mace import data, tools
    from mace.tools import torch_geometric

    rng = np.random.default_rng(0)
    frames = [bond(length, tuple(rng.normal(size=3))) for length in np.linspace(0.85, 1.15, 12)]
    table = tools.AtomicNumberTable([1, 8])
    graphs = [data.AtomicData.from_config(data.config_from_atoms(one), z_table=table, cutoff=2.5) for one in frames]
    batch = torch_geometric.Batch.from_data_list(graphs).to_dict()
    truth = [BOND.values(frame.positions, None) for frame in frames]
    unit = 1.0 if dielectric else DEBYE_TO_E_ANGSTROM
    dipoles = torch.tensor(np.array([one["dipole"] / unit for one in truth]))
    alphas = torch.tensor(np.array([one["polarizability"] for one in truth]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(TRAINING_STEPS):
        optimizer.param_groups[0]["lr"] = 0.03 * (1.0 - step / (TRAINING_STEPS + 5))
        optimizer.zero_grad()
        out = model(batch, training=True)
        loss = ((out["dipole"] - dipoles) / dipoles.std()).square().mean()
        if dielectric:
            loss = loss + ((out["polarizability"] - alphas) / alphas.std()).square().mean()
        loss.backward()
        optimizer.step()


def saved(folder: Path, kind: str) -> Path:
    """A model as ``mace_run_train`` saves it; one of dipoles is trained before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = small_model(kind)
        if kind != "EnergyDipolesMACE":
            train(model, kind == "AtomicDielectricMACE")
    finally:
        torch.set_default_dtype(before)
    path = folder / f"{kind}.model"
    torch.save(model.eval(), path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Specifications of trained models."""
    folder = tmp_path_factory.mktemp("mace")
    types = {
        "AtomicDipolesMACE": "DipoleMACE",
        "AtomicDielectricMACE": "DipolePolarizabilityMACE",
        "EnergyDipolesMACE": "EnergyDipoleMACE",
    }
    return {
        kind: f"ase:mace.calculators:MACECalculator(model_paths='{saved(folder, kind)}', model_type='{name}', "
        "device='cpu', default_dtype='float64')"
        for kind, name in types.items()
    }


def recipe(folder: Path, tasks: list[str]) -> Path:
    """A run of one bond."""
    write(folder / "bond.extxyz", bond())
    content = {
        "model": ENERGY,
        "structure": str(folder / "bond.extxyz"),
        "output": str(folder / "results"),
        "md": {"ensemble": "nve", "equilibration_steps": 0, "steps": 300, "temperature_K": 150.0, "timestep_fs": 1.0},
        "spectra": {"resolution_per_cm": 300},
        "tasks": tasks,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


def top(path: Path, column: str) -> float:
    """Wavenumber of the highest point above 1500 cm^-1."""
    with h5py.File(path) as file:
        wavenumber, values = file["wavenumber_per_cm"][()], file[column][()]
    stretching = wavenumber > 1500
    return float(wavenumber[stretching][np.argmax(values[stretching])])


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for drawing in ("save_figure", "figure_overview", "outputs.figure_of"):
        monkeypatch.setattr(f"spectra_app.plotting.{drawing}", lambda *_, **__: ())


def test_infrared_of_atomic_dipoles_in_one_command(
    models: dict[str, str], tmp_path: Path, cli: Callable[..., Any], no_figures: None
) -> None:
    spec, path = models["AtomicDipolesMACE"], recipe(tmp_path, ["ir"])
    refused = cli("run", path, "--response", spec)
    assert refused.code == 2
    assert "AtomicDipolesMACE.model: got a pickle of Python objects" in refused.err
    assert "Give --trust-checkpoint" in refused.err
    outcome = cli("run", path, "--response", spec, "--trust-checkpoint", "--json")
    assert outcome.code == 0, outcome.err
    assert "imported mace.calculators (mace " in outcome.err
    assert "MACECalculator: dipoles are taken to be in D" in outcome.err
    run = read_run(tmp_path / "results" / "run.h5")
    assert run.polarizability_e2A2_per_eV is None
    truth = [BOND.values(positions[0], None)["dipole"] for positions in np.asarray(run.stored_positions_A)]
    stride = run.metadata["trajectory_stride"]
    np.testing.assert_allclose(run.dipole_eA[::stride, 0], truth, atol=0.02)
    assert top(tmp_path / "results" / "ir.h5", _column(outcome, "ir")) == pytest.approx(STRETCH_PER_CM, abs=40.0)
    assert run.metadata["calculators"]["response"]["version"]


def test_infrared_and_raman_of_a_dielectric_model_in_one_command(
    models: dict[str, str], tmp_path: Path, cli: Callable[..., Any], no_figures: None
) -> None:
    spec, path = models["AtomicDielectricMACE"], recipe(tmp_path, ["ir", "raman", "born"])
    outcome = cli("run", path, "--response", spec, "--trust-checkpoint", "--json")
    assert outcome.code == 0, outcome.err
    run = read_run(tmp_path / "results" / "run.h5")
    positions, stride = np.asarray(run.stored_positions_A), run.metadata["trajectory_stride"]
    truth = [BOND.values(one[0], None) for one in positions]
    assert run.polarizability_e2A2_per_eV is not None
    np.testing.assert_allclose(run.dipole_eA[::stride, 0], [one["dipole"] for one in truth], atol=0.02)
    alphas = np.array([one["polarizability"] for one in truth])
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV[::stride, 0], alphas, atol=0.01)
    for kind in ("ir", "raman"):
        found = top(tmp_path / "results" / f"{kind}.h5", _column(outcome, kind))
        assert found == pytest.approx(STRETCH_PER_CM, abs=40.0)


def _column(outcome: Any, kind: str) -> str:
    """Name of the main column of a spectrum."""
    return next(str(one["column"]) for one in json.loads(outcome.out)["spectra"] if one["name"] == kind)


def test_a_periodic_cell_needs_your_word_and_is_followed_then(models: dict[str, str], tmp_path: Path) -> None:
    from spectra_app import Simulation
    from spectra_app.config import MDSettings
    from spectra_app.errors import ModelError

    atoms = bond()
    atoms.cell, atoms.pbc = [5.0, 5.5, 6.0], True
    settings = MDSettings(ensemble="nve", steps=40, equilibration_steps=0, timestep_fs=0.5, trajectory_stride=1)
    spec = models["AtomicDielectricMACE"]
    unsaid = load_model(ENERGY, response=spec, trust=True)
    with pytest.raises(ModelError, match=r"MACECalculator for a periodic cell: got charges, dipole.*--periodic-dipole"):
        Simulation(unsaid, atoms, settings)
    said = load_model(ENERGY, response=spec, trust=True, periodic_dipole="cell")
    Simulation(said, atoms, settings, tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    truth = [BOND.values(positions[0], None)["dipole"] for positions in np.asarray(run.stored_positions_A)]
    np.testing.assert_allclose(run.dipole_eA[:, 0], truth, atol=0.02)


def test_born_charges_are_the_derivatives_of_the_library(models: dict[str, str]) -> None:
    model = load_model(models["AtomicDielectricMACE"], trust=True)
    report = born_charges(model, bond())
    calculator = model._energy.calculator  # type: ignore[attr-defined]
    slopes = calculator.get_dielectric_derivatives(bond())[0]
    np.testing.assert_allclose(report.born_e, np.moveaxis(np.asarray(slopes).reshape(3, 2, 3), 0, 1), atol=5e-4)


def test_a_trajectory_takes_energy_and_dipole_of_one_model_or_the_dipole_alone(
    models: dict[str, str], tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mace.calculators import MACECalculator

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as MACE wants it to open a model of its own
    write(tmp_path / "way.extxyz", [bond(length) for length in (0.95, 1.0, 1.05)])
    for kind in ("EnergyDipolesMACE", "AtomicDipolesMACE"):  # names of results leak from one calculator to the next
        words = ["-m", models[kind], "--trust-checkpoint", "--timestep-fs", 1, "-o", tmp_path / f"{kind}.h5"]
        outcome = cli("record", tmp_path / "way.extxyz", *words)
        assert outcome.code == 0, outcome.err
        path = parse_calculator_spec(models[kind]).keywords
        calculator, run = MACECalculator(**path), read_run(tmp_path / f"{kind}.h5")
        for frame, positions in enumerate(np.asarray(run.stored_positions_A)):
            calculator.calculate(Atoms("OH", positions[0]))
            dipole = calculator.results["dipole"] * DEBYE_TO_E_ANGSTROM
            np.testing.assert_allclose(run.dipole_eA[frame, 0], dipole, atol=1e-10)
            if kind == "EnergyDipolesMACE":
                np.testing.assert_allclose(run.energy_eV[frame, 0], calculator.results["energy"], rtol=1e-10)
        assert np.isnan(run.energy_eV).all() == (kind == "AtomicDipolesMACE")


def test_a_polar_model_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from spectra_app.errors import ModelError

    # PolarMACE needs graph_electrostatics, which no package index has; MACE-POLAR-1 is downloaded by the library.
    monkeypatch.setattr(
        "mace.calculators.foundations_models.download_mace_polar_checkpoint", _no_network, raising=False
    )
    with pytest.raises(ModelError, match=r"mace_polar.*got RuntimeError") as caught:
        load_model("ase:mace.calculators:mace_polar('polar-1-m', device='cpu')")
    assert "\n" not in str(caught.value)


def _no_network(*_: Any, **__: Any) -> str:
    raise RuntimeError("Model download failed and no local model found")
