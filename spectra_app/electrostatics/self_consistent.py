"""Self-consistent response: induced charges and dipoles answer each other too.

With phi = (Phi, E) at the atoms, chi the susceptibility (x = chi phi) and G the interaction (phi of sources x),

    phi = phi_0 + G chi phi,      U = (1/2) (x, phi_0),      (x, phi) = sum (dq Phi - du.E)

1 - G chi is self-adjoint in the inner product -(chi a, b), so conjugate gradients solve it with neither roots nor
inverses of alpha and kappa (atoms that do not respond cost nothing), and a direction of negative curvature is the
polarization catastrophe itself: the energy has no minimum.

Derivatives are implicit (``self_consistent``): the graph holds one residual at the solution, never the iterations.  Its
backward pass solves the adjoint equation, again by conjugate gradients, so derivatives of any order exist.

Where only the energy is differentiated, and once (``relax``: dynamics), the functional

    U[phi] = U_elec(m + x) - (1/2) (x, phi),      x = chi phi,  m the permanent multipoles,

is stationary in phi: phi carries no derivative, and energy and forces of permanent and induced multipoles are one pass.
There phi may start from a guess, the solutions of the last steps.  With the residual r = G (m + x) - phi and the
answers psi_a = F_a + G chi psi_a to uniform fields, of residual r_a, dipole and polarizability are made stationary too,

    P_a = (chi F_a, phi) + (chi psi_a, r),   alpha_ab = (chi F_a, psi_b) + (chi psi_a, r_b)   (in signs of -(x, phi)),

so that their errors are of second order in the residuals.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from ase.data import chemical_symbols
from torch import Tensor

from spectra_app.electrostatics.iterations import Iterations, Search, iterate_fixed, iterate_once
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.packed import packed_equation
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.relaxed import relax_in_loops
from spectra_app.electrostatics.response import (
    Induced,
    Susceptibility,
    direct_polarizability_by_atom,
    induced_moments,
    one_shot,
)
from spectra_app.errors import ConvergenceError
from spectra_app.structure.system import System, sum_by_structure

MAX_ITERATIONS = 200
_N_NAMED = 3  # atoms that an error names


class _Equation:
    """(1 - G chi) phi = rhs of one batch; phi [atom, source, 4] holds the potential and the three field components."""

    def __init__(
        self, system: System, interaction: Interaction, susceptibility: Susceptibility, tolerance: float
    ) -> None:
        self.system, self.interaction, self.susceptibility = system, interaction, susceptibility
        self.tolerance = max(tolerance, 30.0 * torch.finfo(system.positions.dtype).eps)

    def respond(self, phi: Tensor) -> Induced:
        """Chi phi."""
        return self.susceptibility.respond(phi[..., 0], phi[..., 1:])

    def answer(self, phi: Tensor) -> Induced:
        """As ``respond``, charges and dipoles alone and without derivative."""
        return self.susceptibility.answer(phi[..., 0], phi[..., 1:])

    def act(self, induced: Induced) -> Tensor:
        """G x [atom, source, 4]."""
        return pack(*self.interaction.act(induced.charges, induced.dipoles))

    def inner(self, induced: Induced, phi: Tensor) -> Tensor:
        """-(chi a, b) with chi a given [structure, source]; the metric in which 1 - G chi is self-adjoint."""
        return -sum_by_structure(induced.work(phi[..., 0], phi[..., 1:]), self.system)

    def solve(self, rhs: Tensor) -> Tensor:
        """Solution [atom, source, 4] with its implicit derivative where a gradient is wanted."""
        with torch.no_grad():
            phi, _ = self.iterate(*self.one_shot(rhs))
        if not torch.is_grad_enabled():
            return phi
        residual = rhs - phi + self.act(self.respond(phi))
        return phi + _Implicit.apply(residual, self) if residual.requires_grad else phi

    def one_shot(self, rhs: Tensor) -> tuple[Tensor, Tensor]:
        """The first guess without a better one, phi = rhs, and its residual."""
        return rhs, self.act(self.respond(rhs))

    def iterate(self, phi: Tensor, residual: Tensor, looser: float = 1.0) -> tuple[Tensor, Tensor]:
        """Conjugate gradients from a guess and its residual to the tolerance, relative to the guess: both at the end.

        Sources that have converged are left out of the sums.  ``looser``: factor of the tolerance for all sources but
        the first.
        """
        answer = self.answer(residual)
        size = self.inner(answer, residual)
        wanted = self.wanted(phi, looser)
        search = Search(phi, residual, residual, answer, size)  # of the sources that still move
        places = list(range(phi.shape[1]))
        phi, residual = phi.clone(), residual.clone()
        for _ in range(MAX_ITERATIONS):
            active = search.size > wanted
            moving = active.any(0).tolist()
            if not all(moving):
                phi[:, places], residual[:, places] = search.point, search.slope
                rows = [row for row, moves in enumerate(moving) if moves]
                if not rows:
                    return phi, residual
                places = [places[row] for row in rows]
                active, wanted, search = active[:, rows], wanted[:, rows], search.of(rows)
            before = search
            search, curvature = iterate_once(self, search, active)
            unbounded = active & (curvature <= 0)
            if bool(unbounded.any()):
                raise self._catastrophe(unbounded, before.answer, before.direction)
        raise self._stalled(search.size / wanted)

    def wanted(self, phi: Tensor, looser: float) -> Tensor:
        """Size of the residual, squared, with which a source has converged [structure, source]; of a guess ``phi``."""
        size = self.inner(self.answer(phi), phi)
        tolerance = torch.full_like(size[:1], looser * self.tolerance)
        tolerance[:, :1] = self.tolerance
        return tolerance.square() * size

    def _catastrophe(self, where: Tensor, answer: Induced, phi: Tensor) -> ConvergenceError:
        """Names the atoms of the first marked structure that carry most of the direction, as numbered in it."""
        structure, source = (int(index) for index in torch.nonzero(where)[0])
        start = sum(self.system.sizes[:structure])
        atoms = slice(start, start + self.system.sizes[structure])
        share = -answer.work(phi[..., 0], phi[..., 1:])[atoms, source]
        numbers = self.system.numbers[atoms]
        strongest = torch.argsort(share, descending=True)[:_N_NAMED].tolist()
        names = ", ".join(f"{n} ({chemical_symbols[int(numbers[n])]})" for n in strongest)
        return ConvergenceError(
            f"self-consistent response of atoms {names}",
            got="a polarization catastrophe (their induced charges and dipoles feed each other without bound)",
            wanted="polarizabilities that are small enough for their distances",
            todo="Look for atoms too close to each other; a model trained with response: self-consistent avoids it",
        )

    def _stalled(self, excess: Tensor) -> ConvergenceError:
        worst = float(torch.nan_to_num(excess).max()) ** 0.5 * self.tolerance
        return ConvergenceError(
            "self-consistent response",
            got=f"a relative residual of {worst:.1e} after {MAX_ITERATIONS} iterations",
            wanted=f"at most {self.tolerance:.1e}",
            todo="Raise model.response_tolerance, or use float64",
        )


class _Implicit(torch.autograd.Function):
    """(1 - G chi)^-1 applied to a residual that is zero to the tolerance: adds a derivative and no value."""

    @staticmethod
    def forward(residual: Tensor, equation: _Equation) -> Tensor:
        return torch.zeros_like(residual)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.equation = inputs[1]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        # With D = diag(1, -1) on (Phi, E): G = D Gamma, Gamma and chi symmetric, D chi D = chi, and so
        # (1 - chi Gamma D)^-1 = 1 + chi D (1 - G chi)^-1 G D.
        equation: _Equation = ctx.equation
        has = equation.susceptibility
        sources = Induced(
            None if has.kappa is None else grad[..., 0], None, None if has.alpha is None else -grad[..., 1:]
        )
        answer = equation.respond(equation.solve(equation.act(sources)))
        potential = torch.zeros_like(grad[..., 0]) if answer.charges is None else answer.charges
        field = torch.zeros_like(grad[..., 1:]) if answer.dipoles is None else -answer.dipoles
        return grad + pack(potential, field), None


def pack(potential: Tensor, field: Tensor) -> Tensor:
    """Potential [atom, source] and field [atom, source, xyz] side by side [atom, source, 4]."""
    return torch.cat([potential[..., None], field], dim=-1)


def self_consistent(
    system: System,
    interaction: Interaction,
    susceptibility: Susceptibility,
    permanent: Electrostatics,
    tolerance: float,
    uniform_fields: bool,
) -> tuple[Induced, Tensor, Tensor]:
    """Response in which induced charges and dipoles see each other.

    Args:
        system: the structures.
        interaction: at their positions.
        susceptibility: alpha positive semidefinite, kappa >= 0.
        permanent: potential and field of the permanent multipoles.
        tolerance: relative residual of the potentials and fields.
        uniform_fields: also answer uniform fields, for the polarizability.

    Returns:
        the induced quantities (one source); energy [structure], eV; polarizability by atom [atom, xyz, xyz],
        e^2 A^2/eV, symmetric: the dipoles with which each atom answers uniform fields (zero if not wanted).

    Raises:
        ConvergenceError: polarization catastrophe, with the atoms; or no convergence.
    """
    equation = _Equation(system, interaction, susceptibility, tolerance)
    rhs = pack(permanent.potential[:, None], permanent.field[:, None])
    direct = susceptibility.respond_to_uniform_fields() if uniform_fields else Induced(None, None, None)
    to_field = direct.charges is not None or direct.dipoles is not None
    if to_field:
        rhs = torch.cat([rhs, equation.act(direct)], dim=1)
    phi = equation.solve(rhs)
    bare, full = rhs[:, :1], phi[:, :1]
    induced = equation.respond(full)
    # The functional (x, phi_0) - (x, phi)/2 + (x, G x)/2 instead of its value (x, phi_0)/2: it is stationary in phi, so
    # its error is of second order in the residual.
    total = bare - 0.5 * full + 0.5 * equation.act(induced)
    energy = sum_by_structure(induced.work(total[..., 0], total[..., 1:])[:, 0], system)
    if not to_field:
        return induced, energy, energy.new_zeros(len(system.positions), 3, 3)
    to_the_others = equation.respond(phi[:, 1:])
    alpha = induced_moments(direct, susceptibility) + induced_moments(to_the_others, susceptibility)
    return induced, energy, 0.5 * (alpha + alpha.transpose(1, 2))


class Relaxed(NamedTuple):
    """Permanent multipoles with the response that they make.

    Attributes:
        energy: [structure], eV, of permanent and induced multipoles together.
        induced: one source.
        moments: [atom, xyz], e A, what makes the dipole stationary: to be added to the atoms' dipoles.
        polarizability_by_atom: [atom, xyz, xyz], e^2 A^2/eV, symmetric; zero if not wanted.
        solution: [atom, source, 4], V and V/A: potential and field that all multipoles make at the atoms (source 0),
            and that the answers to uniform fields along x, y and z make (three more, where wanted); None where nothing
            was iterated to the energy alone.
        excess: [2], by how much a fixed number of iterations stays above the tolerance (``iterations.iterate_fixed``);
            None where iterations went on to it.
    """

    energy: Tensor
    induced: Induced
    moments: Tensor
    polarizability_by_atom: Tensor
    solution: Tensor | None
    excess: Tensor | None = None


def relax(
    system: System,
    interaction: Interaction,
    susceptibility: Susceptibility,
    multipoles: Multipoles,
    tolerance: float,
    uniform_fields: bool,
    guess: Tensor | None = None,
    iterations: Iterations | None = None,
) -> Relaxed:
    """Energy, response and polarizability whose energy alone is differentiated, and once: see the module.

    Args:
        system: the structures.
        interaction: at their positions.
        susceptibility: alpha positive semidefinite, kappa >= 0.
        multipoles: the permanent ones.
        tolerance: relative residual of the potentials and fields.
        uniform_fields: also answer uniform fields, for the polarizability.
        guess: of ``Relaxed.solution``; None, or one of fewer sources, begins with one-shot response.
        iterations: so many and no more; None: to the tolerance.

    Raises:
        ConvergenceError: polarization catastrophe, with the atoms; or no convergence.
    """
    equation = _Equation(system, interaction, susceptibility, tolerance)
    # What answers to uniform fields leave over enters the polarizability squared: a root of the tolerance will do.
    looser = equation.tolerance**-0.5
    tolerances = equation.tolerance, looser * equation.tolerance
    solved = relax_in_loops(interaction, susceptibility, multipoles, tolerances, MAX_ITERATIONS, uniform_fields, guess)
    if solved is not None:
        return Relaxed(*solved)
    with torch.no_grad():
        direct = susceptibility.respond_to_uniform_fields() if uniform_fields else Induced(None, None, None)
        answers = direct.charges is not None or direct.dipoles is not None
        if guess is None or guess.shape[1] != (4 if answers else 1):
            rhs = pack(*(x[:, None] for x in interaction.potentials(multipoles)))
            start = equation.one_shot(torch.cat([rhs, equation.act(direct)], dim=1) if answers else rhs)
        else:
            total = _with_induced(multipoles, equation.answer(guess[:, :1]))
            made = pack(*(x[:, None] for x in interaction.potentials(total)))
            if answers:
                whole = _together(direct, equation.answer(guess[:, 1:]))
                made = torch.cat([made, equation.act(whole)], dim=1)
            start = guess, made - guess
        excess = None
        if iterations is None:
            phi, residual = equation.iterate(*start, looser=looser)
        else:
            fixed = packed_equation(system, interaction, susceptibility) or equation
            phi, residual, excess = iterate_fixed(fixed, *start, equation.wanted(start[0], looser), iterations)
        moments, alpha = phi.new_zeros(len(phi), 3), phi.new_zeros(len(phi), 3, 3)
        if answers:
            moments, alpha = _stationary(susceptibility, direct, equation.respond(phi[:, 1:]), residual)
    induced = equation.respond(phi[:, :1])
    work = sum_by_structure(induced.work(phi[:, :1, 0], phi[:, :1, 1:])[:, 0], system)
    energy = interaction.energy(_with_induced(multipoles, induced)) - 0.5 * work
    return Relaxed(energy, induced, moments, alpha, phi, excess)


def _with_induced(multipoles: Multipoles, induced: Induced) -> Multipoles:
    """Permanent multipoles plus the first source of what is induced."""
    charges, dipoles, quadrupoles = multipoles
    if induced.charges is not None:
        charges = charges + induced.charges[:, 0]
    if induced.dipoles is not None:
        dipoles = induced.dipoles[:, 0] if dipoles is None else dipoles + induced.dipoles[:, 0]
    return Multipoles(charges, dipoles, quadrupoles)


def _together(direct: Induced, to_the_others: Induced) -> Induced:
    """Charges and dipoles of both."""
    pairs = ((direct.charges, to_the_others.charges), (direct.dipoles, to_the_others.dipoles))
    charges, dipoles = (None if a is None or b is None else a + b for a, b in pairs)
    return Induced(charges, None, dipoles)


def _stationary(
    susceptibility: Susceptibility, direct: Induced, to_the_others: Induced, residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Moments [atom, xyz] and polarizability [atom, xyz, xyz] of ``Relaxed`` from residuals [atom, 4 sources, 4]."""
    whole = _together(direct, to_the_others)
    correction = residual.new_zeros(len(residual), 3, 4)  # [atom, uniform field, source]
    if whole.charges is not None:
        correction = correction - whole.charges[:, :, None] * residual[:, None, :, 0]
    if whole.dipoles is not None:
        correction = correction + whole.dipoles @ residual[..., 1:].transpose(1, 2)
    alpha = induced_moments(direct, susceptibility) + induced_moments(to_the_others, susceptibility)
    alpha = alpha + correction[..., 1:]
    return correction[..., 0], 0.5 * (alpha + alpha.transpose(1, 2))


def electrostatic_energy(
    system: System,
    interaction: Interaction,
    multipoles: Multipoles,
    susceptibility: Susceptibility | None,
    tolerance: float | None,
    uniform_fields: bool,
    energy_only: bool,
    guess: Tensor | None = None,
    iterations: Iterations | None = None,
) -> Relaxed:
    """U_elec + U_resp, and what is induced.

    Args:
        system: the structures.
        interaction: at their positions.
        multipoles: the permanent ones.
        susceptibility: of atoms and pairs; None: nothing answers.
        tolerance: relative residual of self-consistent response; None: one-shot.
        uniform_fields: also the polarizability (zero otherwise).
        energy_only: only the energy will be differentiated, and once.
        guess: of ``Relaxed.solution``; used where the response is self-consistent and only the energy matters.
        iterations: there, so many and no more; None: to the tolerance.

    Raises:
        ConvergenceError: the self-consistent response has no solution.
    """
    if susceptibility is not None and tolerance is not None and energy_only:
        return relax(system, interaction, susceptibility, multipoles, tolerance, uniform_fields, guess, iterations)
    permanent = interaction.permanent(multipoles)
    n_atoms = len(permanent.potential)
    moments, alpha = permanent.field.new_zeros(n_atoms, 3), permanent.field.new_zeros(n_atoms, 3, 3)
    if susceptibility is None:
        return Relaxed(permanent.energy, Induced(None, None, None), moments, alpha, None)
    if tolerance is not None:
        induced, energy, alpha = self_consistent(
            system, interaction, susceptibility, permanent, tolerance, uniform_fields
        )
    else:
        induced, energy = one_shot(system, susceptibility, permanent)
        if uniform_fields:
            alpha = direct_polarizability_by_atom(susceptibility)
    return Relaxed(permanent.energy + energy, induced, moments, alpha, None)
