"""The search: Ray Tune schedules, Optuna proposes, and a book keeps both honest."""
