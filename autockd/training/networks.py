"""Networks for tasks: what a model's configuration means for images, and for text."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from autockd.config.models import Encoder, ModelConfig, bare
from autockd.config.schema import StudyConfig
from autockd.config.training import TrainingConfig, trims_vocabulary
from autockd.data.feeds import Feed
from autockd.data.image_feed import ImageFeed, Normalisation
from autockd.data.task import ImageTask, Split, Task, TextTask
from autockd.data.texts import Texts
from autockd.data.views import Views
from autockd.errors import ModelError
from autockd.models import TextEncoder, build_encoder, build_model, load_tokenizer
from autockd.models.tokens import Tokens
from autockd.models.vocabulary import Vocabulary, trim_vocabulary
from autockd.training.text_feed import TextFeed

_TOKENS: WeakKeyDictionary[Texts, dict[tuple[str | None, str | None, int], Tokens]] = WeakKeyDictionary()
"""Texts are tokenized once a process for each tokenizer, not once a trial."""


def build_network(config: ModelConfig, task: Task, *, seed: int) -> nn.Module:
    """The network that a configuration describes, for a task, on the CPU; the same seed gives the same weights.

    Raises:
        ModelError: there is no such network, it does not fit the task, or its weights do not load.
    """
    if isinstance(task, TextTask) and isinstance(config, Encoder):
        torch.backends.cuda.enable_cudnn_sdp(False)  # plans each shape anew, and texts have many
        return build_encoder(config, outputs=task.outputs, labels=task.classes, seed=seed)
    if isinstance(task, ImageTask) and not isinstance(config, Encoder):
        return build_model(config, classes=task.outputs, channels=task.channels, image_size=task.image_size, seed=seed)
    raise ModelError(f"family: {config.family} is no model for the task {task.name} -> use one of the task's kind")


def make_feed(
    config: ModelConfig,
    task: Task,
    split: Split,
    device: torch.device,
    *,
    augmented: bool = False,
    channels_last: bool = False,
    vocabulary: Vocabulary | None = None,
) -> Feed:
    """The samples of a split as this network takes them.

    Args:
        config: of the network, whose tokenizer texts need.
        task: whose split it is.
        split: the samples.
        device: where the network is.
        augmented: whether views of the task will be asked for; without, there is one view, the sample itself.
        channels_last: memory format of images.
        vocabulary: of the network, where it is trimmed.
    """
    if isinstance(split.inputs, Tensor):
        assert isinstance(task, ImageTask), "only an image task has images"
        normalise = Normalisation.of(task, device, channels_last=channels_last)
        return ImageFeed(split.inputs, task.views if augmented else Views(), normalise)
    assert isinstance(task, TextTask), "only a text task has texts"
    assert isinstance(config, Encoder), "only an encoder is given texts"
    tokens = _tokens(config, split.inputs, task.max_length)
    return TextFeed((vocabulary.tokens(tokens) if vocabulary else tokens).to(device))


def trim_network(network: nn.Module, config: ModelConfig, training: TrainingConfig, task: Task) -> Vocabulary | None:
    """Take out of an encoder, in place, the words that the task's texts lack, where its recipe allows that."""
    if not isinstance(config, Encoder) or not trims_vocabulary(config, training):
        return None
    assert isinstance(network, TextEncoder), "an encoder's configuration makes a text encoder"
    if not isinstance(network.hf.get_input_embeddings(), nn.Embedding):
        if config.trim_vocabulary:
            kind = network.hf.config.model_type
            raise ModelError(f"trim_vocabulary: {kind} has a word embedding of its own kind -> leave it out")
        return None
    assert isinstance(task, TextTask), "which texts are given to"
    splits = [split.inputs for split in (task.train, task.validation)]
    found = [_tokens(config, texts, task.max_length) for texts in splits if isinstance(texts, Texts)]
    return trim_vocabulary(network, torch.cat([*(tokens.ids for tokens in found), torch.tensor([found[0].pad_id])]))


def based_on(config: ModelConfig, base: Path | str | None) -> ModelConfig:
    """The configuration with the path of its base: `base`, the teacher's, where it names none."""
    if isinstance(config, Encoder) and config.path is None and base is not None:
        return config.model_copy(update={"path": str(base)})
    return config


def kept_model(config: ModelConfig, folder: Path) -> ModelConfig:
    """The configuration of a model that was saved in a folder, which needs nothing of what it was made from.

    Args:
        config: what it was built by.
        folder: of an encoder, with all that `from_pretrained` needs: its shape and its tokenizer too.
    """
    if isinstance(config, Encoder):
        return Encoder(path=str(folder), dropout=config.dropout, trim_vocabulary=config.trim_vocabulary)
    return bare(config)


def student_model(study: StudyConfig) -> ModelConfig:
    """The study's own student; one that is cut from the teacher, cut from what the teacher started from."""
    return cut_from_teacher(study.student.model, study)


def cut_from_teacher(config: ModelConfig, study: StudyConfig) -> ModelConfig:
    """The configuration, based on what the study's teacher started from where it names no base."""
    teacher = study.teacher.model
    return based_on(config, teacher.path if isinstance(teacher, Encoder) else None)


def _tokens(config: Encoder, texts: Texts, max_length: int) -> Tokens:
    known = _TOKENS.setdefault(texts, {})
    key = (config.path, config.revision, max_length)
    if key not in known:
        known[key] = Tokens.of(load_tokenizer(config), texts.columns, max_length)
    return known[key]
