"""Probes: classifiers on the embeddings of a pretrained encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack, cast

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from genreclf.data.clips import ClipBatch
from genreclf.errors import UserError
from genreclf.evaluation.gather import GatheredPredictions
from genreclf.evaluation.metrics import track_loss
from genreclf.evaluation.predictions import ClipPredictions
from genreclf.training.module import GenreClassifier, Training


class Probe(GenreClassifier):
    """A linear classifier or a small network on the mean, and optionally the deviation, of embeddings over a clip.

    One head (a classifier) is trained for each pair of learning rate and weight decay, all in the same training steps.
    After each epoch, the head with the lowest loss on validation tracks is chosen, so that the epoch and the pair are
    selected together, using these tracks alone.

    Args:
        layer: Name or number of the encoder's layer; or ``all`` for a sum of all layers with learned weights, or, if
            layers differ in size, for the weighted layers concatenated.
        deviation: Whether the standard deviation over the clip is used in addition to the mean.
        hidden: Number of units of a hidden layer before the classifier; None for a linear probe without such a layer.
        dropout: Dropout probability before the classifier.
        lr_factors: Learning rates to try, as multiples of the optimizer's learning rate.
        weight_decay_factors: Weight decays to try, as multiples of the optimizer's weight decay.
        **training: Arguments passed on to `GenreClassifier`.

    Raises:
        ValueError: `layer` does not exist, there are no valid factors to try, or `spec` is not one of embeddings.
    """

    takes = "embedding"
    network: "ProbeNetwork"

    def __init__(
        self,
        *,
        layer: int | str = "all",
        deviation: bool = False,
        hidden: int | None = None,
        dropout: float = 0.0,
        lr_factors: Sequence[float] = (1.0,),
        weight_decay_factors: Sequence[float] = (1.0,),
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        if self.spec.layers is None:
            raise ValueError("a probe takes embeddings, not spectrograms")
        self.factors = [(lr, decay) for lr in lr_factors for decay in weight_decay_factors]
        if not self.factors or any(lr <= 0 or decay < 0 for lr, decay in self.factors):
            raise ValueError("lr_factors must be above 0 and weight_decay_factors at least 0")
        self.network = ProbeNetwork(
            dict(self.spec.layers),
            len(self.genres),
            layer=layer,
            deviation=deviation,
            hidden=hidden,
            dropout=dropout,
            heads=len(self.factors),
        )
        self.tried = nn.ModuleList(
            GatheredPredictions(genres=self.genres, frames_per_second=self.spec.frames_per_second) for _ in self.factors
        )

    def clip_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of all heads, and the logits of the chosen head."""
        logits: Tensor = (self._train_network or self.network)(x)
        loss = torch.stack([self.loss(each, y) for each in logits.unbind()]).sum()
        return loss, logits.index_select(0, self.network.chosen)[0]

    def _sum_up(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """Add the loss of the chosen head in place of the sum over all heads."""
        super()._sum_up(self.loss(logits, y), logits, y)

    def optimizer_of_network(self) -> Optimizer:
        """Return the optimizer, which has a separate learning rate and weight decay for each head."""
        optimizer = self.make_optimizer([{"params": list(head.parameters())} for head in self.network.heads])
        for row, (group, (lr, decay)) in enumerate(zip(optimizer.param_groups, self.factors, strict=True)):
            if decay != 1 and "weight_decay" not in group:
                raise UserError("optimizer has no weight_decay to search: set model.weight_decay_factors=[1].")
            group["lr"] = group["lr"] * lr
            group["weight_decay"] = group.get("weight_decay", 0.0) * decay
            self.network.search[row, :2] = torch.tensor([group["lr"], group["weight_decay"]])
        return optimizer

    def clipped_apart(self) -> list[nn.Module]:
        """Return the heads, whose gradients do not depend on each other."""
        return list(self.network.heads)

    @property
    def _is_searching(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def validation_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> None:
        """Gather the logits of a batch of the fixed grid of clips; during training, gather the logits of every head."""
        if not self._is_searching or isinstance(batch, Tensor):
            super().validation_step(batch, batch_idx)
            return
        every = self.network.logits(self.scaling(batch.stored))
        for gathered, logits in zip(cast(list[GatheredPredictions], self.tried), every.unbind(), strict=True):
            gathered.update(batch.segment, batch.start_frame, batch.genre, logits, batch.track_ids)

    def on_train_start(self) -> None:
        """Discard the search results of an earlier training."""
        super().on_train_start()
        if self.current_epoch == 0:
            self.network.search[:, 2:] = 0.0

    def on_validation_epoch_end(self) -> None:
        """Choose the head with the lowest loss on validation tracks, and log its metrics."""
        if not self._is_searching:
            super().on_validation_epoch_end()
            return
        predictions: list[ClipPredictions] = []
        for gathered in cast(list[GatheredPredictions], self.tried):
            predictions.append(gathered.predictions())
            gathered.reset()
        tracks = [each.per_track() for each in predictions]
        figures = [(track_loss(each), float((each.predicted == each.targets).mean())) for each in tracks]
        network = self.network
        for row, (loss, accuracy) in enumerate(figures):
            if not (lowest := float(network.search[row, 2])) > 0 or loss < lowest:  # 0: none so far; or NaN.
                network.search[row, 2:] = torch.tensor([loss, accuracy, self.current_epoch])
        best = min(range(len(figures)), key=lambda row: (figures[row][0], -figures[row][1]))
        network.chosen.fill_(best)
        self.log_validation(predictions[best])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the chosen head and the search results of this epoch, even if the saved weights are averages."""
        for name in ("chosen", "search"):
            checkpoint["state_dict"][f"network.{name}"] = getattr(self.network, name).detach().cpu().clone()

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the chosen head."""
        return sum(parameter.numel() for parameter in self.network.head.parameters())

    def summary(self, last: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the layer used, all available layers, the learned weights of the layers, and the search results.

        Args:
            last: State dictionary after the last epoch, which has the complete search results.
        """
        network = self.network
        keys = ("lr", "weight_decay", "val_track_loss", "val_track_accuracy", "epoch")
        rows = last.get("network.search", network.search).tolist()
        search = [dict(zip(keys, row, strict=True)) | {"epoch": int(row[-1])} for row in rows]
        shares = network.head.shares
        weights = {} if shares is None else {"layer_weights": dict(zip(network.sizes, shares.tolist(), strict=True))}
        chosen = search[int(network.chosen)] if len(search) > 1 else None
        layers = {"layer": network.layer, "layers": list(network.sizes)}
        return {"probe": {**layers, "chosen": chosen, "search": search, **weights}}


class ProbeNetwork(nn.Module):
    """Several heads on the same embeddings, trained side by side, of which the best on validation tracks is used.

    Args:
        sizes: Number of values in each layer of the embeddings, by layer name.
        genres: Number of classes.
        layer: Name or number of a layer, or ``all``; see `Probe`.
        deviation: Whether the standard deviation over the clip is used in addition to the mean.
        hidden: Number of units of a hidden layer before the classifier; None for a linear probe.
        dropout: Dropout probability before the classifier.
        heads: Number of heads.

    Attributes:
        chosen: Index of the chosen head, shape ``(1,)``.
        search: Learning rate, weight decay, lowest validation loss, accuracy and epoch at that loss; ``(head, 5)``.

    Raises:
        ValueError: `layer` does not exist.
    """

    chosen: Tensor
    search: Tensor

    def __init__(
        self,
        sizes: Mapping[str, int],
        genres: int,
        *,
        layer: int | str,
        deviation: bool,
        hidden: int | None,
        dropout: float,
        heads: int,
    ) -> None:
        super().__init__()
        names = list(sizes)
        number = names.index(str(layer)) if str(layer) in names else layer
        if layer != "all" and not (isinstance(number, int) and 0 <= number < len(names)):
            raise ValueError(f"layer={layer} must be one of all, {', '.join(names)}, or a number below {len(names)}")
        self.sizes = dict(sizes)
        self.deviation = deviation
        self.number = number if isinstance(number, int) else None
        self.layer = "all" if self.number is None else names[self.number]
        widths = [size * (1 + deviation) for size in sizes.values()]
        self.is_even = len(set(widths)) == 1
        width = widths[self.number or 0] if self.is_even or self.number is not None else sum(widths)
        self.heads = nn.ModuleList(
            Head(width, genres, hidden=hidden, dropout=dropout, widths=widths if self.number is None else None)
            for _ in range(heads)
        )
        self.register_buffer("chosen", torch.zeros(1, dtype=torch.long))
        self.register_buffer("search", torch.zeros(heads, 5))

    @property
    def head(self) -> "Head":
        """Chosen head."""
        head: Head = self.heads[int(self.chosen) if len(self.heads) > 1 else 0]  # type: ignore[assignment]
        return head

    def keep_chosen(self) -> None:
        """Remove all heads but the chosen one."""
        self.heads = nn.ModuleList([self.head])

    def pooled(self, x: Tensor) -> Tensor:
        """Summarize embeddings ``(batch, value, frame)`` over the frames, as input of the heads.

        Returns:
            ``(batch, feature)`` for one layer or for layers of different sizes, else ``(batch, layer, feature)``.
        """
        parts = torch.split(x, list(self.sizes.values()), 1)
        chosen = parts if self.number is None else [parts[self.number]]
        each = [part.mean(2) for part in chosen]
        if self.deviation:
            each = [torch.cat([mean, part.std(2, correction=0)], 1) for mean, part in zip(each, chosen, strict=True)]
        if self.number is not None:
            return each[0]
        return torch.stack(each, 1) if self.is_even else torch.cat(each, 1)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits ``(head, batch, genre)`` of all heads for embeddings ``(batch, value, frame)``."""
        pooled = self.pooled(x)
        return torch.stack([head(pooled) for head in self.heads])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, genre)`` of the chosen head; in training, of all heads, ``(head, batch, genre)``."""
        return self.logits(x) if self.training else self.classifier(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """Return the input ``(batch, feature)`` of the classifier for embeddings ``(batch, value, frame)``."""
        return self.head.embed(self.pooled(x))

    def classifier(self, embedding: Tensor) -> Tensor:
        """Return the logits ``(batch, genre)`` of the chosen head."""
        logits: Tensor = self.head.classifier(embedding)
        return logits


class Head(nn.Module):
    """A classifier of pooled embeddings.

    Args:
        width: Number of input features.
        genres: Number of classes.
        hidden: Number of units of a hidden layer before the classifier; None for no hidden layer.
        dropout: Dropout probability before the classifier.
        widths: Number of features of each layer if layers are weighted, with equal initial weights; else None.
    """

    def __init__(
        self, width: int, genres: int, *, hidden: int | None, dropout: float, widths: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.widths = widths
        self.layer_weights = None if widths is None else nn.Parameter(torch.zeros(len(widths)))
        dense = [] if hidden is None else [nn.Linear(width, hidden), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*dense, nn.Dropout(dropout))
        self.classifier = nn.Linear(width if hidden is None else hidden, genres)

    @property
    def shares(self) -> Tensor | None:
        """Weights of the layers, which sum to 1; None if only one layer is used."""
        return None if self.layer_weights is None else self.layer_weights.softmax(0)

    def embed(self, pooled: Tensor) -> Tensor:
        """Return the input ``(batch, feature)`` of the classifier for pooled embeddings."""
        if self.widths is not None and (shares := self.shares) is not None:
            if pooled.ndim == 3:
                pooled = torch.einsum("blf,l->bf", pooled, shares)
            else:
                each = [share.expand(width) for share, width in zip(shares.unbind(), self.widths, strict=True)]
                pooled = pooled * (torch.cat(each) * len(self.widths))
        features: Tensor = self.features(pooled)
        return features

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the logits ``(batch, genre)`` for pooled embeddings."""
        logits: Tensor = self.classifier(self.embed(pooled))
        return logits
