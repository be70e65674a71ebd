"""A Hydra plugin: studies of Optuna that continue."""
