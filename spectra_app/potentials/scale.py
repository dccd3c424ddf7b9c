"""From latent to physical: the only place where the electronic screening is applied (docs/theory.md, "Physical scale").

    P = A P_latent,   Z* = A Z*_latent,   alpha = A alpha_latent A

A = sqrt(eps_e) 1 in a material, 1 for an isolated structure, and sqrt(eps_e) (1 - n n^T) + n n^T/sqrt(eps_e) for a slab
with the normal n: across a slab the response is to D and not to E, and the model has divided it by its own screening
1 + chi already, where the material divides by eps_inf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spectra_app.errors import ModelError
from spectra_app.structure.system import System


@dataclass(frozen=True)
class PhysicalScale:
    """What turns a model's latent responses into physical ones; a part of the model, as its weights are.

    Attributes:
        eps_inf: high-frequency dielectric constant of the material (refractive index squared); None: unknown, latent
            values are reported as they are.
        chi: mean latent susceptibility tr(alpha)/(3 eps0 V) of the dense material; 0 for a variant without induced
            response, None where nobody has measured it.
        screening: by how much the model itself screens a slow field: 1 + chi where induced terms answer each other, a
            measured number where they do not (``training.screening.measure_scale``); None where nobody has measured it.
    """

    eps_inf: float | None = None
    chi: float | None = None
    screening: float | None = None

    @property
    def known(self) -> bool:
        """Whether eps_e has a value."""
        return self.eps_inf is None or self.screening is not None

    @property
    def eps_e(self) -> float:
        """eps_inf over the model's own screening; 1 without eps_inf.

        Raises:
            ModelError: nobody has measured the model's screening.
        """
        if self.eps_inf is None:
            return 1.0
        if self.screening is None:
            raise ModelError(
                "physical dipoles of a cell",
                got="a model that does not know the susceptibility of its material",
                wanted="scale: {chi: ...} in its model.yaml",
                todo="Run: spectra-app models NAME --frames bulk.extxyz --save",
            )
        return self.eps_inf / self.screening

    @property
    def charge_unit(self) -> float:
        """Latent charge, e, of one elementary charge in the material: 1/sqrt(eps_e); 1 while the scale is unknown."""
        return 1.0 / math.sqrt(self.eps_e) if self.known else 1.0

    def charge_units(self, system: System) -> Tensor:
        """Latent charge of one elementary charge in each structure [structure]; isolated ones have 1."""
        ones = torch.ones_like(system.charge)
        return ones if self.charge_unit == 1.0 else torch.where(system.periodic, self.charge_unit, ones)

    def eps_e_of(self, system: System) -> Tensor:
        """eps_e of each structure [structure]; isolated ones have 1, NaN stands for one that nobody has measured."""
        ones = torch.ones_like(system.charge)
        return torch.where(system.periodic, self.eps_e if self.known else math.nan, ones)

    def axes(self, system: System) -> Tensor:
        """A [structure, xyz, xyz], symmetric; see the module.

        Raises:
            ModelError: a periodic structure, and nobody has measured the model's screening.
        """
        identity = torch.eye(3, dtype=system.cell.dtype, device=system.cell.device)
        if not self.known and not bool(system.periodic.any()):
            return identity.expand(system.n_structures, 3, 3)
        root = math.sqrt(self.eps_e)
        axes = torch.where(system.periodic, root, torch.ones_like(system.charge))[:, None, None] * identity
        if system.slab is None:
            return axes
        normal = torch.nn.functional.normalize(system.cell[:, 2].detach(), dim=1)
        across = (1.0 / root - root) * normal[:, :, None] * normal[:, None, :]
        return axes + torch.where(system.slab[:, None, None], across, torch.zeros_like(across))

    def vectors(self, latent: Tensor, system: System) -> Tensor:
        """Physical dipoles [structure, xyz], e A, of latent ones."""
        return (self.axes(system).to(latent.dtype) @ latent[..., None])[..., 0]

    def tensors(self, latent: Tensor, system: System) -> Tensor:
        """Physical polarizabilities [structure, xyz, xyz], e^2 A^2/eV, of latent ones."""
        axes = self.axes(system).to(latent.dtype)
        return axes @ latent @ axes

    def born_charges(self, latent: Tensor, system: System) -> Tensor:
        """Physical Born charges [atom, field, displacement], e, of latent ones: the axes turn the field's index."""
        return self.axes(system).to(latent.dtype)[system.batch] @ latent
