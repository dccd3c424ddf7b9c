"""Muon: orthogonal steps for matrices, Adam for the rest, a state that continues exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from spectra_app.training.optimizers import Muon, as_matrix, orthogonalized


class Small(nn.Module):
    """One parameter of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 6)
        self.linear = nn.Linear(6, 4)
        self.single = nn.Linear(4, 1)
        self.filters = nn.Parameter(torch.randn(3, 5, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.linear(self.embedding(x)))
        return (self.single(hidden) + (hidden @ self.filters.sum(0).T).sum(-1, keepdim=True)).square().sum()


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(*shape, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalized(1e-6 * matrix) @ vt.T  # diagonal if the singular vectors stayed
    diagonal = found.diagonal()
    assert float((found - torch.diag(diagonal)).abs().max()) < 1e-8
    large = s > 0.05 * s.max()
    assert float(diagonal[large].min()) > 0.6
    assert float(diagonal[large].max()) < 1.25


def test_step_size_does_not_depend_on_the_gradient_and_lowers_the_loss():
    torch.manual_seed(0)
    model = Small()
    optimizer = Muon(model, 1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    x = torch.tensor([0, 1, 2])
    first = model(x)
    (1e4 * first).backward()
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    # Adam's first step is the learning rate in every entry that has a gradient.
    assert moved["single.bias"].abs().item() == pytest.approx(1e-2, rel=1e-4)
    assert moved["embedding.weight"].abs().max().item() == pytest.approx(1e-2, rel=1e-3)
    # Leading axes of the filters count as rows.
    for name, rows in (("linear.weight", 4), ("filters", 15)):
        step = as_matrix(moved[name])
        assert step.shape[0] == rows
        largest = torch.linalg.svdvals(step)[0].item()
        assert 0.6 < largest / (1e-2 * 0.2 * max(step.shape) ** 0.5) < 1.25, name
    for name, parameter in model.named_parameters():
        assert float((moved[name] * parameter.grad).sum()) < 0, f"{name} went uphill"
    assert model(x).item() < first.item()


def test_state_continues_exactly():
    torch.manual_seed(1)
    model = Small()
    optimizer = Muon(model, 1e-2)
    x = torch.tensor([2, 0])

    def steps(model, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad(set_to_none=True)
            model(x).backward()
            optimizer.step()

    steps(model, optimizer, 2)
    other = copy.deepcopy(model)
    resumed = Muon(other, 1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3)
    steps(other, resumed, 3)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
