"""Phonons as files: tables, and what phonopy's own command line reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from spectra_app.born.export import format_phonopy_born
from spectra_app.born.symmetry import find_symmetry
from spectra_app.files import atomic_path
from spectra_app.harmonic.phonons import Phonons


def bands_csv(phonons: Phonons) -> str:
    """One line per point of the path: segment, distance along the path, frequencies of all bands."""
    stream = io.StringIO()
    names = ", ".join(f"{name} at {place:.6f}" for name, place in phonons.labels)
    stream.write(f"# phonons along {phonons.path}, supercell {' '.join(map(str, phonons.supercell))}: {names}\n")
    writer = csv.writer(stream, lineterminator="\n")
    n_bands = phonons.bands_per_cm[0].shape[1]
    writer.writerow(["segment", "distance_per_A", *(f"band_{band + 1}_per_cm" for band in range(n_bands))])
    for segment, (places, bands) in enumerate(zip(phonons.distances, phonons.bands_per_cm, strict=True)):
        for place, row in zip(places, bands, strict=True):
            writer.writerow([segment + 1, f"{place:.8g}", *(f"{value:.8g}" for value in row)])
    return stream.getvalue()


def dos_csv(phonons: Phonons) -> str:
    """Density of states of a cell; its integral is the number of modes."""
    lines = ["wavenumber_per_cm,states_per_cm"]
    lines += [f"{x:.8g},{y:.8g}" for x, y in phonons.dos_per_cm]
    return "\n".join(lines) + "\n"


def write_phonopy(phonons: Phonons, folder: Path) -> list[Path]:
    """``phonopy_params.yaml`` (cell, force constants, non-analytic term) and BORN: ``phonopy-load`` reads them.

    Args:
        phonons: with or without the non-analytic term.
        folder: of the files.
    """
    made = phonons.phonopy
    target = folder / "phonopy_params.yaml"
    with atomic_path(target) as temporary:
        made.save(filename=str(temporary), settings={"force_constants": True})
    files = [target]
    if made.nac_params is not None:
        cell = made.primitive
        symmetry = find_symmetry(cell.positions, cell.numbers, cell.cell)
        text = format_phonopy_born(made.nac_params["born"], made.nac_params["dielectric"], symmetry)
        with atomic_path(folder / "BORN") as temporary:
            temporary.write_text(text, encoding="utf-8")
        files.append(folder / "BORN")
    return files
