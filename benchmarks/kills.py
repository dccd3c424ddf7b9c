"""Kill a run again and again at random moments (SIGKILL: nothing can be saved) until it has ended; is it the same run?

    python benchmarks/kills.py --kills 50

Every process is a fork of one that has loaded the model and done nothing else, so that an attempt costs no more than
its steps. The run file in the end must equal that of a run that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

GROWTH = 1.03  # of the longest life from one kill to the next, so that there is an end on a busy machine

Attempt = Callable[[Path], None]
"""Begins a run with this output, or goes on with it, up to the end."""


def in_a_process_of_its_own(attempt: Attempt, output: Path, kill_after_s: float | None = None) -> bool:
    """Whether the attempt came to its end.

    Args:
        attempt: what to do.
        output: its run file.
        kill_after_s: when it is killed; None: not at all.

    Raises:
        RuntimeError: it ended with an error.
    """
    pid = os.fork()
    if pid == 0:
        try:
            attempt(output)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)  # a process that has ended already is not waited for yet: its number is its own
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"an attempt ended with exit code {os.WEXITSTATUS(status)}")
    return os.WIFEXITED(status)


def killed_until_done(attempt: Attempt, output: Path, longest_s: float, seed: int) -> int:
    """How often a run was killed before it came to its end.

    Args:
        attempt: what to do.
        output: its run file.
        longest_s: after which the first attempt is killed at the latest, s; every third one lives for a tenth of that
            at most: it is killed while it opens the file.
        seed: of the moments.
    """
    moments, kills = random.Random(seed), 0
    while True:
        life = moments.uniform(0.0, longest_s / (10.0 if kills % 3 == 2 else 1.0))
        if in_a_process_of_its_own(attempt, output, life):
            return kills
        kills, longest_s = kills + 1, longest_s * GROWTH


def differences(first: Path, second: Path) -> list[str]:
    """Names of what is not the same in two run files, but for times of this computer and the text of the metadata."""
    contents: list[dict[str, np.ndarray]] = []
    for path in (first, second):
        found: dict[str, np.ndarray] = {}
        with h5py.File(path, "r") as file:

            def visit(name: str, item: object, found: dict[str, np.ndarray] = found) -> None:
                if isinstance(item, h5py.Dataset) and not name.endswith(("ms_per_step", "metadata")):
                    found[name] = item[()]

            file.visititems(visit)
        contents.append(found)
    one, other = contents
    unequal = [name for name in one.keys() & other.keys() if not equal(one[name], other[name])]
    return sorted(unequal + list(one.keys() ^ other.keys()))


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same bits, NaN included."""
    return bool(np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.floating)))


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="at least")
    parser.add_argument("--longest-s", type=float, default=1.5, help="longest life of an attempt")
    parser.add_argument("--steps", type=int, default=60, help="of the run, per kill")
    options = parser.parse_args()
    import torch

    from spectra_app import Simulation, load_model
    from spectra_app.config import MDSettings
    from spectra_app.jobs.structures import start_structure

    torch.set_num_threads(1)
    model = load_model("water", device="cpu")
    settings = MDSettings(
        thermostat="langevin", equilibration_steps=50, steps=options.steps * options.kills, engine="eager", seed=1
    )

    def attempt(output: Path) -> None:
        Simulation(model, start_structure("water", None), settings, output, checkpoint_s=0.1).run(restart=True)

    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole.h5", Path(folder) / "parts.h5"
        began = time.perf_counter()
        in_a_process_of_its_own(attempt, whole)
        undisturbed = time.perf_counter() - began
        kills = killed_until_done(attempt, parts, options.longest_s, seed=1)
        seconds = time.perf_counter() - began - undisturbed
        found = differences(whole, parts)
    print(f"killed {kills} times; {seconds:.0f} s instead of {undisturbed:.0f} s; differences: {found or 'none'}")
    if found or kills < options.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
