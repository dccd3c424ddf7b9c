"""Training from energies and forces: schedule, moving average, early stopping, exact resume.

A checkpoint holds everything the next step depends on (weights, moving average, optimizer, order of frames, place in
the epoch), so a killed run continues bit for bit; with ``max_minutes`` the schedule follows the time, and a
resumed run continues it without repeating the steps exactly.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spectra_app.config import TrainFile
from spectra_app.errors import DatasetError, ModelError, StoppedError
from spectra_app.interrupts import Interrupts
from spectra_app.memory import keep_freed_blocks
from spectra_app.potentials.folder import choose_device, write_atomically
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.training.beginning import SHORT_RANGE, calibrate, center_initial_energy, initial_model, settle
from spectra_app.training.dataset import (
    LabelledFrame,
    Sample,
    batches,
    divided,
    make_samples,
    read_frames,
    species_of,
)
from spectra_app.training.evidence import ChargeEvidence
from spectra_app.training.loss import Errors, squared_errors, total_loss, weights_at
from spectra_app.training.optimizers import Muon, Shares, shared_groups
from spectra_app.training.publish import publish
from spectra_app.training.resume import CHECKPOINT_FILE, EpochRecord, RunState, restore_state, save_state
from spectra_app.training.sanity import check_units
from spectra_app.training.screening import approached, measure_scale

HISTORY_FILE = "history.csv"
RESPONSE_PARAMETERS = ("latent_head.alpha_", "latent_head.kappa")  # first parts of their names
SCALE_SHARE = 0.2  # of the way to a newly measured scale: jumps of ionic charges would be jumps of all energies
EMA_RAMP = 10  # the average starts with short memory: decay = min(ema, (1 + step) / (10 + step))


@dataclass(frozen=True)
class TrainingResult:
    """What training made.

    Attributes:
        model: the potential with the best averaged weights, sign fixed.
        output: its folder.
        history: one record per epoch.
        best_epoch: epoch of the weights kept.
        stopped: why training ended.
        test_frames: frames held out for the final evaluation.
        steps: optimizer steps taken.
        evidence: whether the data determine the charges; None where that was not measured.
    """

    model: Potential
    output: Path
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: str
    test_frames: tuple[LabelledFrame, ...]
    steps: int
    evidence: ChargeEvidence | None = None


def train(
    settings: TrainFile,
    resume: bool = False,
    progress: Callable[[EpochRecord, float], None] | None = None,
    trust_checkpoint: bool = False,
    stop_minutes: float | None = None,
) -> TrainingResult:
    """Train a potential and write its folder.

    Args:
        settings: model and training settings.
        resume: continue from the checkpoint in the output folder.
        progress: called after every epoch with its record and the fraction of the training done.
        trust_checkpoint: open a ``training.init_from`` that runs code of whoever made it.
        stop_minutes: wall time, min, after which it stops with a checkpoint; it changes no schedule.

    Returns:
        see ``TrainingResult``; ``output`` holds weights, model.yaml, training.yaml, history.csv.

    Raises:
        DatasetError: the data cannot be trained on.
        ConfigError, ModelError: what the training should begin with cannot be used (``beginning``).
        ModelError: ``resume`` without a checkpoint, or one of other settings.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint is written; ``resume`` continues.
    """
    keep_freed_blocks()
    t = settings.training
    frames = read_frames(t.data, t.keys)
    check_units(frames)
    parts = divided(frames, t)
    train_frames, valid_frames, test_frames = parts
    every = [frame for part in parts for frame in part]
    species = species_of(every)
    dtype = torch.float32 if t.dtype == "float32" else torch.float64
    device = choose_device(t.device)
    torch.manual_seed(t.seed)
    beginning = settle(settings, every, species, trust_checkpoint)
    settings = beginning.settings
    model = initial_model(beginning, train_frames).to(device, dtype)
    reference = model.reference_energies.cpu().numpy()
    sets = [
        make_samples(part, model.cutoff, species, reference, dtype, device) for part in (train_frames, valid_frames)
    ]
    if t.start is None:
        calibrate(model, sets[0])
    model.scale = _measured_scale(model, sets[1])
    center_initial_energy(model, train_frames, sets)
    t.output.mkdir(parents=True, exist_ok=True)
    run = _start(model, settings)
    checkpoint = t.output / CHECKPOINT_FILE
    if resume:
        restore_state(run, checkpoint, settings)
    elif checkpoint.exists():
        raise ModelError(
            f"output {t.output}",
            got="a checkpoint of an unfinished training",
            todo="Continue with --resume, or remove it",
        )
    with Interrupts(stop_minutes) as interrupts:
        stopped = _optimize(run, sets[0], sets[1], settings, checkpoint, interrupts, progress)
    run.average.load_state_dict(run.best_weights)
    run.average.scale = run.best_scale
    evidence = publish(run.average, settings, sets[0], sets[1], valid_frames, test_frames, run.best_epoch, run.step)
    checkpoint.unlink(missing_ok=True)
    return TrainingResult(
        run.average.eval(),
        t.output,
        tuple(run.history),
        run.best_epoch,
        stopped,
        tuple(test_frames),
        run.step,
        evidence,
    )


def _measured_scale(model: Potential, samples: list[Sample]) -> PhysicalScale:
    """Physical scale on the first samples: latent charges of ions are made with it."""
    return measure_scale(model, [(sample.system, sample.neighbors) for sample in samples])


def _start(model: Potential, settings: TrainFile) -> RunState:
    average = Potential(
        model.settings, model.species, model.reference_energies, float(model.energy_scale), model.eps_inf
    )
    average = average.to(model.device, model.dtype)  # before the weights come, which may be in float64
    average.load_state_dict(model.state_dict())
    average.scale = model.scale
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    t = settings.training
    shares: Shares = {SHORT_RANGE: t.short_range_share * model.backbone.rate}
    for name, parameter in model.named_parameters():
        if name.startswith(SHORT_RANGE) and t.short_range_share == 0.0:
            parameter.requires_grad_(False)
    optimizer: torch.optim.Optimizer
    if t.optimizer == "muon":
        optimizer = Muon(model, t.learning_rate, shares)
    else:
        optimizer = torch.optim.Adam(shared_groups(model, shares), lr=t.learning_rate, amsgrad=True)
    return RunState(model, average, optimizer, np.random.default_rng(t.seed))


def _optimize(
    run: RunState,
    train_set: list[Sample],
    valid_set: list[Sample],
    settings: TrainFile,
    checkpoint: Path,
    interrupts: Interrupts,
    progress: Callable[[EpochRecord, float], None] | None,
) -> str:
    """Epochs until the budget is spent or patience ends; returns why it stopped.

    Raises:
        KeyboardInterrupt: asked to stop between two steps; the checkpoint is written.
    """
    t = settings.training
    clock = time.monotonic if t.clock == "wall" else time.process_time
    started = clock() - run.seconds
    saved = time.monotonic()

    def fraction() -> float:
        by_epochs = (run.epoch + run.place / len(train_set)) / t.epochs
        return by_epochs if t.max_minutes is None else max(by_epochs, run.seconds / (60.0 * t.max_minutes))

    while fraction() < 1.0:
        if run.place == 0:
            run.order = [int(i) for i in run.rng.permutation(len(train_set))]
            run.train_sums = [0.0, 0.0, 0.0]
        while run.place < len(train_set) and fraction() < 1.0:
            part = run.order[run.place : run.place + t.batch_size]
            _step(run, next(batches(train_set, t.batch_size, part)), settings, fraction())
            run.place += len(part)
            run.seconds = clock() - started
            if interrupts.requested or time.monotonic() - saved > 60.0 * t.checkpoint_minutes:
                save_state(run, checkpoint, settings)
                saved = time.monotonic()
                if interrupts.resubmit:
                    what = f"training stopped in epoch {run.epoch + 1} ({interrupts.reason})"
                    raise StoppedError(
                        f"{what}, everything is saved in {t.output}",
                        resubmit=True,
                        todo="Continue with --resume",
                    )
                if interrupts.requested:
                    raise KeyboardInterrupt
        seen = run.place
        run.place = 0
        run.epoch += 1
        _finish_epoch(run, valid_set, settings, max(seen, 1), fraction())
        _write_history(run.history, t.output / HISTORY_FILE)
        if progress is not None:
            progress(run.history[-1], min(1.0, fraction()))
        if run.epoch - run.best_epoch >= t.patience:
            return f"no better validation loss in {t.patience} epochs"
    return "the budget of epochs or minutes was spent"


def _step(run: RunState, batch: Sample, settings: TrainFile, fraction: float) -> None:
    """One optimizer step and one step of the moving average."""
    t = settings.training
    weights = weights_at(t.loss, fraction)
    for group in run.optimizer.param_groups:
        group["lr"] = group["share"] * learning_rate_at(t.learning_rate, t.final_learning_rate, t.warmup, fraction)
    errors = squared_errors(run.model, batch, max(t.loss.stress) > 0, create_graph=True)
    loss = total_loss(errors, weights)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if fraction < t.response_start:
        _hold_responses(run.model)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), t.clip)
    run.step += 1
    if not math.isfinite(float(norm)):
        raise DatasetError(
            f"training step {run.step}",
            got="a gradient that is not finite",
            wanted="finite",
            todo="Lower learning_rate, or look for a damaged frame",
        )
    run.optimizer.step()
    decay = min(t.ema, (1.0 + run.step) / (EMA_RAMP + run.step))
    with torch.no_grad():
        ours: list[torch.Tensor] = list(run.average.parameters())
        theirs: list[torch.Tensor] = list(run.model.parameters())
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    n = batch.system.n_structures
    for place, value in enumerate((loss, errors.energy, errors.forces)):
        run.train_sums[place] += n * float(value.detach())


def _hold_responses(model: Potential) -> None:
    """Drop the gradients of alpha and kappa: they stay near their first values (docs/ablation.md says what for)."""
    for name, parameter in model.named_parameters():
        if name.startswith(RESPONSE_PARAMETERS):
            parameter.grad = None


def learning_rate_at(peak: float, final: float, warmup: float, fraction: float) -> float:
    """Linear rise to ``peak`` over ``warmup``, then a cosine to ``final``; ``fraction`` of the training done."""
    if fraction < warmup:
        return peak * (fraction + 1e-3) / (warmup + 1e-3)
    share = min(1.0, (fraction - warmup) / max(1.0 - warmup, 1e-12))
    return final + 0.5 * (peak - final) * (1.0 + math.cos(math.pi * share))


def mean_errors(model: Potential, samples: list[Sample], with_stress: bool, batch_size: int) -> Errors:
    """Mean squared errors of a set; see ``Errors``."""
    sums, n_structures, n_components = np.zeros(3), 0, 0
    for batch in batches(samples, batch_size):
        errors = squared_errors(model, batch, with_stress, create_graph=False)
        n, m = batch.system.n_structures, batch.forces.numel()
        sums += [
            n * float(errors.energy.detach()),
            m * float(errors.forces.detach()),
            n * float(errors.stress.detach()),
        ]
        n_structures, n_components = n_structures + n, n_components + m
    return Errors(*(torch.tensor(v) for v in (sums[0] / n_structures, sums[1] / n_components, sums[2] / n_structures)))


def _finish_epoch(run: RunState, valid_set: list[Sample], settings: TrainFile, seen: int, fraction: float) -> None:
    """Validate the averaged weights, keep the best, add a line to the history."""
    t = settings.training
    # The susceptibility changes as the model learns, and with it the latent charge of an ion: e/sqrt(eps_e).
    measured = _measured_scale(run.average, valid_set)
    run.average.scale = run.model.scale = approached(run.model.scale, measured, SCALE_SHARE)
    errors = mean_errors(run.average, valid_set, max(t.loss.stress) > 0, t.batch_size)
    # Always the final weights of the loss: the best epoch must not depend on the ramp.
    loss = float(total_loss(errors, weights_at(t.loss, 1.0)))
    n_atoms = np.mean([sum(s.system.sizes) for s in valid_set])
    if loss < run.best_loss:
        run.best_loss, run.best_epoch, run.best_scale = loss, run.epoch, run.average.scale
        run.best_weights = {name: tensor.detach().clone() for name, tensor in run.average.state_dict().items()}
    run.history.append(
        EpochRecord(
            epoch=run.epoch,
            seconds=run.seconds,
            learning_rate=learning_rate_at(t.learning_rate, t.final_learning_rate, t.warmup, fraction),
            train_loss=run.train_sums[0] / seen,
            train_forces_rmse_meV_per_A=1e3 * math.sqrt(run.train_sums[2] / seen),
            valid_loss=loss,
            valid_energy_rmse_meV_per_atom=1e3 * math.sqrt(float(errors.energy) / n_atoms),
            valid_forces_rmse_meV_per_A=1e3 * math.sqrt(float(errors.forces)),
        )
    )


def _write_history(history: list[EpochRecord], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(EpochRecord._fields)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in record] for record in history)
    write_atomically(path, text.getvalue().encode())
