"""An LSTM controller that writes architectures choice by choice, with skip connections by attention (extra [torch]).

Lei and Xiong, "Reinforcement Learning for Neural Network Architecture": two LSTM layers, and for each choice a softmax whose
weights are shared by all choices of its kind. The skip connection from layer j to layer i has the probability
sigmoid(v' tanh(W_prev h_j + W_curr h_i)), where h are the LSTM's outputs at the layers' last choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from curvestop.clients.nas.spaces.chain import ChoiceChain, Option

Chosen = tuple[Option, ...]
"""An architecture: an option for each choice, then its skip connections, such as "1->3"."""


class Controller(nn.Module):
    """A probability distribution over the architectures of a chain of choices.

    Args:
        chain: The search space.
        n_hidden: Size of the LSTM's states and of the embeddings. Default: 32.
        n_layers: Number of LSTM layers. Default: 2.
        choices_per_layer: Number of choices that make one layer of an architecture. After each layer the controller decides
            for every earlier layer whether there is a skip connection from it. Default: no skip connections.

    Raises:
        ValueError: If `choices_per_layer` does not divide the number of choices.

    Examples:
        >>> from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
        >>> _ = torch.manual_seed(0)
        >>> controller = Controller(ChoiceChain((Choice("operation", ("conv", "pool")),) * 2))
        >>> [chosen] = controller.sample(1, torch.Generator().manual_seed(0))
        >>> len(chosen), 0.2 < controller.probability(chosen) < 0.3  # almost uniform over four architectures
        (2, True)
    """

    def __init__(
        self, chain: ChoiceChain, *, n_hidden: int = 32, n_layers: int = 2, choices_per_layer: int | None = None
    ) -> None:
        super().__init__()
        if choices_per_layer is not None and len(chain.choices) % choices_per_layer:
            raise ValueError(
                f"choices_per_layer must divide the number of choices, {len(chain.choices)}, but got {choices_per_layer}"
            )
        self.chain, self.choices_per_layer = chain, choices_per_layer
        # One embedding and one softmax a kind: "the same to generate same type of hyperparameters in different layers".
        sizes = {choice.kind: len(choice.options) for choice in chain.choices}
        self.begin = nn.Parameter(torch.zeros(1, n_hidden))  # input at the first choice
        self.embeddings = nn.ModuleDict({kind: nn.Embedding(n, n_hidden) for kind, n in sizes.items()})
        self.heads = nn.ModuleDict({kind: nn.Linear(n_hidden, n) for kind, n in sizes.items()})
        # An LSTM of single cells, because each input depends on what was just sampled.
        self.cells = nn.ModuleList(nn.LSTMCell(n_hidden, n_hidden) for _ in range(n_layers))
        if choices_per_layer is not None:
            self.previous = nn.Linear(n_hidden, n_hidden, bias=False)  # W_prev
            self.current = nn.Linear(n_hidden, n_hidden, bias=False)  # W_curr
            self.attention = nn.Linear(n_hidden, 1, bias=False)  # v
        # Small weights: the first architectures are drawn almost uniformly.
        for head in self.heads.values():
            for weights in head.parameters():
                nn.init.uniform_(weights, -0.05, 0.05)

    def sample(self, n: int, generator: torch.Generator, *, temperature: float = 1.0) -> list[Chosen]:
        """Sample architectures independently.

        Args:
            n: Number of architectures.
            generator: Source of randomness.
            temperature: Divisor of all logits; above 1 the sampling is more uniform than the policy. Default: 1.

        Returns:
            The architectures, which need not be different.
        """
        with torch.no_grad():
            option_indices, skips, _ = self._walk(n, None, None, generator, temperature)
        return [self._chosen(row, bits) for row, bits in zip(option_indices.tolist(), skips.tolist(), strict=True)]

    def log_probabilities(self, architectures: Sequence[Chosen]) -> torch.Tensor:
        """Compute the logarithm of each choice's probability.

        Args:
            architectures: n architectures.

        Returns:
            `(n, choices + pairs of layers)`, skip connections after the choices. An architecture's log-probability is the sum
            of its row.

        Raises:
            ValueError: If an architecture is not in the space.
        """
        option_indices, skips = self._indices(architectures)
        _, _, log_probabilities = self._walk(len(architectures), option_indices, skips, None)
        return log_probabilities

    def probability(self, architecture: Chosen) -> float:
        """Return the probability of sampling an architecture, in [0, 1].

        Args:
            architecture: An option for each choice, then its skip connections.

        Raises:
            ValueError: If the architecture is not in the space.
        """
        with torch.no_grad():
            return float(self.log_probabilities([architecture]).sum().exp())

    # Below, option_indices is `(n, choices)`, and skips is `(n, pairs)` of 0 and 1 in the order of `_pairs`.

    @property
    def n_layers(self) -> int:
        """Number of layers of an architecture; 0 without skip connections."""
        return 0 if self.choices_per_layer is None else len(self.chain.choices) // self.choices_per_layer

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return ((j, i) for i in range(self.n_layers) for j in range(i))

    def _chosen(self, row: list[int], bits: list[float]) -> Chosen:
        options = [choice.options[index] for choice, index in zip(self.chain.choices, row, strict=True)]
        return (*options, *(f"{j + 1}->{i + 1}" for (j, i), bit in zip(self._pairs(), bits, strict=True) if bit))

    def _indices(self, architectures: Sequence[Chosen]) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(self.chain.choices)
        try:
            indices = [[c.options.index(o) for c, o in zip(self.chain.choices, a[:n], strict=True)] for a in architectures]
        except ValueError:
            raise ValueError(f"architectures must be of the controller's space, but got {list(architectures)!r}") from None
        # a[n:] are the skip connections, after the n options.
        skips = [[float(f"{j + 1}->{i + 1}" in a[n:]) for j, i in self._pairs()] for a in architectures]
        return torch.tensor(indices), torch.tensor(skips).reshape(len(architectures), -1)

    def _walk(
        self,
        n: int,
        option_indices: torch.Tensor | None,
        skips: torch.Tensor | None,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Follow given architectures, or sample them: `(option_indices, skips, log-probabilities)`."""
        inputs = self.begin.expand(n, -1)  # (n, n_hidden)
        states: list[tuple[torch.Tensor, torch.Tensor]] = [
            (torch.zeros_like(inputs), torch.zeros_like(inputs)) for _ in self.cells
        ]
        taken, log_choices = list[torch.Tensor](), list[torch.Tensor]()
        layer_outputs, bits, log_bits = list[torch.Tensor](), list[torch.Tensor](), list[torch.Tensor]()
        for k, choice in enumerate(self.chain.choices):
            for depth, cell in enumerate(self.cells):
                states[depth] = cell(inputs, states[depth])
                inputs = states[depth][0]  # the hidden state; [1] is the cell state
            scores = torch.log_softmax(self.heads[choice.kind](inputs) / temperature, dim=1)  # (n, options)
            index = _sampled_option(scores, generator) if option_indices is None else option_indices[:, k : k + 1]
            taken.append(index)
            log_choices.append(scores.gather(1, index))
            # The next input is the embedding of the chosen option.
            hidden, inputs = inputs, self.embeddings[choice.kind](index[:, 0])
            if self.choices_per_layer is not None and (k + 1) % self.choices_per_layer == 0:
                # The layer is complete. Is each earlier layer an input of it?
                for earlier in layer_outputs:
                    logit = self.attention(torch.tanh(self.previous(earlier) + self.current(hidden))) / temperature
                    bit = _sampled_bit(logit, generator) if skips is None else skips[:, len(bits) : len(bits) + 1]
                    bits.append(bit)
                    # log sigmoid(-x) is the log-probability of no connection.
                    log_bits.append(nn.functional.logsigmoid(torch.where(bit > 0, logit, -logit)))
                layer_outputs.append(hidden)
        all_bits = torch.cat(bits, dim=1) if bits else torch.zeros(n, 0)
        return torch.cat(taken, dim=1), all_bits, torch.cat(log_choices + log_bits, dim=1)


def _sampled_option(scores: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return torch.multinomial(scores.exp(), 1, generator=generator)


def _sampled_bit(logit: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return torch.bernoulli(torch.sigmoid(logit), generator=generator)
