"""``spectra-app train``: learn a potential from energies and forces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import interruptible, print_json, progress_bar, say, warn
from spectra_app.config import TrainFile, load_settings


def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the sections 'model:' and 'training:'")],
    resume: Annotated[bool, typer.Option("--resume", help="continue from the checkpoint in the output folder")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder of the model (training.output)")] = None,
    device: Annotated[str | None, typer.Option("--device", help="torch device (training.device)")] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", help="wall time, minutes (training.max_minutes)")
    ] = None,
    trust_checkpoint: Annotated[
        bool,
        typer.Option("--trust-checkpoint", help="load a training.init_from that is a pickle and may run any code"),
    ] = False,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Train a potential on energies and forces.

    The model, its history and a checkpoint appear in the output folder; --resume continues after Ctrl-C.
    """
    named = {"output": output, "device": device, "max_minutes": max_minutes}
    words = [f"training.{key}={value}" for key, value in named.items() if value is not None]
    settings = load_settings(TrainFile, config, [*(overrides or ()), *words])
    from spectra_app.training.resume import EpochRecord
    from spectra_app.training.trainer import train as train_model

    with interruptible(f"Continue with: {options.continue_command('--resume')}"), progress_bar("training") as bar:

        def show(record: EpochRecord, fraction: float) -> None:
            note = f"epoch {record.epoch}  validation {record.valid_forces_rmse_meV_per_A:.1f} meV/A"
            bar.update(fraction, 1.0, note)

        result = train_model(settings, resume=resume, progress=show, trust_checkpoint=trust_checkpoint)
    from spectra_app.plotting import figure_training_history, read_history, save_figure

    save_figure(figure_training_history(read_history(result.output / "history.csv")), result.output / "history.png")
    best = next(record for record in result.history if record.epoch == result.best_epoch)
    if json:
        need = None if result.evidence is None else result.evidence.need
        facts = {"output": result.output, "stopped": result.stopped, "best": best._asdict(), "charge_need": need}
        print_json(facts)
        return
    print(f"Training ended: {result.stopped}; best epoch {result.best_epoch} of {len(result.history)}")
    print(
        f"Validation: forces {best.valid_forces_rmse_meV_per_A:.1f} meV/A, "
        f"energy {best.valid_energy_rmse_meV_per_atom:.2f} meV/atom"
    )
    if result.evidence is not None:
        (say if result.evidence.learned else warn)(result.evidence.sentence)
    print(f"Model: {result.output}   (spectra-app evaluate DATA -m {result.output})")
