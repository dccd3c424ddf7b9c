"""One run, one spectrum: from Python, from a recipe and from the command, at any length, with any boundaries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write

from spectra_app import arrays, infrared_spectrum, read_run, run_recipe, run_spectrum
from spectra_app.cli.main import main
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError, SpectraAppError
from spectra_app.jobs.policy import bound_dipole_of
from spectra_app.jobs.spectrum import KINDS
from spectra_app.runs import Run
from spectra_app.spectra import EstimatorSettings, Spectrum, SpectrumWarning
from tests.cli.conftest import Outcome, write_tiny_model
from tests.runs.synthetic import write_run

EXACT = 1e-12
FRAMES = 900
SETTINGS = {"resolution_per_cm": 100.0}
CASES: dict[str, dict[str, Any]] = {
    "cell": {},
    "replicas": {"n_replicas": 3},
    "npt": {"npt": True, "n_replicas": 2},
    "field": {"field": True},
    "molecule": {"boundary": "open"},
    "slab": {"boundary": "slab"},
}
pytestmark = pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "tiny"
    write_tiny_model(folder, "puiu")
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs ``spectra-app`` in this process."""

    def call(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call


def overrides_of(case: str, kind: str) -> dict[str, float]:
    return {"volume_A3": 262.1} if case == "slab" and kind == "ir" else {}


def kinds_of(case: str) -> list[str]:
    return [kind for kind in KINDS if kind != "dielectric" or case not in ("molecule", "slab")]


def table(spectrum: Spectrum) -> dict[str, np.ndarray]:
    return {name: np.asarray(column.values) for name, column in spectrum.columns().items()}


def written(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    shared = set(first) & set(second)
    assert {"wavenumber_per_cm"} < shared
    assert len(shared) == len(first)
    for name in shared:
        np.testing.assert_allclose(first[name], second[name], rtol=EXACT, atol=0, err_msg=name)


def recipe_of(folder: Path, model: Path, case: str, tasks: list[str], **spectra: float) -> tuple[Path, Callable]:
    """A recipe whose dynamics gives a synthetic run, and that dynamics."""
    options = CASES[case]
    boundary = options.get("boundary", "periodic")
    atoms = Atoms("OH2OH2", np.arange(18.0).reshape(6, 3), cell=[6.0, 6.5, 7.0], pbc=boundary == "periodic")
    atoms.pbc = [boundary != "open", boundary != "open", boundary == "periodic"]
    write(folder / "start.extxyz", atoms)
    content = {
        "model": str(model),
        "structure": str(folder / "start.extxyz"),
        "output": str(folder / "results"),
        "spectra": {**SETTINGS, **spectra},
        "tasks": tasks,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))

    def dynamics(model: str, atoms: Atoms, settings: object, output: Path, **_: object) -> None:
        write_run(output, FRAMES, **options)

    return folder / "recipe.yaml", dynamics


@pytest.mark.parametrize("case", CASES)
def test_python_recipe_and_command_give_the_same_numbers(
    case: str, tmp_path: Path, model_folder: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for drawing in ("save_figure", "figure_overview", "add_table", "outputs.figure_of"):  # most of the time, no numbers
        monkeypatch.setattr(f"spectra_app.plotting.{drawing}", lambda *_, **__: ())
    path = write_run(tmp_path / "run.h5", FRAMES, **CASES[case])
    python = {kind: run_spectrum(path, kind, **SETTINGS, **overrides_of(case, kind)) for kind in kinds_of(case)}  # type: ignore[arg-type]
    for kind, spectrum in python.items():
        assert_same(table(run_spectrum(read_run(path), kind, **SETTINGS, **overrides_of(case, kind))), table(spectrum))  # type: ignore[arg-type]
        words = [f"-s{name}={value}" for name, value in overrides_of(case, kind).items()]
        outcome = cli(kind, path, "--resolution-per-cm", 100, *words, "-o", tmp_path / f"{kind}.h5")
        assert outcome.code == 0, outcome.err
        assert_same(table(spectrum), written(tmp_path / f"{kind}.h5"))
    recipe, dynamics = recipe_of(tmp_path, model_folder, case, kinds_of(case), **overrides_of(case, "ir"))
    result = run_recipe(recipe, dynamics=dynamics)
    for kind, spectrum in python.items():
        assert_same(table(result.spectra[kind]), table(spectrum))
        assert_same(table(spectrum), written(tmp_path / "results" / f"{kind}.h5"))
    if case not in ("npt", "slab"):
        return
    monkeypatch.setattr("spectra_app.cli.md_command.simulate", dynamics)
    outcome = cli("run", recipe, "-s", f"output={tmp_path / 'again'}")
    assert outcome.code == 0, outcome.err
    for kind, spectrum in python.items():
        assert_same(table(spectrum), written(tmp_path / "again" / f"{kind}.h5"))


@pytest.mark.parametrize("case", CASES)
def test_length_does_not_matter(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(tmp_path / "run.h5", FRAMES, **CASES[case])
    kinds = kinds_of(case)
    whole = {kind: table(run_spectrum(path, kind, **SETTINGS, **overrides_of(case, kind))) for kind in kinds}  # type: ignore[arg-type]
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 5000)  # a dipole of 208 frames, a polarizability of 69
    for kind in kinds:
        blocks = run_spectrum(path, kind, **SETTINGS, **overrides_of(case, kind))  # type: ignore[arg-type]
        # Means of temperature and volume are summed in another order.
        for name, values in table(blocks).items():
            np.testing.assert_allclose(values, whole[kind][name], rtol=1e-10, atol=1e-300, err_msg=name)


def test_a_run_of_600000_frames_is_read_like_a_short_one(tmp_path: Path, cli: Callable) -> None:
    short = write_run(tmp_path / "short.h5", 1000, boundary="slab", polarizability=False)
    long = write_run(tmp_path / "long.h5", 600_000, boundary="slab", polarizability=False, velocities=False, field=True)
    refusals = []
    for path in (short, long):
        outcome = cli("ir", path, "-o", tmp_path / "ir.h5")
        assert outcome.code == 6
        refusals.append(outcome.err.replace(path.name, "RUN"))
        with pytest.raises(SeriesError, match="volume_A3"):
            run_spectrum(path, "ir")
    assert refusals[0] == refusals[1]
    with pytest.warns(SpectrumWarning, match="static external field"):
        spectrum = run_spectrum(long, "ir", volume_A3=262.1, resolution_per_cm=100.0)
    assert "eps_real" not in spectrum.columns()  # eps_inf is not the medium around a slab
    words = ["--volume-A3", 262.1, "--resolution-per-cm", 100, "-o", tmp_path / "ir.h5", "--json"]
    assert "static external field" in cli("ir", long, *words).out
    assert_same(table(spectrum), written(tmp_path / "ir.h5"))
    with h5py.File(long) as file:
        dipole, kelvin = file["observables/dipole/value"][()], file["observables/temperature/value"][()]
    by_hand = infrared_spectrum(
        dipole,
        timestep_fs=1.0,
        temperature_K=kelvin.mean(),
        volume_A3=262.1,
        integration_timestep_fs=0.5,
        settings=EstimatorSettings(resolution_per_cm=100.0),
    )
    np.testing.assert_allclose(spectrum.alpha_n_per_cm, by_hand.alpha_n_per_cm, rtol=1e-10)  # type: ignore[attr-defined]


def test_ten_frames_are_refused_everywhere(tmp_path: Path, cli: Callable) -> None:
    path = write_run(tmp_path / "run.h5", 10)
    for kind in KINDS:
        with pytest.raises(SeriesError, match=r"length of the series|frames") as refusal:
            run_spectrum(path, kind)
        outcome = cli(kind, path, "-o", tmp_path / "out.csv")
        assert outcome.code == 6
        assert str(refusal.value) in outcome.err


def test_a_slab_is_never_a_molecule(tmp_path: Path, model_folder: Path, cli: Callable) -> None:
    path = write_run(tmp_path / "run.h5", 400, boundary="slab")
    run = read_run(path)
    with pytest.raises(SeriesError, match=r"got a slab.* wanted area times thickness .*volume_A3"):
        run_spectrum(run, "ir")
    with pytest.raises(SeriesError, match=r"volume_A3: got none, with the dipole of a slab"):
        infrared_spectrum(run.dipole_eA, timestep_fs=1.0, temperature_K=300.0, volume_A3=run.volume_A3)
    with pytest.raises(SeriesError, match="periodic in three directions"):
        run_spectrum(run, "dielectric", volume_A3=262.1)
    recipe, dynamics = recipe_of(tmp_path, model_folder, "slab", ["ir"])
    with pytest.raises(ConfigError, match=r"spectra.volume_A3 for the infrared spectrum of a slab"):
        run_recipe(recipe, dynamics=dynamics)
    with pytest.raises(ConfigError, match="dielectric for a slab"):
        run_recipe(recipe, overrides=["tasks=[dielectric]"], dynamics=dynamics)
    assert not (tmp_path / "results").exists()
    assert cli("ir", path, "-o", tmp_path / "ir.csv").code == 6


def test_dielectric_of_a_molecule_is_refused_before_the_dynamics(tmp_path: Path, model_folder: Path) -> None:
    recipe, dynamics = recipe_of(tmp_path, model_folder, "molecule", ["dielectric"])
    with pytest.raises(ConfigError, match="dielectric for an isolated molecule"):
        run_recipe(recipe, dynamics=dynamics)
    assert not (tmp_path / "results").exists()


def test_what_a_run_says_and_what_the_settings_say_instead(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run.h5", 600, npt=True, n_replicas=2))
    spectrum = run_spectrum(run, "ir", **SETTINGS)
    with h5py.File(run.path) as file:
        volume, kelvin = (file[f"observables/{name}/value"][()].mean() for name in ("volume", "temperature"))
    assert spectrum.parameters["volume_A3"] == pytest.approx(volume, rel=EXACT)
    assert volume != pytest.approx(6.0 * 6.5 * 7.0, rel=1e-6)  # not that of the first cell
    assert spectrum.parameters["temperature_K"] == pytest.approx(kelvin, rel=EXACT)
    assert spectrum.parameters["eps_inf"] == 1.78
    assert spectrum.parameters["timestep_fs"] == 1.0  # between frames; the integrator's is half of it
    assert run.integration_timestep_fs == 0.5
    other = run_spectrum(run, "ir", temperature_K=150.0, volume_A3=100.0, eps_inf=2.0, n_molecules=2, **SETTINGS)
    scale = (kelvin / 150.0) * (volume / 100.0)
    np.testing.assert_allclose(other.alpha_n_per_cm, spectrum.alpha_n_per_cm * scale, rtol=1e-10)  # type: ignore[attr-defined]
    assert other.parameters["eps_inf"] == 2.0
    assert "molar_absorptivity" in other.columns()
    assert run_spectrum(run, "dielectric", volume_A3=100.0, **SETTINGS).parameters["volume_A3"] == 100.0
    assert spectrum.parameters["resolution_per_cm"] == SETTINGS["resolution_per_cm"]


def test_a_tensor_eps_inf_is_the_same_in_python_recipe_and_command(tmp_path: Path, cli: Callable) -> None:
    path, tensor = write_run(tmp_path / "run.h5", 600), [2.36, 2.36, 2.39, 0.0, 0.0, 0.01]
    matrix = [[2.36, 0.01, 0.0], [0.01, 2.36, 0.0], [0.0, 0.0, 2.39]]
    run = read_run(path)
    by_hand = infrared_spectrum(
        run.dipole_eA,
        timestep_fs=1.0,
        temperature_K=float(np.mean(run.temperature_K)),
        volume_A3=float(np.mean(run.volume_A3)),
        eps_inf=matrix,
        polarizations="principal",
        integration_timestep_fs=0.5,
        settings=EstimatorSettings(resolution_per_cm=100.0),
    )
    recipe = SpectraSettings(resolution_per_cm=100.0, eps_inf=tensor, polarizations="principal")
    spectrum = run_spectrum(run, "ir", recipe)
    assert list(spectrum.polarizations) == ["1", "2", "3"]  # type: ignore[attr-defined]
    assert_same(table(spectrum), table(by_hand))
    words = ["--eps-inf", "2.36,2.36,2.39,0,0,0.01", "--polarizations", "principal", "--resolution-per-cm", 100]
    outputs = [word for suffix in ("h5", "csv", "jdx", "png") for word in ("-o", tmp_path / f"ir.{suffix}")]
    assert cli("ir", path, *words, *outputs).code == 0
    assert_same(table(spectrum), written(tmp_path / "ir.h5"))
    dielectric = run_spectrum(run, "dielectric", recipe)
    assert (
        cli("dielectric", path, *words[:2], *words[4:], "-o", tmp_path / "eps.h5", "-o", tmp_path / "eps.png").code == 0
    )
    assert_same(table(dielectric), written(tmp_path / "eps.h5"))
    for wrong in ("0.5", "2,2", "2,2,0.9", "two"):
        refusal = cli("ir", path, "--eps-inf", wrong, "-o", tmp_path / "no.csv")
        assert (refusal.code, "eps_inf" in refusal.err) == (2, True)


def test_a_run_at_an_unknown_temperature_takes_its_target(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run.h5", 300, temperature_K=np.nan))
    assert run_spectrum(run, "ir", **SETTINGS).parameters["temperature_K"] == 310.0
    run.metadata["temperature_K"] = None
    with pytest.raises(SeriesError, match="temperature of"):
        run_spectrum(run, "ir", **SETTINGS)
    # A density of states needs none.
    assert run_spectrum(run, "vdos", **SETTINGS).wavenumber_per_cm.size


def test_a_molecule_has_an_intensity_whatever_its_model_says_of_a_medium(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run.h5", 600, boundary="open"))
    spectrum = run_spectrum(run, "ir", n_molecules=3, **SETTINGS)
    assert set(spectrum.columns()) == {"wavenumber_per_cm", "intensity_km_per_mol", "intensity_km_per_mol_error"}
    assert run.eps_inf == 1.78


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "uv"}, r"kind of spectrum: got 'uv', wanted ir, raman, vdos, dielectric"),
        ({"kind": "ir", "resolution": 10}, r"spectra: resolution: got unknown key. Did you mean 'resolution_per_cm'"),
        ({"kind": "ir", "resolution_per_cm": -1}, r"resolution_per_cm: got -1, wanted .*greater than 0"),
    ],
)
def test_unknown_words_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    path = write_run(tmp_path / "run.h5", 100)
    with pytest.raises(ConfigError, match=message):
        run_spectrum(path, **arguments)


def test_a_run_that_is_replaced_meanwhile_is_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1000)
    run = read_run(write_run(tmp_path / "run.h5", 300))
    write_run(tmp_path / "run.h5", 300, seed=5)
    with pytest.raises(SpectraAppError, match=r"got another run than when it was opened.*Read it again"):
        run_spectrum(run, "ir")


def test_whole_neutral_molecules_of_known_charges_carry_nothing_through_the_cell(tmp_path: Path) -> None:
    """What a short run cannot tell from its dipole, which wanders."""
    waters = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0], [0, -2.8, 0], [0.76, -3.39, 0], [-0.76, -3.39, 0]])

    def run_with(name: str, last: np.ndarray, **metadata: object) -> Run:
        path = write_run(tmp_path / name, 40, **metadata)
        with h5py.File(path, "r+") as file:
            positions = next(file[f"particles/{group}/position/value"] for group in file["particles"])
            positions[:] = waters
            positions[-1] = last
        return read_run(path)

    states = {"H": 1, "O": -2}
    wandered, cut, handed_over = waters.copy(), waters.copy(), waters.copy()
    wandered[3:] += [6.0 * 11, 0.0, 0.0]
    cut[3] += [6.0, 0.0, 0.0]
    handed_over[2] = waters[3] + [0.0, 0.95, 0.0]  # a hydroxide and a hydronium
    bound = {"mobile_ions": False, "origin_eA": pytest.approx([0.0, 0.0, 0.0])}
    assert bound_dipole_of(run_with("whole.h5", waters, oxidation_states=states)) == bound
    assert bound_dipole_of(run_with("wandered.h5", wandered, oxidation_states=states)) == bound
    assert bound_dipole_of(run_with("cut.h5", cut, oxidation_states=states)) == {"mobile_ions": False}
    assert bound_dipole_of(run_with("handed.h5", handed_over, oxidation_states=states)) == {}
    assert bound_dipole_of(run_with("unknown.h5", waters)) == {}
    assert bound_dipole_of(run_with("other.h5", waters, oxidation_states={"H": 1, "O": -1})) == {}
