"""Self-consistent response: induced charges and dipoles answer each other too.

With phi = (Phi, E) at the atoms, chi the susceptibility (x = chi phi) and G the interaction (phi of sources x),

    phi = phi_0 + G chi phi,      U = (1/2) (x, phi_0),      (x, phi) = sum (dq Phi - du.E)

1 - G chi is self-adjoint in the inner product -(chi a, b), so conjugate gradients solve it with neither roots nor
inverses of alpha and kappa (atoms that do not respond cost nothing), and a direction of negative curvature is the
polarization catastrophe itself: the energy has no minimum.

Derivatives are implicit: the graph holds one residual at the solution, never the iterations.  Its backward pass solves
the adjoint equation, again by conjugate gradients, so derivatives of any order exist.
"""

from __future__ import annotations

import torch
from ase.data import chemical_symbols
from torch import Tensor

from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.response import Induced, Susceptibility, induced_moments
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

    def act(self, induced: Induced) -> Tensor:
        """G x [atom, source, 4]."""
        return pack(*self.interaction.act(induced.charges, induced.dipoles))

    def inner(self, induced: Induced, phi: Tensor) -> Tensor:
        """-(chi a, b) with chi a given [structure, source]; the metric in which 1 - G chi is self-adjoint."""
        return -sum_by_structure(induced.work(phi[..., 0], phi[..., 1:]), self.system)

    def solve(self, rhs: Tensor) -> Tensor:
        """Solution [atom, source, 4] with its implicit derivative where a gradient is wanted."""
        with torch.no_grad():
            phi = self._conjugate_gradients(rhs)
        if not torch.is_grad_enabled():
            return phi
        residual = rhs - phi + self.act(self.respond(phi))
        return phi + _Implicit.apply(residual, self) if residual.requires_grad else phi

    def _conjugate_gradients(self, rhs: Tensor) -> Tensor:
        phi = rhs.clone()  # one-shot response is the first guess
        residual = self.act(self.respond(rhs))
        size = self.inner(self.respond(residual), residual)
        wanted = self.tolerance**2 * self.inner(self.respond(rhs), rhs)
        direction = residual
        batch = self.system.batch
        for _ in range(MAX_ITERATIONS):
            active = size > wanted
            if not bool(active.any()):
                return phi
            answer = self.respond(direction)
            image = direction - self.act(answer)
            curvature = self.inner(answer, image)
            unbounded = active & (curvature <= 0)
            if bool(unbounded.any()):
                raise self._catastrophe(unbounded, answer, direction)
            step = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)
            phi = phi + step[batch, :, None] * direction
            residual = residual - step[batch, :, None] * image
            new_size = self.inner(self.respond(residual), residual)
            ratio = torch.where(active, new_size / torch.where(active, size, 1.0), 0.0)
            direction = residual + ratio[batch, :, None] * direction
            size = new_size
        raise self._stalled(size / wanted)

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
    energy_only: bool = False,
) -> tuple[Induced, Tensor, Tensor]:
    """Response in which induced charges and dipoles see each other.

    Args:
        system: the structures.
        interaction: at their positions.
        susceptibility: alpha positive semidefinite, kappa >= 0.
        permanent: potential and field of the permanent multipoles.
        tolerance: relative residual of the potentials and fields.
        uniform_fields: also answer uniform fields, for the polarizability.
        energy_only: only the energy will be differentiated, and once.  It is stationary in the solution, which then
            carries no derivative: half the time of forces.

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
    with torch.set_grad_enabled(torch.is_grad_enabled() and not energy_only):
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
    vectors = susceptibility.vectors
    alpha = induced_moments(direct, vectors) + induced_moments(to_the_others, vectors)
    return induced, energy, 0.5 * (alpha + alpha.transpose(1, 2))
