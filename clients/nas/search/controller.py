"""An LSTM that writes architectures, decision by decision, with skip connections by attention (extra [torch]).

Lei and Xiong, "Reinforcement Learning for Neural Network Architecture": two layers, a softmax for each decision whose weights are
those of its kind, and P(layer j is an input to layer i) = sigmoid(v' tanh(W_prev h_j + W_curr h_i)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from curvestop.clients.nas.spaces.chain import DecisionChain, Option

Chosen = tuple[Option, ...]


class Controller(nn.Module):
    """Probabilities of the architectures of a chain.

    decisions_per_layer: with skip connections, after so many decisions a layer is complete, and it is decided for each earlier
    one whether it is an input. In an architecture the connection from layer 1 to layer 3 is "1->3", behind all options.
    """

    def __init__(
        self, chain: DecisionChain, *, n_hidden: int = 32, n_layers: int = 2, decisions_per_layer: int | None = None
    ) -> None:
        super().__init__()
        if decisions_per_layer is not None and len(chain.decisions) % decisions_per_layer:
            raise ValueError(
                f"decisions_per_layer must divide the number of decisions, {len(chain.decisions)}, but got {decisions_per_layer}"
            )
        self.chain, self.decisions_per_layer = chain, decisions_per_layer
        sizes = {decision.kind: len(decision.options) for decision in chain.decisions}
        self.begin = nn.Parameter(torch.zeros(1, n_hidden))
        self.embeddings = nn.ModuleDict({kind: nn.Embedding(n, n_hidden) for kind, n in sizes.items()})
        self.heads = nn.ModuleDict({kind: nn.Linear(n_hidden, n) for kind, n in sizes.items()})
        self.cells = nn.ModuleList(nn.LSTMCell(n_hidden, n_hidden) for _ in range(n_layers))
        if decisions_per_layer is not None:
            self.previous = nn.Linear(n_hidden, n_hidden, bias=False)
            self.current = nn.Linear(n_hidden, n_hidden, bias=False)
            self.attention = nn.Linear(n_hidden, 1, bias=False)
        for head in self.heads.values():  # the first architectures are drawn almost uniformly
            for weights in head.parameters():
                nn.init.uniform_(weights, -0.05, 0.05)

    def sample(self, n: int, generator: torch.Generator, *, temperature: float = 1.0) -> list[Chosen]:
        """n architectures, independently; at temperatures above 1 more evenly than the policy has it."""
        with torch.no_grad():
            choices, skips, _ = self._walk(n, None, None, generator, temperature)
        return [self._chosen(row, bits) for row, bits in zip(choices.tolist(), skips.tolist(), strict=True)]

    def log_probabilities(self, architectures: Sequence[Chosen]) -> torch.Tensor:
        """`(n, decisions)`: the logarithm of each decision's probability, skip connections after the others."""
        choices, skips = self._indices(architectures)
        _, _, logs = self._walk(len(architectures), choices, skips, None)
        return logs

    def probability(self, architecture: Chosen) -> float:
        with torch.no_grad():
            return float(self.log_probabilities([architecture]).sum().exp())

    # Indices: choices `(n, decisions)`, skips `(n, pairs)` of 0 and 1 in the order of `_pairs`.

    @property
    def n_layers(self) -> int:
        return 0 if self.decisions_per_layer is None else len(self.chain.decisions) // self.decisions_per_layer

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return ((j, i) for i in range(self.n_layers) for j in range(i))

    def _chosen(self, row: list[int], bits: list[float]) -> Chosen:
        options = [decision.options[index] for decision, index in zip(self.chain.decisions, row, strict=True)]
        return (*options, *(f"{j + 1}->{i + 1}" for (j, i), bit in zip(self._pairs(), bits, strict=True) if bit))

    def _indices(self, architectures: Sequence[Chosen]) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(self.chain.decisions)
        try:
            choices = [[d.options.index(o) for d, o in zip(self.chain.decisions, a[:n], strict=True)] for a in architectures]
        except ValueError:
            raise ValueError(f"architectures must be of the controller's space, but got {list(architectures)!r}") from None
        skips = [[float(f"{j + 1}->{i + 1}" in a[n:]) for j, i in self._pairs()] for a in architectures]
        return torch.tensor(choices), torch.tensor(skips).reshape(len(architectures), -1)

    def _walk(
        self,
        n: int,
        choices: torch.Tensor | None,
        skips: torch.Tensor | None,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Along given decisions, or sampling them: `(choices, skips, log-probabilities)`."""
        inputs = self.begin.expand(n, -1)
        states: list[tuple[torch.Tensor, torch.Tensor]] = [
            (torch.zeros_like(inputs), torch.zeros_like(inputs)) for _ in self.cells
        ]
        taken, logs, anchors, bits, bit_logs = [], [], list[torch.Tensor](), list[torch.Tensor](), list[torch.Tensor]()
        for place, decision in enumerate(self.chain.decisions):
            for depth, cell in enumerate(self.cells):
                states[depth] = cell(inputs, states[depth])
                inputs = states[depth][0]
            scores = torch.log_softmax(self.heads[decision.kind](inputs) / temperature, dim=1)
            index = _drawn(scores, generator) if choices is None else choices[:, place : place + 1]
            taken.append(index)
            logs.append(scores.gather(1, index))
            hidden, inputs = inputs, self.embeddings[decision.kind](index[:, 0])
            if self.decisions_per_layer is not None and (place + 1) % self.decisions_per_layer == 0:
                for anchor in anchors:
                    weight = self.attention(torch.tanh(self.previous(anchor) + self.current(hidden))) / temperature
                    bit = _bit(weight, skips, len(bits), generator)
                    bits.append(bit)
                    bit_logs.append(nn.functional.logsigmoid(torch.where(bit > 0, weight, -weight)))
                anchors.append(hidden)
        drawn = torch.cat(bits, dim=1) if bits else torch.zeros(n, 0)
        return torch.cat(taken, dim=1), drawn, torch.cat(logs + bit_logs, dim=1)


def _drawn(scores: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return torch.multinomial(scores.exp(), 1, generator=generator)


def _bit(weight: torch.Tensor, given: torch.Tensor | None, place: int, generator: torch.Generator | None) -> torch.Tensor:
    if given is None:
        return torch.bernoulli(torch.sigmoid(weight), generator=generator)
    return given[:, place : place + 1]
