"""Instance norm, ReLU and pooling in one kernel, against torch's layers.

Triton's interpreter runs the kernels on a CPU, in a process of its own, where Triton is installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from condensery import nets
from condensery.methods.objectives.chain_gradients import chain_gradients
from condensery.nets import fused
from condensery.runtime import kernels
from condensery.runtime.plan import exact_plan

_SCRIPT = """
import torch
from condensery.nets import fused
torch.manual_seed(0)
for shape in [(3, 5, 8, 8), (2, 3, 14, 14), (1, 4, 32, 32), (5, 2, 6, 10), (9, 3, 2, 2)]:
    for dtype, near in [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)]:
        x = (3 * torch.randn(shape) + 1).to(dtype).requires_grad_()
        gain, shift = (torch.randn(shape[1]).to(dtype).requires_grad_() for _ in range(2))
        wide = [t.detach().double().requires_grad_() for t in (x, gain, shift)]
        wanted = fused.reference(*wide, 1e-5)
        found = fused._Block.apply(x, gain, shift, 1e-5)
        assert found.dtype == dtype
        slope = torch.randn_like(found)
        slopes = torch.autograd.grad(found, [x, gain, shift], slope)
        oracle = torch.autograd.grad(wanted, wide, slope.double())
        for one, other in zip([found, *slopes], [wanted, *oracle]):
            error = (one.double() - other).norm() / (other.norm() + 0.1)
            assert error < near, (shape, dtype, float(error))
x = torch.randn(2, 3, 4, 4, requires_grad=True)
gain, shift = torch.randn(3), torch.randn(3)
twice = []
for block in (fused._Block.apply, fused.reference):
    made = block(x, gain, shift, 1e-5)
    (first,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    twice += torch.autograd.grad(first.square().sum(), x)
again, wanted = twice
assert torch.allclose(again, wanted, rtol=1e-3, atol=1e-4), (again - wanted).abs().max()
print("agree")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_are_the_layers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "agree", done.stderr


def test_a_chain_takes_three_layers_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule around the kernels: its gradients are those of the layers one by one."""

    def forward(x: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor, eps: float) -> object:
        return fused.reference(x, gain, shift, eps)

    def backward(
        slope: torch.Tensor,
        x: torch.Tensor,
        gain: torch.Tensor,
        shift: torch.Tensor,
        eps: float,
        *,
        affine: bool,
    ) -> object:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (x, gain, shift)]
            made = fused.reference(leaves[0], leaves[1], leaves[2], eps)
            slope_x, *_ = torch.autograd.grad(made, leaves, slope, retain_graph=True)
            each = [
                torch.autograd.grad(made[i], leaves[1:], slope[i], retain_graph=True)
                for i in range(len(x))
            ]
        return slope_x, *(torch.stack(one) for one in zip(*each, strict=True))

    network = nets.build("convnet2:width=6", (1, 8, 8), 3).double()
    layers = nets.chain(network)
    assert layers is not None
    names = frozenset(name for name, _ in network.named_parameters())
    images, labels = torch.randn(6, 1, 8, 8).double(), torch.arange(6) // 2
    inputs = (layers, images, labels, torch.full((6,), 0.5).double(), names, 3)
    wanted = chain_gradients(*inputs)

    def is_block(*three: object) -> bool:
        return isinstance(three[0], nn.GroupNorm)

    monkeypatch.setattr(fused, "possible", lambda x: True)
    monkeypatch.setattr(fused, "fits", is_block)
    monkeypatch.setattr(fused, "forward", forward)
    monkeypatch.setattr(fused, "backward", backward)
    with torch.no_grad():
        found = chain_gradients(*inputs)
    assert found.keys() == wanted.keys() == names
    for name, one in found.items():
        assert torch.allclose(one, wanted[name], rtol=1e-9, atol=1e-12), name


def test_a_bias_before_instance_norm_cancels() -> None:
    """What is left out changes nothing, and the shape of the map is known before it is made."""
    for shape in [(1, 28, 28), (3, 32, 32), (2, 9, 14)]:
        network = nets.build("convnet2:width=6", shape, 3).double()
        conv, norm, *_ = (layer for _, layer in nets.chain(network) or [])
        assert isinstance(conv, nn.Conv2d)
        torch.nn.init.normal_(conv.bias, std=3.0)  # type: ignore[arg-type]
        x = torch.randn(2, *shape).double()
        assert fused.shape_after(conv, x) == conv(x).shape[1:]
        assert torch.allclose(norm(fused.without_bias(conv, x)), norm(conv(x)), atol=1e-10)


def test_kernels_are_for_gpus_and_plans_that_allow_them() -> None:
    network = nets.build("convnet2:width=6", (1, 8, 8), 3)
    layers = [layer for _, layer in nets.chain(network) or []]
    x = torch.randn(2, 6, 8, 8)
    with kernels.fused(True):
        assert not fused.fits(layers[1], layers[2], layers[3], x)
    with exact_plan("cpu", 1).applied():
        assert not kernels.may_fuse()
