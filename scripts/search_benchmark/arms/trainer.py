"""transformers' Trainer with a KD loss and `hyperparameter_search`: as its examples write it, or with switches on.

python -m search_benchmark.arms.trainer FOLDER OUT --trials 32 [--tuned] [--grouped]
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from search_benchmark.arms.images import kd_loss
from search_benchmark.arms.texts import EVALUATION_BATCH, WARMUP, Tokenized, load_model, load_tokenizer
from search_benchmark.setting import Result, Setting


def search(setting: Setting, out: Path, trials: int, seed: int, *, tuned: bool, grouped: bool) -> Result:
    """The whole search: optuna's backend, the default, one trial after the other on all cores."""
    import transformers

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{out}/mlflow.db"
    os.environ["MLFLOW_EXPERIMENT_NAME"] = "benchmark"
    tokenizer = load_tokenizer(setting)
    train, validation, test = (
        Tokenized(setting, name, tokenizer, padded=not tuned) for name in ("train", "validation", "test")
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_model(setting, "teacher").to(device).eval()
    # Trainer rounds what is in its own model's `forward` alone.
    precision = torch.autocast(device.type, dtype=torch.bfloat16) if tuned and setting.bf16 else nullcontext()
    steps = setting.epochs * -(-len(train) // setting.batch_size)
    current: dict[str, Any] = {}
    metrics, ends = [0.0] * trials, []

    class Distilling(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            targets = inputs.pop("labels")
            outputs = model(**inputs)
            if not model.training:
                loss = torch.nn.functional.cross_entropy(outputs.logits, targets)
                return (loss, outputs) if return_outputs else loss
            with torch.no_grad(), precision:
                wanted = teacher(**inputs).logits
            loss = kd_loss(outputs.logits.float(), wanted.float(), targets, current)
            return (loss, outputs) if return_outputs else loss

    def space(optuna_trial: Any) -> dict[str, Any]:
        if current:
            ends.append(time.time())  # of the one before
        point = setting.points[optuna_trial.number]
        current.clear()
        current.update(point, number=optuna_trial.number)
        return {name: point[name] for name in ("learning_rate", "weight_decay")}

    def measure(prediction: Any) -> dict[str, float]:
        accuracy = float((prediction.predictions.argmax(axis=1) == prediction.label_ids).mean())
        if current:
            metrics[current["number"]] = max(metrics[current["number"]], accuracy)
        return {"accuracy": accuracy}

    trainer = Distilling(
        model_init=lambda: load_model(setting, "student"),
        args=arguments(setting, out, seed, tuned=tuned, grouped=grouped, steps=steps),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=transformers.DataCollatorWithPadding(tokenizer) if tuned else transformers.default_data_collator,
        compute_metrics=measure,
    )
    trainer.hyperparameter_search(
        space, lambda found: found["eval_accuracy"], n_trials=trials, direction="maximize", backend="optuna"
    )
    ends.append(time.time())
    current.clear()
    trainer.model = load_model(setting, "student").to(device)  # the search keeps no model: any student costs the same
    trainer.evaluate(test, metric_key_prefix="test")
    return Result(metrics, ends)


def arguments(setting: Setting, out: Path, seed: int, *, tuned: bool, grouped: bool, steps: int) -> Any:
    """Training arguments; `tuned` adds bf16 where the hardware has it, `grouped` batches of texts of like length."""
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers.TrainingArguments(
        output_dir=str(out / "trainer"),
        num_train_epochs=setting.epochs,
        per_device_train_batch_size=setting.batch_size,
        per_device_eval_batch_size=EVALUATION_BATCH,
        lr_scheduler_type="linear",
        warmup_steps=round(WARMUP * steps),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        logging_strategy="epoch",
        seed=seed,
        bf16=tuned and setting.bf16,
        train_sampling_strategy="group_by_length" if grouped else "random",
        use_cpu=not torch.cuda.is_available(),
        report_to=["mlflow"],
        disable_tqdm=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuned", action="store_true", help="bf16, and batches padded to their longest text")
    parser.add_argument("--grouped", action="store_true", help="batches of texts of like length")
    options = parser.parse_args()
    setting = Setting.load(options.folder)
    switches = {"tuned": options.tuned, "grouped": options.grouped}
    result = search(setting, options.out, options.trials, options.seed, **switches)
    result.save(options.out / "result.json")


if __name__ == "__main__":
    main()
