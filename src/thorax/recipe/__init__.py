"""Recipes: everything a training run depends on, in one TOML file."""
