"""``spectra-app label --active``: rounds of picking, labelling, training and dynamics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.cli.console import list_files, print_json, say
from spectra_app.cli.stopping import stoppable_bar
from spectra_app.config import ActiveSettings, LabelSettings

if TYPE_CHECKING:
    from spectra_app.jobs.round_report import ActiveResult, RoundReport


def label_actively(
    runs: list[Path],
    model: str,
    calculator: str,
    output: Path,
    rounds: ActiveSettings,
    settings: LabelSettings,
    data: list[Path],
    overrides: list[str],
    trust: bool,
    overwrite: bool,
    max_minutes: float | None,
    json: bool,
) -> None:
    """Rounds with a progress bar, and what they changed.

    Args:
        runs: run files.
        model: name in the zoo or folder.
        calculator: that labels.
        output: folder of the rounds.
        rounds: how many, of how many frames.
        settings: checks and processes.
        data: what the model was trained on.
        overrides: of training and dynamics.
        trust: load pickled checkpoints.
        overwrite: begin anew.
        max_minutes: wall time, min.
        json: print the numbers as JSON.

    Raises:
        Exit: stopped, with the exit code of ``StoppedError``.
    """
    from spectra_app.jobs.active_learning import learn_actively

    with stoppable_bar("picking") as bar:

        def tell(phase: str, done: int, total: int, note: str) -> None:
            bar.update(done, total, note, phase)

        result = learn_actively(
            runs,
            model,
            calculator,
            output,
            rounds,
            settings,
            data=data,
            overrides=overrides,
            trust=trust,
            overwrite=overwrite,
            tell=tell,
            max_minutes=max_minutes,
        )
    if json:
        print_json(asdict(result))
    else:
        print("\n".join(describe(result)))
    list_files([*result.labels, *([result.model] if result.rounds[-1].labelled else [])])
    if result.labels and rounds.train:
        say(f"Go on with: spectra-app md START -m {result.model}")


def describe(result: ActiveResult) -> list[str]:
    """Rounds in a few lines for a person."""
    return [line for one in result.rounds for line in _lines(one)] + [f"Ended: {result.ended}"]


def _lines(one: RoundReport) -> list[str]:
    found = (
        f"Round {one.number}: {one.outside} of {one.looked_at} frames beyond the edge, "
        f"extrapolation at most {one.largest:.3g}"
    )
    if one.picked == 0:
        return [found]
    lines = [f"{found}; {one.picked} picked, {one.labelled} labelled, {one.held_out} of these held out"]
    if one.new_before_meV_per_A is not None:
        after = "" if one.new_after_meV_per_A is None else f", after on those held out {one.new_after_meV_per_A:.1f}"
        lines.append(f"  forces of the new frames: error before {one.new_before_meV_per_A:.1f}{after} meV/A")
        lines.append(
            f"  forces of the old data held out: before {one.old_before_meV_per_A:.1f}, after "
            f"{one.old_after_meV_per_A:.1f} meV/A"
        )
    for words, values in (("the runs before", one.run_before), ("dynamics of the new model", one.run_after)):
        if values is not None:
            lines.append(
                f"  {words}: extrapolation at most {values[0]:.3g}, {100.0 * values[1]:.2g}% of frames beyond 1"
            )
    return lines
