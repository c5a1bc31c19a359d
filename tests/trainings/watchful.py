"""Models that would notice it if their layers or their data were looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import small_data
from tests.trainings.test_passes import Model


class Encoder(Model):
    """A transformer's layers, which evaluation computes otherwise, but for those with hooks."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(12, 10)
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # each bit of it

    def encoded(self, images: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(12, device=images.device)
        return self.encoder(images.squeeze(1), mask=mask)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoded(images).mean(1))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen += self(batch[0]).double().sum()

    def val_dataloader(self) -> Any:
        return small_data(32, 4, shuffle=False)


class FrozenEncoder(Encoder):
    """It is evaluated in each step of the training."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder.requires_grad_(requires_grad=False)

    def on_train_epoch_start(self) -> None:
        self.encoder.eval()

    def encoded(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return super().encoded(images)


class SwitchingEncoder(Encoder):
    """It is evaluated once amid each step of the training."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.encoder.eval()
        with torch.no_grad():
            self.seen += self(batch[0]).double().sum()
        self.encoder.train()
        return super().training_step(batch, batch_idx)


class SubclassedEncoder(Encoder):
    """Its layers are of a class whose forward ends in torch's."""

    def __init__(self) -> None:
        super().__init__()
        layer = _Layer(12, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class _Layer(nn.TransformerEncoderLayer):
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().forward(*args, **kwargs)


class ShallowEncoder(Encoder):
    """It calls shallow copies of its layers, as replicas on several devices are."""

    def encoded(self, images: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(12, device=images.device)
        encoded = images.squeeze(1)
        for layer in self.encoder.layers:
            encoded = copy.copy(layer)(encoded, src_mask=mask)
        return encoded


class Teaching(Encoder):
    """Copies itself in a window, and learns from the copy."""

    teacher: list[nn.Module]

    def __init__(self) -> None:
        super().__init__()
        self.teacher = []  # in no list of torch's

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 2:
            self.teacher = [copy.deepcopy(nn.ModuleList([self.encoder, self.head])).eval()]
        loss = super().training_step(batch, batch_idx)
        if self.teacher:
            encoder, head = self.teacher[0].children()
            mask = nn.Transformer.generate_square_subsequent_mask(12, device=self.device)
            with torch.no_grad():
                taught = head(encoder(batch[0].squeeze(1), mask=mask).mean(1))
            loss = loss + F.mse_loss(self(batch[0]), taught)
        return loss


class Dispatching(Model):
    """Counts the operators of its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def forward(self, images: Tensor) -> Tensor:
        with _Counting(self.operators):
            return super().forward(images)


class _Counting(TorchDispatchMode):
    def __init__(self, operators: list[str]) -> None:
        super().__init__()
        self._operators = operators

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._operators.append(str(operator))
        return operator(*args, **(kwargs or {}))


class Packing(Model):
    """Hooks of its layers draw random numbers for what the backward unpacks."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[saved_tensors_hooks] = []
        for layer in (self.conv1, self.conv2, self.fc):
            layer.register_forward_pre_hook(self.begin)
            layer.register_forward_hook(self.end)

    def begin(self, *_: Any) -> None:
        context = saved_tensors_hooks(lambda saved: saved, lambda saved: saved * torch.rand(()))
        context.__enter__()
        self.contexts.append(context)

    def end(self, *_: Any) -> None:
        self.contexts.pop().__exit__()


class _Lazy(Mapping[str, Tensor]):
    """Augments an image when it is asked for."""

    def __init__(self, batch: list[Tensor]) -> None:
        self._batch = batch

    def __getitem__(self, name: str) -> Tensor:
        images, labels = self._batch
        return images + torch.randn_like(images) if name == "images" else labels

    def __iter__(self) -> Iterator[str]:
        return iter(("images", "labels"))

    def __len__(self) -> int:
        return 2


class _LazyList(list[Tensor]):
    """The same as a list."""

    def __iter__(self) -> Iterator[Tensor]:
        torch.rand(())
        return super().__iter__()


class LazyData(Model):
    """Its batches run code of the user's when they are looked at."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        on_device = [each.to(device) for each in batch]
        return _Lazy(on_device), _LazyList(on_device)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        lazy, _ = batch
        return F.cross_entropy(self(lazy["images"]), lazy["labels"])


def compiled_function(backend: str) -> Callable[[], Model]:
    """A model whose forward calls a compiled function, anew for a batch of another size."""

    class Compiled(Model):
        def __init__(self) -> None:
            super().__init__()
            torch.compiler.reset()
            self.compiled = torch.compile(
                super().forward, backend=backend, fullgraph=True, dynamic=False
            )

        def forward(self, images: Tensor) -> Tensor:
            return self.compiled(images)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step([each[: 8 - batch_idx % 3] for each in batch], batch_idx)

    return Compiled
