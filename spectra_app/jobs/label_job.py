"""A job that labels: sample, select, check the forces, compute, write; what is on disk is where it goes on."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spectra_app.config import LabelSettings
from spectra_app.config.label_settings import CLUSTER_KEYS
from spectra_app.errors import DatasetError, StoppedError
from spectra_app.interrupts import Interrupts

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.labels.book import Book
    from spectra_app.labels.calculation import Label
    from spectra_app.labels.candidates import Candidate
    from spectra_app.labels.checks import ForceCheck
    from spectra_app.labels.crew import Alone, Crew
    from spectra_app.labels.sources import AnySource

HOW_MAY_CHANGE = frozenset({"processes", "timeout_minutes", "max_failed", "check_forces"})
_FEW_FAILED = 3  # so many are not too many


class LabelProgress(NamedTuple):
    """How far a job is.

    Attributes:
        phase: ``sampling`` or ``labelling``.
        done: pieces of it.
        total: likewise.
        note: pace and failures, in words.
    """

    phase: str
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class LabelResult:
    """What a job made.

    Attributes:
        path: the set.
        n_frames: frames in it.
        n_candidates: structures that there were to choose from.
        failed: origin and reason of frames without labels.
        force_check: of the calculator's forces; None where it was not asked for, or was done before.
        facts: net force, torque, largest force, frames with stress.
        warnings: what to look at before training.
        wall_s: of this call, s.
        new: whether anything was done: False where the set was there already.
    """

    path: Path
    n_frames: int
    n_candidates: int
    failed: tuple[tuple[str, str], ...]
    force_check: ForceCheck | None
    facts: dict[str, Any]
    warnings: tuple[str, ...]
    wall_s: float
    new: bool = True


@dataclass
class LabelJob:
    """One job on its way.

    Attributes:
        output: the set.
        source: of the calculators that label.
        sampler: of those that move atoms.
        settings: of the job.
        progress: told how far it is.
        failed: reason by the number of the frame.
        crews: those who work, by the source of their calculators.
        began: on the monotonic clock, s.
    """

    output: Path
    source: AnySource
    sampler: AnySource
    settings: LabelSettings
    progress: Callable[[LabelProgress], None] | None
    failed: dict[int, str] = field(default_factory=dict)
    crews: dict[AnySource, Crew | Alone] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def run(self, candidates: list[Candidate], overwrite: bool, max_minutes: float | None) -> LabelResult:
        """Everything; see ``labelling.label_structures``.

        Args:
            candidates: structures of the user.
            overwrite: replace an existing set, and begin anew.
            max_minutes: wall time after which the job is stopped, min.

        Raises:
            SpectraAppError: see there.
        """
        from spectra_app.labels.book import Book, digest
        from spectra_app.labels.writing import read_sidecar, sidecar_path

        unused = set() if self.settings.clusters is not None else {"clusters", *CLUSTER_KEYS}
        chosen = self.settings.model_dump(mode="json", exclude=set(HOW_MAY_CHANGE | unused))
        plan = {"structures": digest(candidates), "settings": chosen, "by": self.source.facts()}
        if self.settings.md:
            plan["sampled_by"] = self.sampler.facts()
        facts = read_sidecar(self.output)
        if self.output.exists() and not overwrite:
            if facts is not None and facts.get("plan") == plan:
                Book(self.output, plan, anew=True).remove()
                return self._complete(facts)
            raise DatasetError(
                f"labels {self.output}",
                got="an existing file"
                + (", made otherwise" if facts is not None and sidecar_path(self.output).is_file() else ""),
                wanted="a new one",
                todo="Choose another --output, or --overwrite",
            )
        book = Book(self.output, plan, anew=overwrite)
        with Interrupts(max_minutes) as interrupts, contextlib.ExitStack() as crews:
            stop = _Stop(interrupts, self.output)
            crews.callback(self._dismiss)
            pool = book.pool()
            if pool is None:
                pool = self._sample(candidates, book, stop)
                book.settle(pool)
            check = self._check(pool, book, stop)
            labels = self._label(pool, book, stop)
        return self._finish(pool, labels, book, plan, check)

    def _crew(self, source: AnySource, book: Book) -> Crew | Alone:
        """Those who work with calculators of a source, started once."""
        from spectra_app.labels.crew import Alone, Crew
        from spectra_app.labels.sources import Given

        if source not in self.crews:
            made = Alone(source) if isinstance(source, Given) else Crew(source, self.settings.processes, book.folder)
            self.crews[source] = made
        return self.crews[source]

    def _dismiss(self) -> None:
        for crew in self.crews.values():
            crew.close()
        self.crews.clear()

    def _complete(self, facts: dict[str, Any]) -> LabelResult:
        counts = facts["frames"]
        failed = tuple((row["origin"], row["reason"]) for row in facts["failed"])
        return LabelResult(
            self.output, counts["labelled"], counts["candidates"], failed, None, facts["checks"], (), 0.0, new=False
        )

    def _sample(self, candidates: list[Candidate], book: Book, stop: _Stop) -> list[Candidate]:
        """Every structure that may be labelled, or the most different of them."""
        from spectra_app.labels.candidates import copies
        from spectra_app.labels.clusters import clusters, ions_of
        from spectra_app.labels.selection import describe, farthest_points
        from spectra_app.labels.waves import waves

        settings = self.settings
        if settings.clusters is not None:
            ions_of(candidates, settings)
        pool = list(candidates) if settings.originals else []
        pool += copies(candidates, settings)
        if settings.md:
            pool += self._walk(candidates, book, stop)
        if not pool and settings.waves is None:
            raise DatasetError("sampling", got="no structure", wanted="one at least")
        n_found = len(pool)
        if settings.select is not None and settings.select < len(pool):
            picked = farthest_points(describe([candidate.atoms for candidate in pool]), settings.select)
            pool = [pool[number] for number in sorted(picked)]
        if settings.clusters is not None:  # of molecules far apart, which the selection could not tell from each other
            pool = clusters(pool, settings)
            n_found = len(pool)
        if settings.waves is not None:
            moved = waves(pool or candidates, settings)
            pool += moved
            n_found += len(moved)
        book.note("candidates", n_found)
        return pool

    def _walk(self, candidates: list[Candidate], book: Book, stop: _Stop) -> list[Candidate]:
        """Frames of dynamics from every structure at every temperature."""
        from spectra_app.labels.tasks import WalkWork
        from spectra_app.labels.walks import Walk

        settings = self.settings
        starts = [(one, kelvin) for one in candidates for kelvin in settings.temperatures_K]
        n_frames = settings.steps // settings.stride
        frames = [book.walked(walk)[:n_frames] for walk in range(len(starts))]
        open_walks = [walk for walk, done in enumerate(frames) if len(done) < n_frames]
        work = [
            WalkWork(
                Walk(
                    frames[walk][-1] if frames[walk] else starts[walk][0].atoms,
                    starts[walk][1],
                    settings.timestep_fs,
                    settings.stride,
                    n_frames,
                    (settings.seed, walk),
                    len(frames[walk]),
                )
            )
            for walk in open_walks
        ]
        total, lost = n_frames * len(starts), {}
        for event in self._crew(self.sampler, book).follow(work, stop):
            walk = open_walks[event.number]
            if event.kind == "result":
                book.add_walked(walk, len(frames[walk]), event.content)
                frames[walk].append(event.content)
            elif event.kind == "failed":
                lost[walk] = event.content
            else:
                continue
            self._tell("sampling", sum(map(len, frames)), total, "dynamics")
        book.note("lost_walks", [f"{starts[walk][0].origin}, {starts[walk][1]:g} K: {lost[walk]}" for walk in lost])
        if lost and not any(frames):
            raise DatasetError("dynamics", got=f"no frame: {next(iter(lost.values()))}", wanted="a sampler that works")
        return [
            _named(atoms, f"{starts[walk][0].origin}; dynamics {starts[walk][1]:g} K, frame {frame}")
            for walk, done in enumerate(frames)
            for frame, atoms in enumerate(done)
        ]

    def _check(self, pool: list[Candidate], book: Book, stop: _Stop) -> ForceCheck | None:
        """Compare force and energy of the first structure that can be computed, once in a job."""
        from spectra_app.labels.checks import ForceCheck
        from spectra_app.labels.tasks import CheckWork

        noted = book.noted("force_check")
        if noted is not None:
            return ForceCheck(*noted)
        if not self.settings.check_forces:
            return None
        self._tell("checking", 0, 1, "a force against energies")
        for candidate in pool[:_FEW_FAILED]:
            work = [CheckWork(candidate.atoms, candidate.origin, self.settings.seed)]
            for event in self._crew(self.source, book).follow(work, stop, self._timeout_s):
                if event.kind == "result":
                    check: ForceCheck = event.content
                    check.refuse()
                    book.note("force_check", [check.by_energy_eV_per_A, check.by_forces_eV_per_A, check.origin])
                    return check
        return None  # labelling will say why

    @property
    def _timeout_s(self) -> float | None:
        minutes = self.settings.timeout_minutes
        return None if minutes is None else 60.0 * minutes

    def _label(self, pool: list[Candidate], book: Book, stop: _Stop) -> dict[int, Label]:
        """The labels of all structures that the calculator can do."""
        from spectra_app.labels.tasks import LabelWork

        labels = book.labels(len(pool))
        left = [number for number in range(len(pool)) if number not in labels]
        work = [LabelWork(pool[number].atoms) for number in left]
        began, new = time.monotonic(), 0
        for event in self._crew(self.source, book).follow(work, stop, self._timeout_s):
            number = left[event.number]
            if event.kind == "result":
                book.add_label(number, event.content)
                labels[number] = event.content
                new += 1
            elif event.kind == "failed":
                self.failed[number] = event.content
                self._too_many(pool)
            else:
                continue
            pace = f"{(time.monotonic() - began) / max(new, 1):.3g} s/frame"
            note = f"{pace}, {len(self.failed)} failed" if self.failed else pace
            self._tell("labelling", len(labels) + len(self.failed), len(pool), note)
        return labels

    def _too_many(self, pool: list[Candidate]) -> None:
        """Stop a job in which nearly everything fails.

        Raises:
            DatasetError: more than a share of all frames failed.
        """
        if len(self.failed) < min(_FEW_FAILED, len(pool)) or len(self.failed) <= self.settings.max_failed * len(pool):
            return
        number, reason = list(self.failed.items())[-1]
        raise DatasetError(
            f"labels {self.output}",
            got=f"{len(self.failed)} of {len(pool)} frames failed, the last one ({pool[number].origin}): {reason}",
            wanted=f"at most {100 * self.settings.max_failed:g}% that fail",
            todo="What is labelled is kept: repair the calculator and repeat the command, or raise --max-failed",
        )

    def _finish(
        self,
        pool: list[Candidate],
        labels: dict[int, Label],
        book: Book,
        plan: dict[str, Any],
        check: ForceCheck | None,
    ) -> LabelResult:
        """Leave out what cannot be trusted, write the set, say what is in it."""
        from spectra_app.labels.checks import Tally, largest_force
        from spectra_app.labels.writing import labelled, write_set

        tally, frames, failed = Tally(), [], dict(self.failed)
        for number in sorted(labels):
            label, most = labels[number], self.settings.max_force_eV_per_A
            if largest_force(label) > most:
                failed[number] = f"a force of {largest_force(label):.3g} eV/A (at most {most:g}: --max-force-eV-per-A)"
                continue
            tally.add(pool[number].atoms, label)
            frames.append(labelled(pool[number], label))
        if not frames:
            raise DatasetError(
                f"labels {self.output}",
                got=f"no frame that can be used, the first one: {next(iter(failed.values()))}",
                wanted="one at least",
            )
        warnings = tally.warnings()
        if check is not None and check.doubtful:
            warnings.insert(0, f"{check.sentence}: converge the calculation (SCF, grid)")
        named = [(pool[number].origin, failed[number]) for number in sorted(failed)]
        n_candidates = int(book.noted("candidates") or len(pool))
        facts: dict[str, Any] = {
            "frames": {"labelled": len(frames), "failed": len(named), "candidates": n_candidates},
            "checks": tally.facts() | ({} if check is None else {"energy_change_over_forces": round(check.ratio, 5)}),
            "warnings": warnings,
            "failed": [{"origin": origin, "reason": reason} for origin, reason in named],
            "lost_dynamics": book.noted("lost_walks") or [],
            "made": {"date": datetime.date.today().isoformat(), **_versions()},
            "plan": plan,
        }
        write_set(self.output, frames, facts)
        book.remove()
        wall = time.monotonic() - self.began
        return LabelResult(
            self.output, len(frames), n_candidates, tuple(named), check, facts["checks"], tuple(warnings), wall
        )

    def _tell(self, phase: str, done: int, total: int, note: str) -> None:
        if self.progress is not None:
            self.progress(LabelProgress(phase, done, total, note))


@dataclass(frozen=True)
class _Stop:
    """Raises when the job is to be stopped; everything that is made is on disk already."""

    interrupts: Interrupts
    output: Path

    def __call__(self) -> None:
        """Look.

        Raises:
            StoppedError: a signal came, or the time is over.
        """
        if self.interrupts.requested:
            raise StoppedError(
                f"labels stopped ({self.interrupts.reason}), everything that was computed is kept",
                resubmit=self.interrupts.resubmit,
                todo="Go on with the same command",
            )


def _named(atoms: Atoms, origin: str) -> Candidate:
    from spectra_app.labels.candidates import Candidate

    plain = atoms.copy()
    plain.set_momenta(None)
    plain.arrays.pop("momenta", None)
    return Candidate(plain, origin)


def _versions() -> dict[str, str]:
    import ase
    import numpy as np

    from spectra_app import __version__

    return {"spectra_app": __version__, "ase": ase.__version__, "numpy": np.__version__}
