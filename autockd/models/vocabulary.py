"""Training with only those rows of the word embedding that the texts need, without changing the result.

Rows of tokens that never occur get no gradient: Adam leaves them as they are, and decoupled weight decay only shrinks
them (Loshchilov & Hutter, 2019). So they need not be there while a model is trained, and can be put back exactly. Of
a vocabulary of 30,000 a small data set uses a few thousand, and the embedding is half of a small encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autockd.models.encoder import TextEncoder
from autockd.models.tokens import Tokens


@dataclass(frozen=True)
class Vocabulary:
    """Which rows a trimmed model has, and all rows that it had.

    Attributes:
        name: the embedding's name in the model's state.
        used: int64 [U], ids of the rows that stayed, rising.
        rows: float [V, H], all rows as they were, on the CPU.
        places: int64 [V], each id's row in the trimmed model; -1 where it has none.
    """

    name: str
    used: Tensor
    rows: Tensor
    places: Tensor

    def tokens(self, tokens: Tokens) -> Tokens:
        """The same samples with ids as the trimmed model has them, padding's among them.

        Raises:
            ValueError: a sample has an id that was not among the used ones.
        """
        ids = self.places.to(tokens.ids.device)[tokens.ids.long()]
        if bool((ids < 0).any()):
            raise ValueError("the texts hold tokens that the vocabulary was not trimmed for")
        return replace(tokens, ids=ids.int(), pad_id=int(self.places[tokens.pad_id]))

    def restored(self, state: Mapping[str, Tensor], *, decay: float = 1.0) -> dict[str, Tensor]:
        """The state of a trimmed model, with the whole embedding.

        Args:
            state: of the trimmed model.
            decay: what weight decay would have left of the rows that were away: the product of 1 - lr * weight_decay
                over all steps. Exact but for the rounding of each step's product.
        """
        trained = state[self.name]
        rows = self.rows.to(trained) * decay
        rows[self.used.to(trained.device)] = trained.detach()
        return {**state, self.name: rows}


def trim_vocabulary(model: TextEncoder, used_ids: Tensor) -> Vocabulary:
    """Take out of a model, in place, the embedding rows of all ids but those used; before its optimizer is made.

    The ids up to padding's stay too, for some architectures tell padding by its id.

    Args:
        model: the encoder.
        used_ids: integers of any shape, repeats allowed: every id that the model will be given.
    """
    embedding = model.hf.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    name = next(name for name, tensor in model.named_parameters() if tensor is embedding.weight)
    padding = max(model.hf.config.pad_token_id or 0, embedding.padding_idx or 0)
    used = torch.unique(torch.cat([torch.arange(padding + 1), used_ids.flatten().long().cpu()]))
    rows = embedding.weight.detach().cpu().clone()
    places = torch.full((len(rows),), -1).scatter_(0, used, torch.arange(len(used)))
    old = embedding.weight
    embedding.weight = nn.Parameter(rows[used].to(old), requires_grad=old.requires_grad)
    embedding.num_embeddings = len(used)
    return Vocabulary(name, used, rows, places)
