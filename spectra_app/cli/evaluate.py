"""``spectra-app evaluate``: errors of a model on labelled structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import progress_bar, say, to_json, warn
from spectra_app.cli.describe import say_extrapolation
from spectra_app.errors import DatasetError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.jobs.extrapolation import ExtrapolationReport
    from spectra_app.potentials.potential import Potential
    from spectra_app.potentials.prediction import Prediction
    from spectra_app.training.evidence import ChargeEvidence


def evaluate(
    data: Annotated[Path, typer.Argument(help="extended XYZ with energy, forces and further labels")],
    model: options.ModelName,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="also write the numbers here and print them as JSON")
    ] = None,
    check_charges: Annotated[
        bool,
        typer.Option(
            "--check-charges",
            help="see whether the forces of DATA need the model's charges: its network tries to do without (minutes)",
        ),
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
) -> None:
    """Errors of a model on labelled structures.

    Energy, forces, stress; dipole, Born charges and polarizability wherever DATA has such labels.
    """
    if not data.is_file():
        raise DatasetError(f"data file {data}", got="no such file", wanted="an extended-XYZ file")
    from spectra_app.jobs.extrapolation import combined, report_of_structure
    from spectra_app.potentials.folder import load_model
    from spectra_app.training.evaluation import evaluate_file

    say(f"evaluating {data} ...")
    potential = load_model(model, device=device, dtype=options.float_type(dtype))
    seen: list[ExtrapolationReport] = []

    def watch(structure: Atoms, prediction: Prediction) -> None:
        if prediction.extrapolation is not None:
            seen.append(report_of_structure(prediction.extrapolation, structure.numbers, potential))

    metrics = evaluate_file(potential, data, watch=watch)
    outside = combined(seen)
    if outside is not None:
        metrics |= {"extrapolation_max": outside.largest, "extrapolation_share": outside.share}
    say_extrapolation(outside, model)
    evidence = evidence_of(potential, data, model, check_charges)
    if evidence is not None:
        metrics["charge_need"] = evidence.need
        (say if evidence.learned else warn)(evidence.sentence)
    if json is not None:
        from spectra_app.born import write_text

        write_text(json, to_json(metrics))
        print(to_json(metrics))
        return
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.6g}" if isinstance(value, float) else f"{name:<{width}}  {value}")


def evidence_of(potential: Potential, data: Path, model: str, afresh: bool) -> ChargeEvidence | None:
    """Whether the data determine the charges of a model: measured on DATA, or what training found out.

    Args:
        potential: the model.
        data: labelled structures.
        model: its name or folder.
        afresh: measure.
    """
    from spectra_app.training.evaluation import check_charges, read_structures
    from spectra_app.training.evidence import MOST_STEPS, read_evidence
    from spectra_app.zoo import find_model

    if not afresh:
        return read_evidence(find_model(model))
    say("seeing whether the network can do without the charges ...")
    with progress_bar("learning without charges") as bar:
        evidence = check_charges(potential, read_structures(data), progress=lambda done: bar.update(done, MOST_STEPS))
    if evidence is None:
        warn("charges not checked: a model without electrostatics, or too few frames with forces")
    return evidence
