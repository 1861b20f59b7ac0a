"""The shipped recipes: what their sources say, to the number."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from thorax.findings import NIH14, NIH15
from thorax.recipe.load import load_recipe, recipe_sha256, shipped_recipes, write_recipe
from thorax.recipe.schema import (
    Adam,
    AdamW,
    Asymmetric,
    BalancedBce,
    Bce,
    Cosine,
    EarlyStopping,
    Focal,
    Freeze,
    Head,
    Plateau,
    Recipe,
    WarmRestarts,
    WeightedBce,
)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EIGHT = (
    "Pneumothorax", "Mass", "Atelectasis", "Nodule", "Consolidation", "Pleural_Thickening", "Effusion",
    "Infiltration",
)  # fmt: skip

SETTINGS = {
    "chexnet": {
        "data.views": ("PA", "AP"),
        "store.size": 224,
        "model.backbone": "densenet121",
        "model.weights": "timm:tv_in1k",
        "model.input_size": 224,
        "augment": {"flip": 0.5},
        "loss": Bce(),
        "optim": Adam(lr=1e-3, weight_decay=1e-5, decay_norms=True),
        "schedule": Plateau(patience=1, factor=0.1),
        "training.batch_size": 16,
        "training.epochs": 20,
        "training.seed": 42,
        "early_stopping": EarlyStopping(metric="macro-auc", patience=5),
        "selection.operating_point": "one-half",
    },
    "dannynet": {
        "model.backbone": "densenet121",
        "model.weights": "timm:tv_in1k",
        "model.input_size": 224,
        "augment": {
            "flip": 0.5,
            "crop_area": (0.08, 1.0),
            "crop_aspect": (3 / 4, 4 / 3),
            "gain": 0.1,
            "contrast": 0.1,
        },
        "loss": Focal(alpha=1, gamma=2),
        "optim": AdamW(lr=5e-5, weight_decay=1e-5, decay_norms=True),
        "schedule": Plateau(patience=1, factor=0.1),
        "training.batch_size": 8,
        "training.epochs": 25,
        "training.seed": 42,
        "early_stopping": EarlyStopping(metric="macro-auc", patience=5),
        "selection.operating_point": "f1-optimal",
        "test_time.scales": (256 / 224,),
    },
    "vit-b16": {
        "store.size": 224,
        "model.backbone": "vit_base_patch16_224",
        "model.weights": "timm:orig_in21k_ft_in1k",
        "model.input_size": 224,
        "model.mean": (0.5,),
        "model.std": (0.5,),
        "augment": {},
        "loss": Bce(),
        "optim": Adam(lr=1e-4, weight_decay=1e-5, decay_norms=True),
        "schedule": Plateau(patience=3, factor=0.1),
        "training.batch_size": 16,
        "training.epochs": 20,
        "early_stopping": EarlyStopping(metric="macro-auc", patience=5),
    },
    "custom-densenet121": {
        "model.backbone": "densenet121",
        "model.weights": "timm:tv_in1k",
        "model.input_size": 128,
        "model.head": Head(hidden=(256,), dropout=0.2),
        "augment": {"flip": 0.5, "rotate": 10.0, "zoom": (0.9, 1.1)},
        "loss": Bce(),
        "optim": AdamW(lr=3e-3, weight_decay=0.01, decay_norms=True),
        "schedule": Plateau(patience=5, factor=0.1),
        "training.batch_size": 32,
        "training.epochs": 50,
        "early_stopping": EarlyStopping(metric="loss", patience=3),
        "selection.metric": "loss",
    },
    "densenet121-last-block": {
        "data.findings": EIGHT,
        "model.backbone": "densenet121",
        "model.weights": "timm:tv_in1k",
        "model.head.pool": "lse",
        "model.head.lse_r": 10.0,
        "freeze": Freeze(trained=("stage4", "norm")),
        "loss": WeightedBce(),
    },
    "chestxpert": {
        "model.backbone": "densenet121",
        "model.weights": "none",
        "model.channels": 1,
        "model.input_size": 320,
        "model.head": Head(hidden=(512,), dropout=0.5),
        "augment": {"rotate": 36.0, "translate": 0.05, "zoom": (0.9, 1.1)},
        "loss": BalancedBce(),
        "optim": AdamW(lr=1e-3, weight_decay=0.004, decay_norms=True),
        "schedule": Plateau(patience=5, factor=0.1),
        "training.batch_size": 16,
        "training.epochs": 100,
        "training.seed": 42,
        "early_stopping": EarlyStopping(metric="macro-auc", patience=10),
    },
    "efficientnet-b3": {
        "data.findings": "NIH15",
        "data.sample": 40_000,
        "store.size": 300,
        "model.backbone": "efficientnet_b3",
        "model.weights": "timm",
        "model.input_size": 300,
        "augment": {
            "flip": 0.5,
            "rotate": 10.0,
            "translate": 0.1,
            "gain": 0.2,
            "contrast": 0.2,
            "erase": 0.2,
            "mixup": 0.2,
        },
        "loss": Bce(),
        "optim": AdamW(lr=1e-3, weight_decay=0.01, decay_norms=True),
        "schedule": WarmRestarts(first_epochs=10, factor=2, final=0.001),
        "training.batch_size": 192,
        "training.epochs": 50,
        "training.precision": "auto",
        "early_stopping": None,
        "selection.operating_point": "one-half",
    },
    "densenet121-512": {
        "store.size": 512,
        "model.backbone": "densenet121",
        "model.weights": "timm:tv_in1k",
        "model.input_size": 512,
        "schedule": Cosine(warmup_epochs=1),
        "training.ema": 0.9995,
        "training.precision": "auto",
        "test_time.flip": True,
    },
    "modern": {
        "model.backbone": "convnext_tiny",
        "model.input_size": 384,
        "loss": Asymmetric(gamma_positive=1, gamma_negative=4, clip=0.05),
        "optim.layer_decay": 0.9,
        "freeze": Freeze(trained=("stage4", "norm"), unfreeze_epochs=(1, 2, 3, 4)),
        "training.ema": 0.9998,
        "test_time.flip": True,
    },
}
"""What each source gives, written down a second time."""

SPLITS = {
    "chexnet": {"patient-92.8-5.2-2", "nih-random-patient"},
    "dannynet": {"patient-92.8-5.2-2", "nih-random-patient"},
    "vit-b16": {"patient-80-10-10"},
    "custom-densenet121": {"patient-80-10-10"},
    "densenet121-last-block": {"patient-80-10-10"},
    "chestxpert": {"patient-80-10-10"},
    "efficientnet-b3": {"patient-70-15-15"},
    "densenet121-512": set(),
    "modern": set(),
}


def at(recipe: Recipe, key: str):
    """Return the value of a dotted key; an augmentation as what is drawn at all."""
    value = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value.model_dump(exclude_defaults=True) if key == "augment" else value


def comments(name: str) -> list[str]:
    lines = shipped_recipes()[name].splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]


def offered(name: str) -> list[list[str]]:
    """Return what each comment of a recipe says to --set."""
    words = [shlex.split(re.sub(r"^.*?(--set)", r"\1", line)) for line in comments(name) if "--set " in line]
    return [
        [line[index + 1].rstrip(",;)") for index, word in enumerate(line[:-1]) if word == "--set"]
        for line in words
    ]


def test_the_library_is_whole():
    assert set(shipped_recipes()) == {*SETTINGS, "small-cpu"}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(name, key, value) for name, settings in SETTINGS.items() for key, value in settings.items()],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_the_source_gives(name, key, value):
    assert at(load_recipe(name), key) == value


@pytest.mark.parametrize("name", SETTINGS)
def test_what_every_recipe_has(name):
    recipe, text = load_recipe(name), shipped_recipes()[name]
    assert recipe.name == name
    assert recipe.data.split == "nih-official"
    assert 0 < len(recipe.summary) <= 75
    assert recipe.source
    assert recipe.cost
    assert "# ours" in text
    assert text.startswith(
        f"# thorax prepare SRC --recipe {name} --out STORE\n# thorax train {name} --store STORE --out RUN\n"
    )
    if recipe.model.weights != "none":
        assert recipe.model.channels == 3, "published weights see three channels"
        assert (recipe.model.mean, recipe.model.std) == (IMAGENET if name != "vit-b16" else ((0.5,), (0.5,)))


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_round_trip_keeps_everything(name, tmp_path):
    recipe = load_recipe(name)
    write_recipe(recipe, tmp_path / "again.toml")
    again = load_recipe(str(tmp_path / "again.toml"))
    assert (again, recipe_sha256(again)) == (recipe, recipe_sha256(recipe))


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_comments_say_to_set_can_be_set(name):
    plain = load_recipe(name)
    for settings in offered(name):
        assert load_recipe(name, settings) != plain, settings
    chosen = {setting.removeprefix("data.split=") for line in offered(name) for setting in line}
    assert SPLITS[name] <= chosen


def test_the_subset_of_custom_densenet121_has_seven_findings():
    (findings,) = [line for line in offered("custom-densenet121") if line[0].startswith("data.findings")]
    recipe = load_recipe("custom-densenet121", findings)
    assert len(recipe.data.finding_tuple()) == 7
    assert set(recipe.data.finding_tuple()) < set(NIH14)
    assert load_recipe("custom-densenet121").data.finding_tuple() == NIH14


def test_findings():
    for name in SETTINGS:
        expected = {"efficientnet-b3": NIH15}.get(name, NIH14)
        if name != "densenet121-last-block":
            assert load_recipe(name).data.finding_tuple() == expected


@pytest.mark.parametrize("name", ["densenet121-512", "modern"])
def test_our_own_recipes_mark_every_choice(name):
    """Only the constants that belong to the weights, and the heads of sections, carry no mark."""
    for line in shipped_recipes()[name].splitlines():
        key = line.partition("=")[0].strip()
        if "=" not in line or line.startswith("#") or key in {"name", "summary", "source", "cost"}:
            continue
        assert "# ours" in line or key in {"mean", "std"}, line


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_stands_by_default_alone(name):
    """What decides a run is written down, so that a change of a default changes no recipe."""
    values = tomllib.loads(shipped_recipes()[name])
    wanted = {
        "data": {"findings", "split"},
        "store": {"size"},
        "model": {"backbone", "weights", "channels", "input_size", "mean", "std"},
        "loss": {"kind"},
        "optim": {"kind", "lr", "weight_decay"},
        "schedule": {"kind"},
        "training": {"epochs", "batch_size", "seed"},
        "selection": {"metric", "operating_point"},
    }
    for section, keys in wanted.items():
        assert keys <= values[section].keys(), section


def test_the_commands_of_the_documentation_load():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("thorax train ")]
    shipped = [command for command in commands if command[2] in SETTINGS]
    assert len(shipped) >= 5
    for command in shipped:
        settings = [command[index + 1] for index, word in enumerate(command) if word == "--set"]
        assert load_recipe(command[2], settings) != load_recipe(command[2])


def test_the_documentation_names_every_recipe():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert {name for name in shipped_recipes() if f"| `{name}` |" in text} == set(shipped_recipes())
