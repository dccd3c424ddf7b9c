"""Every file of a harmonic limit: tables, spectra, the relaxed structure, films of the modes, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.config import HarmonicSettings
from spectra_app.files import atomic_path
from spectra_app.jobs.harmonic_store import STORE_FILE

if TYPE_CHECKING:
    from spectra_app.harmonic.limit import HarmonicLimit


_DESCRIPTIONS = {
    "modes.csv": "every mode: frequency, symmetry, intensities",
    "lo_to.csv": "transverse and longitudinal frequencies",
    "ir.csv": "harmonic infrared spectrum",
    "ir.jdx": "the same, JCAMP-DX",
    "raman.csv": "harmonic Raman spectrum",
    "raman.jdx": "the same, JCAMP-DX",
    "modes.xyz": "the modes, for viewers",
    "modes.molden": "the modes, for viewers",
    "relaxed.extxyz": "the relaxed structure",
    "harmonic.txt": "report",
    "harmonic.json": "the report, for programs",
    "harmonic.png": "both spectra with their modes",
    "harmonic.pdf": "both spectra with their modes",
    "bands.csv": "phonons along the lattice's path",
    "dos.csv": "density of states of phonons",
    "phonons.png": "phonons, figure",
    "phonons.pdf": "phonons, figure",
    "phonopy_params.yaml": "force constants, for phonopy",
    "BORN": "Born charges, for phonopy",
    STORE_FILE: "second derivatives, kept for the next time",
}


def describe_file(path: Path) -> str:
    """What a file of a harmonic limit is, in a few words."""
    return _DESCRIPTIONS.get(path.name, "a mode that is no vibration, as a film")


def write_harmonic(limit: HarmonicLimit, folder: Path, settings: HarmonicSettings | None = None) -> list[Path]:
    """Every file of a harmonic limit: tables, spectra, the relaxed structure, films of the modes.

    Args:
        limit: from ``harmonic_limit``.
        folder: is made where it is missing.
        settings: those that it was made with.

    Returns:
        the files.
    """
    import ase.io

    from spectra_app.harmonic import animations, mode_tables
    from spectra_app.harmonic.phonon_files import bands_csv, dos_csv, write_phonopy

    geometries = (settings or HarmonicSettings()).geometries
    strengths = None if limit.infrared is None else limit.infrared.intensities_km_per_mol
    texts = {
        "modes.csv": mode_tables.modes_csv(limit, geometries),
        "harmonic.txt": mode_tables.format_limit(limit),
        "harmonic.json": json.dumps(mode_tables.limit_json(limit, geometries), indent=1),
        "modes.xyz": animations.modes_xyz(limit.atoms, limit.modes),
        "modes.molden": animations.modes_molden(limit.atoms, limit.modes, strengths),
    }
    if limit.splittings:
        texts["lo_to.csv"] = mode_tables.splittings_csv(limit)
    if limit.phonons is not None:
        texts |= {"bands.csv": bands_csv(limit.phonons), "dos.csv": dos_csv(limit.phonons)}
    for mode in limit.modes.imaginary:
        texts[f"imaginary_{mode + 1}.extxyz"] = animations.film_extxyz(limit.atoms, limit.modes, int(mode))
    files = []
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        files.append(folder / name)
    if limit.phonons is not None:
        files += write_phonopy(limit.phonons, folder)
    with atomic_path(folder / "relaxed.extxyz") as temporary:
        ase.io.write(temporary, limit.atoms, format="extxyz")
    files.append(folder / "relaxed.extxyz")
    for name, spectrum in (("ir", limit.infrared_spectrum), ("raman", limit.raman_spectrum)):
        if spectrum is not None:
            files += [spectrum.write(folder / f"{name}.{ending}") for ending in ("csv", "jdx")]
    return files
