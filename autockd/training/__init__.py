"""Training with torch alone: trainer, teacher, bank, evaluation, precision, checkpoints."""
