"""Training of a CLIP from scratch on pictures with captions, on the CPU, in a fixed number of steps."""

import math
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from anomalyclip.benchmark.pretraining.augmentation import augment
from anomalyclip.benchmark.pretraining.captions import CaptionTable
from anomalyclip.benchmark.pretraining.loss import contrastive_loss
from anomalyclip.benchmark.pretraining.settings import AugmentationSettings, PretrainingSettings
from anomalyclip.features.backbone import new_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.training.checkpoints import Checkpoint, load_optimizer_state, optimizer_state


class Pretraining:
    """A pre-training: its model, its data and how many steps are done.

    Only the token embeddings that occur in captions learn; the others keep their random values.

    Args:
        pictures: `(pictures, height, width, 3)`, uint8, RGB, of the image tower's size; may be memory-mapped.
        captions: wordings of what each picture shows.
        concepts: what each picture shows, by name or number.
    """

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        captions: Sequence[Sequence[str]],
        concepts: Sequence[str] | NDArray[np.int64],
        settings: PretrainingSettings,
        augmentation: AugmentationSettings,
    ) -> None:
        backbone = new_backbone(settings.architecture, settings.seed)
        self.tokenizer, self.preprocess = backbone.tokenizer, backbone.preprocess
        self.settings, self.augmentation, self.pictures = settings, augmentation, pictures
        self.model = backbone.model.train().requires_grad_(True)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub forgot it
        self.captions = CaptionTable(captions, backbone.tokenizer)
        self.concepts = torch.from_numpy(np.unique(np.asarray(concepts), return_inverse=True)[1])
        self.step = 0
        self._image_tower = self.model.get_submodule("visual")
        self._tower = text_tower(self.model)
        self._embeddings = nn.Parameter(self._tower.token_embedding.weight[self.captions.vocabulary].detach())
        self._tower.token_embedding.requires_grad_(False)
        self._optimizer = _optimizer(self.model, self._embeddings, settings)

    def run(self, steps: int) -> dict[str, float]:
        """Run some more steps; returns means of `loss` and `batch_top1`, the rates and `pictures_per_second`."""
        started = perf_counter()
        figures = torch.stack([self._take_step() for _ in range(steps)]).mean(dim=0)
        with torch.no_grad():
            self._tower.token_embedding.weight[self.captions.vocabulary] = self._embeddings
        speed = steps * self.settings.batch_size / (perf_counter() - started)
        return {
            "loss": float(figures[0]),
            "batch_top1": float(figures[1]),
            "logit_scale": float(self.model.get_parameter("logit_scale").detach().exp()),
            "learning_rate": learning_rate(self.step - 1, self.settings),
            "pictures_per_second": speed,
        }

    def checkpoint(self, history: list[dict[str, float]]) -> Checkpoint:
        """Return the state from which training resumes after the steps done."""
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        moments = {name: value.contiguous() for name, value in optimizer_state(self._optimizer).items()}
        return Checkpoint(self.step, weights, moments, history)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume after a checkpoint of the same pre-training."""
        self.step = checkpoint.epoch
        self.model.load_state_dict(checkpoint.weights)
        self._embeddings.copy_(self._tower.token_embedding.weight[self.captions.vocabulary])
        load_optimizer_state(self._optimizer, checkpoint.optimizer)
        for parameter, moments in self._optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # the fused step reads both as one block: same order in memory
                moments[name] = torch.empty_like(parameter).copy_(moments[name])

    def _take_step(self) -> Tensor:
        """Run one step; returns its loss and the share of pictures whose likeliest caption fits, `(2,)`."""
        generator = _generator(self.settings.seed, "step", self.step)
        chosen = _batch(self.step, len(self.pictures), self.settings)
        images = self._images(chosen, generator)
        texts = self._text_features(self.captions.sample(chosen, generator))
        image_features = F.normalize(self._image_tower(images), dim=-1)
        scale = self.model.get_parameter("logit_scale")
        concepts = self.concepts[chosen]
        loss = contrastive_loss(image_features, texts, concepts, scale.exp(), self.settings.one_to_one)
        self._optimizer.zero_grad()
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        self._optimizer.step()
        with torch.no_grad():
            scale.clamp_(0, math.log(self.settings.max_logit_scale))
            likeliest = (image_features @ texts.T).argmax(dim=1)
        self.step += 1
        return torch.stack([loss.detach(), (concepts[likeliest] == concepts).float().mean()])

    def _images(self, chosen: Tensor, generator: Generator) -> Tensor:
        """Return augmented, normalised images `(pictures, 3, size, size)`."""
        pixels = torch.from_numpy(self.pictures[chosen.numpy()])
        pixels = rearrange(pixels, "pictures height width channels -> pictures channels height width")
        images = augment(pixels.float().contiguous() / 255, self.augmentation, generator)
        return self.preprocess.normalise(images).contiguous(memory_format=torch.channels_last)

    def _text_features(self, ranks: Tensor) -> Tensor:
        """Return normalised features `(captions, dim)` of captions as ranks `(captions, positions)`.

        The text tower is causal: what follows the longest caption changes nothing, and is left out.
        """
        tower, positions = self._tower, ranks.shape[1]
        hidden = F.embedding(ranks, self._embeddings) + tower.positional_embedding[:positions]
        hidden = tower.transformer(hidden, attn_mask=tower.mask(positions))
        hidden = tower.ln_final(hidden[torch.arange(len(ranks)), ranks.argmax(dim=1)])
        return F.normalize(hidden @ tower.text_projection, dim=-1)


def learning_rate(step: int, settings: PretrainingSettings) -> float:
    """Return the rate of a step (from 0): linear warm-up, then half a cosine."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _optimizer(model: nn.Module, embeddings: nn.Parameter, settings: PretrainingSettings) -> torch.optim.AdamW:
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in learnt if parameter.ndim >= 2]
    others = [parameter for parameter in learnt if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": [*others, embeddings], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _batch(step: int, pictures: int, settings: PretrainingSettings) -> Tensor:
    """Return the pictures of a step: each epoch uses all once, in an order of its own."""
    size = min(settings.batch_size, pictures)
    epoch, number = divmod(step, pictures // size)
    order = torch.randperm(pictures, generator=_generator(settings.seed, "epoch", epoch))
    return order[number * size : (number + 1) * size]


def _generator(seed: int, purpose: str, number: int) -> Generator:
    """Return the random numbers of one step or epoch, whatever was drawn before."""
    key = np.random.SeedSequence([seed, *purpose.encode(), number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(key[0]))
