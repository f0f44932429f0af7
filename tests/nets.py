"""Small networks for the tests of pruning: one of each kind that `compact` has to cut."""

from __future__ import annotations

import torch
from torch import nn

from activebmr.pruning import attach_noise


def mlp() -> nn.Module:
    """10-12-9-4, tanh."""
    return nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4))


class LeNet(nn.Module):
    """LeNet-5 for 28 x 28: 6-16-120-84-10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = x.view(x.size(0), -1)
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x)))))


class Block(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut that is projected or not."""

    def __init__(self, n_in: int, n_out: int, stride: int, curve: type[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), curve()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
        self.short = nn.Identity()
        if n_in != n_out or stride != 1:
            self.short = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x):
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(y + self.short(x))


class Residual(nn.Module):
    """A stem and three blocks: identity, projection, identity."""

    def __init__(self, curve: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem, self.bn, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.blocks = nn.Sequential(Block(6, 6, 1, curve), Block(6, 8, 2, curve), Block(8, 8, 1, curve))
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.flat(self.pool(self.blocks(self.relu(self.bn(self.stem(x)))))))


class Heads(nn.Module):
    """Attention with separate q, k and v."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax(q @ k.transpose(-2, -1) / self.head_dim**0.5, dim=-1)
        return self.proj((a @ v).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, width: int, num_heads: int, library: bool) -> None:
        super().__init__()
        self.norm1, self.norm2, self.library = nn.LayerNorm(width), nn.LayerNorm(width), library
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True) if library else Heads(width, num_heads)
        self.fc1, self.act, self.fc2 = nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + (self.attn(y, y, y, need_weights=False)[0] if self.library else self.attn(y))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """16 patches of 8 x 8 pixels and a class token, width 12, 3 heads, two encoders."""

    def __init__(self, library: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 12, 2, 2)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 17, 12))
        self.encoders = nn.Sequential(Encoder(12, 3, library), Encoder(12, 3, library))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.place
        return self.head(self.norm(self.encoders(x))[:, 0])


SHAPES = {
    "mlp": (10,),
    "lenet": (1, 28, 28),
    "residual": (3, 8, 8),
    "residual-tanh": (3, 8, 8),
    "vit": (1, 8, 8),
    "vit-mha": (1, 8, 8),
}
"""Names that `made` knows, and shapes of an example."""


def lively(net: nn.Module) -> nn.Module:
    """With weights of gain about 1, and scales and statistics of normalisation that are not trivial; in evaluation mode."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                module.weight.mul_(2.5)
            elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
                module.weight.uniform_(0.5, 2.0)
                module.bias.normal_()
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def made(name: str, seed: int = 0) -> nn.Module:
    """A network in evaluation mode, with random weights and some batches in its statistics."""
    torch.manual_seed(seed)
    net = {
        "mlp": mlp,
        "lenet": LeNet,
        "residual": Residual,
        "residual-tanh": lambda: Residual(nn.Tanh),
        "vit": ViT,
        "vit-mha": lambda: ViT(library=True),
    }[name]()
    lively(net)
    with torch.no_grad():
        net.train()
        for _ in range(5):
            net(2 * torch.randn(16, *SHAPES[name]) + 0.5)
    return net.eval()


def pruned(net: nn.Module, share: float = 0.4, seed: int = 1, **kwargs):
    """With noise whose means differ, and about that share of structures removed at random."""
    noisy = attach_noise(net, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for noise in noisy.noise.values():
            noise.mu.uniform_(-1.0, 0.5, generator=generator)
            noise.log_sigma.uniform_(-3.0, 0.0, generator=generator)
    noisy.remove({name: torch.rand(site.n, generator=generator) < share for name, site in noisy.sites.items()})
    return noisy.eval()


def to_sizes(noisy, **left: int) -> None:
    """Remove the last structures of sites until so many are left."""
    noisy.remove({name: torch.arange(noisy.sites[name].n) >= n for name, n in left.items()})


def net_of(forward, **modules):
    """A network with this forward and these modules."""
    net = type("Net", (nn.Module,), {"forward": forward})()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


def n_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def difference(noisy: nn.Module, small: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Largest difference of outputs, and their spread over inputs."""
    with torch.no_grad():
        a, b = noisy(x), small(x)
    return float((a - b).abs().max()), float(a.std(dim=0).max())


def counts_on_a_size() -> nn.Module:
    """For images of 3 x 6 x 6: nothing that is seen in a run forbids cutting ``b``, whose forward then fails."""

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        if x.shape[1] != 6:
            raise IndexError("there must be 6 channels")
        return self.c(x.flatten(1))

    return net_of(forward, a=nn.Conv2d(3, 5, 1), b=nn.Conv2d(5, 6, 3), c=nn.Linear(96, 3))
