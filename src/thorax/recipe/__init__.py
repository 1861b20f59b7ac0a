"""Recipes: every setting of a training run, in one TOML file."""
