"""The potential: U = U_sr + U_elec + U_resp with its derivatives and responses (docs/theory.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor, nn

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.interaction import near_pairs, prepare_interaction
from spectra_app.electrostatics.iterations import Iterations
from spectra_app.electrostatics.kept_vectors import KeptVectors
from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.electrostatics.pair_list import NearList
from spectra_app.electrostatics.polarization import (
    atomic_born_charges,
    atomic_moments,
    gradient_of_vector,
    pair_moments,
)
from spectra_app.electrostatics.reciprocal import KVectors, reciprocal_cutoff
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import electrostatic_energy
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.errors import ConfigError, ModelError, StructureError
from spectra_app.potentials.backbones import PairGeometry, build_backbone
from spectra_app.potentials.card import ModelCard
from spectra_app.potentials.elements import check_oxidation_states, check_total_charge
from spectra_app.potentials.heads import EnergyHead, LatentHead
from spectra_app.potentials.heads.atoms_fused import heads_fuse
from spectra_app.potentials.prediction import Prediction, Response, detached, without_electrostatics
from spectra_app.potentials.responses import require_electrostatics, require_polarization
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.potentials.training_range import TrainingRange, extrapolate
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System, sum_by_structure, with_gradients

if TYPE_CHECKING:
    from spectra_app.potentials.calculator import SpectraCalculator


class Potential(nn.Module):
    """A short-range network with latent multipoles and their response.

    Args:
        settings: architecture.
        species: chemical symbols, in the order of the embedding.
        reference_energies: [species], eV per atom.
        energy_scale: eV, unit of the network's atomic energies.
        eps_inf: high-frequency dielectric constant of the material.

    Attributes:
        engine: how it is evaluated where one derivative is enough: ``"eager"``, the reference, or one of ``engines``.
        cutoff: A, to which a table of neighbours has to be complete: the larger one of backbone and heads.
        kept_vectors: reciprocal vectors of the last cells.
        training_range: what tells environments apart from those of the training data; None: not known.
    """

    reference_energies: Tensor
    species_index: Tensor
    energy_scale: Tensor
    sign: Tensor

    def __init__(
        self,
        settings: ModelSettings,
        species: tuple[str, ...],
        reference_energies: Tensor | None = None,
        energy_scale: float = 1.0,
        eps_inf: float | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.species = settings, tuple(species)
        self.variant = parse_variant(settings.variant)
        self.backbone = build_backbone(settings.backbone, len(species))
        self.cutoff = self.backbone.cutoff
        self.energy_head = EnergyHead(self.backbone)
        self.scale = PhysicalScale(eps_inf, *((None, None) if self.variant.responds else (0.0, 1.0)))
        self.engine = "eager"
        self.training_range: TrainingRange | None = None
        self.card = ModelCard("unnamed", self.species, settings, self.scale)
        self.oxidation_states = settings.oxidation_states if isinstance(settings.oxidation_states, dict) else None
        if self.oxidation_states is not None:
            check_oxidation_states(self.oxidation_states, self.species, self.variant)
        if self.variant.electrostatic:
            self.latent_head = LatentHead(settings, self.variant, self.species, self.backbone)
            self.cutoff = max(self.cutoff, self.latent_head.cutoff)
        self._fuses = (
            self.variant.electrostatic
            and self.backbone.compiles
            and heads_fuse(self.latent_head, self.energy_head, self.backbone.n_rank2)
        )
        self._highest_rank = self.variant.highest_rank
        if settings.response == "self-consistent":
            if self.variant.induced_dipoles and not self.latent_head.alpha_positive:
                raise ConfigError(
                    "model.response",
                    got="self-consistent with alpha_positive: false",
                    wanted="positive polarizabilities: without them the response has no minimum",
                    todo="Set alpha_positive: true, or response: one-shot",
                )
            self._highest_rank = max(self._highest_rank, int(self.variant.induced_dipoles))  # they are sources too
        wider = settings.element_sigma_A if isinstance(settings.element_sigma_A, dict) else {}
        self.widths = tuple(wider.get(symbol, settings.sigma_A) for symbol in species)
        self.k_cutoff = reciprocal_cutoff(settings.ewald_tolerance, min(self.widths), self._highest_rank)
        index = torch.full((119,), -1, dtype=torch.int64)
        for place, symbol in enumerate(species):
            index[atomic_numbers[symbol]] = place
        zeros = torch.zeros(len(species), dtype=torch.float64)
        self.register_buffer("species_index", index, persistent=False)
        self.register_buffer("reference_energies", zeros if reference_energies is None else reference_energies.double())
        self.register_buffer("energy_scale", torch.tensor(float(energy_scale)))
        self.register_buffer("sign", torch.tensor(1.0))  # of all reported multipoles; U does not depend on it
        self._near: NearList | None = None
        self.kept_vectors = KeptVectors(self.k_cutoff)

    @property
    def eps_inf(self) -> float | None:
        """High-frequency dielectric constant of the material."""
        return self.scale.eps_inf

    @property
    def engines(self) -> tuple[str, ...]:
        """What ``engine`` may be here: ``"graph"``, of whole steps, is the same to a model as ``"eager"``."""
        if self.device.type == "cuda":
            return ("eager", "graph") if self.backbone.captured else ("eager",)
        has_loops = self.backbone.compiles or self.variant.electrostatic  # of the backbone, of heads and electrostatics
        return ("eager", "compiled") if has_loops and self.device.type == "cpu" else ("eager",)

    @property
    def iterates(self) -> bool:
        """Whether its response is self-consistent."""
        return self.variant.responds and self.settings.response == "self-consistent"

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.sign.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network."""
        return self.sign.dtype

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Keep the reference energies in float64 whatever the network's dtype (300 eV of core energy per atom)."""
        exact = self.reference_energies
        super()._apply(fn, recurse)
        self.reference_energies = exact.to(self.sign.device)
        self.kept_vectors.clear()
        return self

    def check_species(self, numbers: Tensor) -> None:
        """Refuse elements the model was not trained on.

        Args:
            numbers: [atom], atomic numbers.

        Raises:
            StructureError: an unknown element.
        """
        known = self.species_index[numbers.to(self.device)] >= 0
        if not bool(known.all()):
            strange = sorted({chemical_symbols[int(z)] for z in numbers[~known.to(numbers.device)]})
            raise StructureError(
                f"element {', '.join(strange)}",
                got=f"unknown to model '{self.card.name}'",
                wanted=f"only {', '.join(self.species)}",
                todo="Train a model on data that holds it",
            )

    def check_system(self, system: System, name: str = "structure") -> None:
        """Refuse elements the model was not trained on, and a total charge that its oxidation states do not explain.

        Args:
            system: the structures.
            name: how they are called in an error.

        Raises:
            StructureError: an unknown element; a total charge other than the sum of the oxidation states.
        """
        self.check_species(system.numbers)
        if self.oxidation_states is None:
            return
        states = torch.tensor([float(self.oxidation_states[symbol]) for symbol in self.species])
        of_atoms = states[self.species_index[system.numbers.to(self.device)].cpu()].double()
        sums = sum_by_structure(of_atoms, system.to("cpu"))
        for total, charge in zip(sums.tolist(), system.charge.tolist(), strict=True):
            check_total_charge(self.oxidation_states, total, charge, name, self.card.name)

    def evaluate(
        self,
        system: System,
        neighbors: Neighbors,
        k: KVectors | None,
        responses: bool = True,
        energy_only: bool = False,
        guess: Tensor | None = None,
        once: bool = False,
        iterations: Iterations | None = None,
    ) -> Response:
        """Energy, polarization and polarizability with their graph.

        Args:
            system: structures in the network's dtype and on its device.
            neighbors: table complete to ``self.cutoff``.
            k: reciprocal vectors, from ``prepare_k_vectors(system, self.k_cutoff)``.
            responses: also the polarizability (zero otherwise) and extrapolation, which training has no use for.
            energy_only: only the energy will be differentiated, and once.
            guess: of ``Response.solution``; used where the response is self-consistent and only the energy matters.
            once: one derivative by positions will be taken, and none by weights.
            iterations: of self-consistent response where only the energy matters; None: to the tolerance.

        Raises:
            ConvergenceError: the self-consistent response has no solution.
        """
        species = self.species_index[system.numbers]
        compiled, known = once and self.engine == "compiled", self.training_range if responses else None
        pair = PairGeometry(system, neighbors, self.cutoff, compiled)
        sigma = self.widths[0] if len(set(self.widths)) == 1 else Smearing(self.widths, species)
        if compiled and self._fuses:
            units = self.scale.charge_units(system)[system.batch]
            parts = self.backbone.components(system, species, neighbors, pair)
            told = extrapolate(known, parts[0], species, neighbors, pair.vectors)
            energies, latents = self.latent_head.fused(self.energy_head, parts, species, pair, units, sigma)
            per_atom = self.energy_scale * energies
        else:
            if compiled:
                pair.measure()
            features = (self.backbone.once if compiled else self.backbone)(system, species, neighbors, pair)
            told = extrapolate(known, features.scalars, species, neighbors, pair.vectors)
            per_atom = self.energy_scale * self.energy_head(features)
            if not self.variant.electrostatic:
                return without_electrostatics(system, per_atom, told)
            unit = self.scale.charge_units(system)
            # The network's own sign may be the opposite one; then so is the total charge that it has to make.
            own = system._replace(charge=self.sign * unit * system.charge)
            latents = self.latent_head(own, species, neighbors, pair, features, unit, sigma, compiled)
        pairs: NearList | None = None
        if compiled and energy_only and (self.iterates or not self.variant.responds):
            # One-shot response is made of potential and field themselves, of which these loops know no derivative.
            pairs = self._near = near_pairs(system, k, sigma, self._near)
        interaction = prepare_interaction(system, k, sigma, self._highest_rank, pairs)
        if latents.transfer_energy is not None:
            per_atom = per_atom + latents.transfer_energy
        pool = system if self.variant.equilibrates else None
        susceptibility = Susceptibility(latents.alpha, latents.kappa, neighbors, pair.vectors, pool)
        electrostatics = electrostatic_energy(
            system,
            interaction,
            latents.multipoles,
            susceptibility if self.variant.responds else None,
            self.settings.response_tolerance if self.settings.response == "self-consistent" else None,
            responses,
            energy_only,
            guess,
            iterations,
        )
        energy = sum_by_structure(per_atom, system) + electrostatics.energy
        induced, alpha = electrostatics.induced, electrostatics.polarizability_by_atom
        fixed, moved = latents.fixed_charges, latents.moved
        charges, dipoles = latents.multipoles.charges, latents.multipoles.dipoles
        if induced.charges is not None:
            charges = charges + induced.charges[:, 0]
        if induced.moved is not None:
            assert moved is not None
            moved = moved + induced.moved[..., 0]
        elif induced.charges is not None:
            fixed = charges
        if induced.dipoles is not None:
            dipoles = induced.dipoles[:, 0] if dipoles is None else dipoles + induced.dipoles[:, 0]
        moments = atomic_moments(system, fixed, dipoles) + electrostatics.moments
        if moved is not None:
            moments = moments + pair_moments(moved, pair.vectors)
        dipole, polarizability = sum_by_structure(moments, system), sum_by_structure(alpha, system)
        final, excess = electrostatics.solution, electrostatics.excess
        return Response(
            energy, dipole, polarizability, latents, dipoles, charges, moments, alpha, fixed, final, excess, told
        )

    def k_vectors(self, system: System) -> KVectors | None:
        """Reciprocal vectors of a batch, kept while the cells are the same object (a run at fixed cell)."""
        if not self.variant.electrostatic:
            return None
        return self.kept_vectors.of(system)

    def baseline(self, system: System) -> Tensor:
        """Reference energies of the elements [structure], eV, float64."""
        return sum_by_structure(self.reference_energies[self.species_index[system.numbers]], system)

    def forward(
        self,
        system: System,
        neighbors: Neighbors,
        *,
        forces: bool = True,
        stress: bool = False,
        field: Tensor | None = None,
        polarizability: bool = True,
        guess: Tensor | None = None,
        iterations: Iterations | None = None,
    ) -> Prediction:
        """Evaluate a batch: one forward and (for forces or stress) one backward pass; P and alpha come with it.

        Args:
            system: structures in the network's dtype and on its device; positions may be unwrapped.
            neighbors: table complete to ``self.cutoff``.
            forces: compute forces.
            stress: compute the stress.
            field: [structure or 1, xyz], uniform external field, V/A; the energy becomes
                U - P'.F - (1/2) F.alpha'.F with the physical P' and alpha' (``scale.PhysicalScale``); across a slab it
                is the external one, D/eps0.
            polarizability: also compute the polarizability, which self-consistent response solves three equations for,
                and the extrapolation: what records are made of; zero and None otherwise, except where a field needs it.
            guess: of ``Prediction.solution``, from earlier steps of a run: fewer iterations; unused without need.
            iterations: of self-consistent response, so many and no more (``Prediction.excess``), without a field; None:
                to the tolerance.

        Returns:
            see ``Prediction``; no graph is kept.

        Raises:
            ModelError: ``field`` with periodic structures in a variant whose polarization is undefined there, or in a
                model that does not know its physical scale.
        """
        k = self.k_vectors(system)
        with torch.enable_grad():
            strained, strain = with_gradients(system, forces or field is not None, stress)
            both, plain = polarizability or field is not None, field is None
            result = self.evaluate(strained, neighbors, k, both, plain, guess, once=True, iterations=iterations)
            energy = result.energy
            if field is not None:
                require_polarization(self.variant, system)
                # eps_e is a number of the material: its dependence on positions is not part of the energy.
                dipole = self.sign * self.scale.vectors(result.dipole, system)
                alpha = self.scale.tensors(result.polarizability, system)
                twice = ((alpha @ field[..., None])[..., 0] * field).sum(-1)
                energy = energy - (dipole * field).sum(-1) - 0.5 * twice
            wanted = [t for t in (strained.positions if forces else None, strain) if t is not None]
            gradients = iter(torch.autograd.grad(energy.sum(), wanted) if wanted else ())
            force = -next(gradients) if forces else None
            tension = next(gradients) / system.volume[:, None, None] if strain is not None else None
        result = result._replace(energy=energy.detach().double() + self.baseline(system))
        return detached(result, self.sign, force, tension)

    def born_charges(self, system: System, neighbors: Neighbors) -> Tensor:
        """Physical Born charges Z*_{i,ab} = A dP_a/dr_{i,b} (``scale.PhysicalScale``) by three backward passes.

        Args:
            system: structures in the network's dtype and on its device.
            neighbors: table complete to ``self.cutoff``.

        Returns:
            [atom, field, displacement], e.

        Raises:
            ModelError: the variant has no electrostatics, atomic charges with several periodic structures at once, or a
                model that does not know its physical scale.
        """
        return self.scale.born_charges(self.latent_born_charges(system, neighbors), system)

    def has_born_charges(self, system: System) -> bool:
        """Whether the model has physical Born charges of such structures, exact ones, and knows its scale there."""
        periodic = bool(system.periodic.any())
        exact = self.variant.charges == "pair" or (self.variant.electrostatic and not periodic)
        return exact and (self.scale.known or not periodic)

    def latent_born_charges(self, system: System, neighbors: Neighbors) -> Tensor:
        """As ``born_charges``, before the physical scale."""
        require_electrostatics(self.variant, "Born charges")
        k = self.k_vectors(system)
        with torch.enable_grad():
            strained, _ = with_gradients(system, True, False)
            result = self.evaluate(strained, neighbors, k, responses=False, once=True)
            if self.variant.charges == "atomic" and bool(system.periodic.any()):
                if system.n_structures > 1:
                    raise ModelError("Born charges", got="several periodic structures", wanted="one at a time")
                latent = atomic_born_charges(strained, result.charges, result.dipoles)
            else:
                latent = gradient_of_vector(result.dipole, strained.positions)
        return self.sign * latent.detach()

    def calculator(
        self, skin_A: float = 0.5, field_V_per_A: tuple[float, float, float] | None = None
    ) -> SpectraCalculator:
        """ASE calculator: energy, forces, stress, dipole, and in ``results`` born_charges and polarizability.

        Args:
            skin_A: skin of the neighbour list, A.
            field_V_per_A: [xyz], uniform static external field, V/A.
        """
        from spectra_app.potentials.calculator import SpectraCalculator  # which imports this module

        return SpectraCalculator(self, skin_A=skin_A, field_V_per_A=field_V_per_A)
