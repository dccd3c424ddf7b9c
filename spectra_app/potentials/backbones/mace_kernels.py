"""The network of mace-torch with products of cuequivariance or openequivariance, on the weights of the plain one.

The library makes the network anew of other modules, whose weights are in an order and a basis of their own.  Here these
modules get the weights of the plain network instead, turned at every step (some thousand numbers): the parameters
are the same objects under the same names, so that folders, optimizers and restarts know one order only, that of e3nn.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spectra_app.errors import ConfigError
from spectra_app.potentials.backbones.library_kernels import require_kernels
from spectra_app.potentials.backbones.mace_library import in_precision, mace_modules, quiet, version_of


def kernel_options(kernels: str, fused: bool) -> dict[str, Any]:
    """What the constructor of the library's ``MACE`` is given for them, as its own conversion does.

    Args:
        kernels: ``cuequivariance`` or ``openequivariance``.
        fused: products of pairs and their sums over neighbours in one kernel, where there is a GPU.
    """
    mace_modules()
    choices = importlib.import_module("mace.modules.wrapper_ops")
    if kernels == "cuequivariance":
        made = choices.CuEquivarianceConfig(
            enabled=True, layout="ir_mul", group="O3_e3nn", optimize_all=True, conv_fusion=fused
        )
        return {"cueq_config": made}
    return {"oeq_config": choices.OEQConfig(enabled=True, optimize_all=True, conv_fusion="atomic")}


def with_kernels(plain: nn.Module, build: Callable[..., nn.Module], kernels: str, like: Tensor) -> nn.Module:
    """A network that computes what another one does, on the same parameters.

    Args:
        plain: network of e3nn's products.
        build: makes a network of the same architecture, given ``kernel_options``.
        kernels: ``cuequivariance`` or ``openequivariance``.
        like: its device and dtype are those of the network.

    Raises:
        ConfigError: a package is missing, or these kernels cannot do this architecture.
    """
    on_gpu = like.is_cuda
    require_kernels(kernels, on_gpu)
    try:
        with in_precision(like.dtype), quiet(), torch.random.fork_rng(devices=[]):
            fast = build(**kernel_options(kernels, on_gpu))
    except (NotImplementedError, ValueError, AssertionError) as error:
        raise _not_with(kernels, str(error)) from error
    if kernels == "cuequivariance":
        _use_weights_of(plain, fast)
    owned = dict(plain.named_parameters())
    for name, parameter in list(fast.named_parameters()):
        wanted = owned.get(name)
        if wanted is None or wanted.shape != parameter.shape:
            raise _not_with(kernels, f"weights {name}, {tuple(parameter.shape)}, that e3nn has not")
        place, _, key = name.rpartition(".")
        setattr(fast.get_submodule(place), key, wanted)
    missing = [name for name, _ in fast.named_parameters()] != list(owned)
    if missing:
        raise _not_with(kernels, "other weights than e3nn")
    return fast.to(like)


def _use_weights_of(plain: nn.Module, fast: nn.Module) -> None:
    """Put wrappers with the plain network's weights around products of cuequivariance."""
    layers = importlib.import_module("cuequivariance_torch")
    for name, module in list(fast.named_modules()):
        if not isinstance(module, layers.SymmetricContraction | layers.Linear | layers.FullyConnectedTensorProduct):
            continue
        theirs: Any = plain.get_submodule(name)
        contracts = isinstance(module, layers.SymmetricContraction)
        made = _Contraction(module, theirs) if contracts else _Product(module, theirs.weight)
        place, _, key = name.rpartition(".")
        setattr(fast.get_submodule(place), key, made)


class _Product(nn.Module):
    """A linear layer or a product of cuequivariance on weights of e3nn, whose order is the same.

    Args:
        kernel: module of cuequivariance; loses its own weights.
        weight: [number], of e3nn's module.
    """

    def __init__(self, kernel: Any, weight: nn.Parameter) -> None:
        super().__init__()
        if kernel.weight_numel != weight.numel():
            raise _not_with("cuequivariance", f"{kernel.weight_numel} weights for {weight.numel()} of e3nn")
        kernel.weight, kernel.internal_weights = None, False
        self.kernel, self.weight = kernel, weight

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the module's own."""
        made: Tensor = self.kernel(*inputs, weight=self.weight.reshape(1, -1))
        return made


class _Contraction(nn.Module):
    """Products of a sum over neighbours with itself by cuequivariance, on weights of e3nn.

    Weights of e3nn lie in one array [element, path, channel] per irrep and number of factors; cuequivariance has one
    array of all paths, turned into its own basis of paths (by itself, or by ``turn`` where the basis is a reduced one).

    Args:
        kernel: ``cuequivariance_torch.SymmetricContraction``; loses its own weights.
        plain: ``mace.modules.symmetric_contraction.SymmetricContraction``.
    """

    turn: Tensor | None

    def __init__(self, kernel: Any, plain: Any) -> None:
        super().__init__()
        reduced = kernel.projection is None
        self.contractions = plain.contractions  # of which only the weights are used
        self._used = [_used_weights(one, every=reduced) for one in plain.contractions]
        turn = _turn_of_reduced(plain) if reduced else None
        self.register_buffer("turn", turn, persistent=False)
        paths = sum(weight.shape[1] for weight in self._weights())
        found = paths if turn is None else (turn.shape[1] if turn.shape[0] == paths else -1)
        if found != kernel.weight_shape[0]:
            raise _not_with("cuequivariance", f"{kernel.weight_shape[0]} paths of a product for {paths} of e3nn")
        del kernel.weight
        self.kernel = kernel

    def _weights(self) -> list[Tensor]:
        """Arrays [element, path, channel] in the order of cuequivariance."""
        pairs = zip(self.contractions, self._used, strict=True)
        return [one.weights_max if name == "max" else one.weights[name] for one, names in pairs for name in names]

    def forward(self, features: Tensor, elements: Tensor) -> Tensor:
        """As the module's own."""
        weight = torch.cat(self._weights(), dim=1)
        if self.turn is not None:
            weight = torch.einsum("zau,ab->zbu", weight, self.turn)
        self.kernel.weight = weight
        made: Tensor = self.kernel(features, elements)
        self.kernel.weight = None
        return made


def _used_weights(contraction: Any, every: bool) -> list[Any]:
    """Names of the arrays of one irrep, most factors first; those without a path are zeros that cue does not know."""
    names: list[Any] = ["max", *range(len(contraction.weights))]
    flags = [f"weights_{name}_zeroed" for name in names]
    return [name for name, flag in zip(names, flags, strict=True) if every or not bool(getattr(contraction, flag))]


def _turn_of_reduced(plain: Any) -> Tensor:
    """From the paths of the library's reduced basis to those of cuequivariance [path, path]."""
    from e3nn import o3

    cue = importlib.import_module("cuequivariance")
    group = importlib.import_module("mace.tools.cg").O3_e3nn
    tools = importlib.import_module("mace.tools.cg_cueq_tools")
    ends = [cue.Irreps(group, str(o3.Irreps([one.ir for one in part]))) for part in (plain.irreps_in, plain.irreps_out)]
    _, turn = tools.symmetric_contraction_proj(*ends, list(range(1, plain.contractions[0].correlation + 1)))
    return torch.tensor(turn, dtype=torch.get_default_dtype())


def _not_with(kernels: str, got: str) -> ConfigError:
    return ConfigError(
        f"model.kernels {kernels}",
        got=f"{got} (mace-torch {version_of('mace-torch')}, {kernels} {version_of(kernels)})",
        wanted="layers that these kernels know",
        todo="Set kernels: e3nn",
    )
