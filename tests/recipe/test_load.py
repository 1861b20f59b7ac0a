import re

import pytest
from pydantic import ValidationError

from thorax.errors import DataError, RecipeError
from thorax.findings import NIH14, NIH15
from thorax.recipe.hints import ALIASES, all_keys, hint_for_key
from thorax.recipe.load import (
    load_preparation,
    load_recipe,
    load_test_time,
    recipe_sha256,
    shipped_recipes,
    write_recipe,
)
from thorax.recipe.schema import Cosine, Plateau, Preparation, Recipe, Sgd, TestTime


@pytest.mark.parametrize("name", shipped_recipes())
def test_each_shipped_recipe_loads_and_survives_a_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    write_recipe(recipe, tmp_path / "copy.toml")
    again = load_recipe(str(tmp_path / "copy.toml"))
    assert again == recipe
    assert recipe_sha256(again) == recipe_sha256(recipe)


def test_overrides():
    recipe = load_recipe(
        "small-cpu",
        ["optim.lr=3e-4", "data.findings=NIH15", "data.views=['PA']", "early_stopping.patience=4"],
    )
    assert recipe.optim.lr == 3e-4
    assert recipe.data.finding_tuple() == NIH15
    assert recipe.data.views == ("PA",)
    assert recipe.early_stopping is not None
    assert recipe.early_stopping.patience == 4
    assert load_recipe("small-cpu").data.finding_tuple() == NIH14
    assert recipe_sha256(recipe) != recipe_sha256(load_recipe("small-cpu"))


def test_another_kind_drops_the_settings_of_the_first():
    recipe = load_recipe("small-cpu", ["optim.kind=sgd", "optim.momentum=0.8", "schedule.kind=plateau"])
    assert recipe.optim == Sgd(momentum=0.8)
    assert recipe.schedule == Plateau()
    assert isinstance(load_recipe("small-cpu", ["schedule.kind=cosine"]).schedule, Cosine)


def test_optional_settings_can_be_switched_off():
    recipe = load_recipe("small-cpu", ["training.gradient_clip=none", "training.ema=none"])
    assert recipe.training.gradient_clip is None
    assert recipe.training.ema is None
    assert load_recipe("small-cpu", ["model.weights=none"]).model.weights == "none"


def test_an_optional_part_can_be_taken_out():
    recipe = load_recipe("small-cpu", ["early_stopping.patience=4", "early_stopping=none"])
    assert recipe.early_stopping is None


def test_a_short_trial_shortens_its_warm_up():
    """Of 25 epochs, 3 warm up: of 1, as large a share."""
    for settings in (["training.epochs=1"], {"training.epochs": 1}):
        assert load_recipe("small-cpu", settings).schedule.warmup_epochs == 0.12
    assert load_recipe("small-cpu", ["training.epochs=4"]).schedule.warmup_epochs == 3
    assert load_recipe("small-cpu", ["training.epochs=40"]).schedule.warmup_epochs == 3
    with pytest.raises(RecipeError, match=r"lower schedule\.warmup_epochs"):
        load_recipe("small-cpu", ["training.epochs=2", "schedule.warmup_epochs=2"])
    with pytest.raises(RecipeError, match=r"training\.epochs = 0"):
        load_recipe("small-cpu", ["training.epochs=0"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"there is no setting optim.lrr; did you mean optim.lr\?"),
        ("schedule.epochs=3", r"there is no setting schedule.epochs; did you mean training.epochs\?"),
        ("lr=3", r"there is no setting lr; did you mean optim.lr\?"),
        ("training.epoch=3", r"there is no setting training.epoch; did you mean training.epochs\?"),
        ("trainin.epochs=3", r"there is no setting trainin"),
        ("schedule.warmup=1", r"there is no setting schedule.warmup; did you mean schedule.warmup_epochs\?"),
        (
            "optim.momentum=1",
            r"no setting optim.momentum with optim.kind=adamw; it belongs to optim.kind=sgd$",
        ),
        ("optim.learning_rate=1", r"did you mean optim.lr\?$"),
        ("optim.wd=1", r"did you mean optim.weight_decay\?$"),
        ("data.classes=14", r"did you mean data.findings\?$"),
        ("training.lr=1", r"did you mean optim.lr\?$"),
        ("schedule.T_0=10", r"did you mean schedule.first_epochs\?$"),
        ("training.batchsize=1", r"did you mean training.batch_size\?$"),
        ("optimizer.name=sgd", r"there is no setting optimizer; did you mean optim.kind\?$"),
        ("data.colour=1", r"there is no setting data.colour$"),
        ("optim.kind=adan", r"'adan': .*did you mean adam\?"),
        ("training.epochs=0", r"training.epochs = 0: Input should be greater"),
        ("model.std=[0.0]", r"model.std must be above 0"),
        ("model.mean=[0.1, 0.2]", r"model.mean has 2 values for 1 channel"),
        ("augment.zoom=[1.2, 0.8]", r"augment.zoom must be above 0 and not fall"),
        ("store.size=64", r"model.input_size \(112\) is larger than store.size \(64\)"),
        ("schedule.warmup_epochs=400", r"must be below training.epochs .*lower schedule.warmup_epochs"),
        (
            "data.findings=Efusion",
            r"^recipe small-cpu: data\.findings = 'Efusion': there are NIH14, NIH15; or give a list, such as",
        ),
        (
            "optim.kind=adamww",
            r"optim\.kind = 'adamww': there are adam, adamw, sgd \(did you mean adamw\?\)$",
        ),
        (
            "store.fit=stretchy",
            r"store\.fit = 'stretchy': there are pad, crop, stretch \(did you mean stretch\?\)$",
        ),
        ("model.head.pol=lse", r"there is no setting model.head.pol; did you mean model.head.pool\?"),
        (
            "loss.kind=foca",
            r"loss.kind = 'foca': there are bce, weighted-bce, .*did you mean focal\?",
        ),
        ("freeze.unfreeze_epochs=[3]", r"needs freeze.trained"),
        ("augment.crop_area=[0.5, 1.5]", r"exceeds the whole image"),
        ("optim.lr=inf", r"optim.lr = inf: Input should be a finite number"),
        ("optim.betas=[0.9, 1.0]", r"optim.betas"),
        ("nonsense", r"not of the form section.key=value"),
        ("name.first=x", r"name is a value and has no keys"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("small-cpu", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.findings=[Mass, Pneumona]", r"^recipe small-cpu: unknown finding 'Pneumona'.*mean Pneumonia"),
        ("data.findings=['Pneumona']", r"unknown finding 'Pneumona'.*did you mean Pneumonia"),
        ("data.findings=['Mass','Mass']", r"Mass is repeated"),
    ],
)
def test_wrong_findings_are_the_error_that_they_are_everywhere(override, message):
    with pytest.raises(DataError, match=message):
        load_recipe("small-cpu", [override])


def test_a_hint_names_a_setting_that_exists_and_not_the_one_that_was_given():
    known = all_keys()
    assert set(ALIASES.values()) <= set(known)
    assert not {name.rpartition(".")[2] for name in known} & ALIASES.keys()
    for key in known:
        for wrong in (f"{key}x", f"x{key}", f"{key}.x", key.rpartition(".")[2], f"optim.{key}"):
            hinted = re.findall(r"[a-z_]+\.[a-z_.]+", hint_for_key(wrong))
            assert wrong in known or wrong not in hinted
            assert wrong in known or set(hinted) <= set(known)


def test_settings_given_as_one_text_are_not_read_letter_by_letter():
    with pytest.raises(RecipeError, match=r"are the text 'data.split=x'; give a list of texts"):
        load_recipe("small-cpu", "data.split=x")


def test_a_section_that_does_not_exist_is_named_whatever_its_value():
    for value in ("none", "3"):
        with pytest.raises(RecipeError, match=r"^recipe small-cpu: there is no setting optimm"):
            load_recipe("small-cpu", [f"optimm.lr={value}"])


def test_a_recipe_is_a_table_of_sections():
    with pytest.raises(ValidationError, match="valid dictionary"):
        Recipe.model_validate(["small-cpu"])


def test_freezing_must_fit_the_epochs():
    with pytest.raises(RecipeError, match=r"freeze.unfreeze_epochs must increase"):
        load_recipe("small-cpu", ["freeze.trained=['stage4']", "freeze.unfreeze_epochs=[3, 2]"])
    with pytest.raises(RecipeError, match=r"\[30\] must be below training.epochs"):
        load_recipe("small-cpu", ["freeze.trained=['stage4']", "freeze.unfreeze_epochs=[3, 30]"])


@pytest.mark.parametrize("kind", ["weighted-bce", "balanced-bce"])
def test_weights_of_one_s_own_fit_the_findings(kind, tmp_path):
    two = ["data.findings=['Mass','Edema']", f"loss.kind={kind}"]
    recipe = load_recipe("small-cpu", [*two, "loss.positive_weights=[2, 3.5]"])
    assert (recipe.loss.positive_weights, recipe.loss.negative_weights) == ((2.0, 3.5), None)
    write_recipe(recipe, tmp_path / "again.toml")
    assert load_recipe(str(tmp_path / "again.toml")) == recipe
    for settings, message in (
        (["loss.positive_weights=[2]"], "has 1 values for 2 findings; give one for each .*: Mass, Edema"),
        (["loss.negative_weights=[1, 2, 3]"], "loss.negative_weights has 3 values for 2 findings"),
        (["loss.positive_weights=[2, 0]"], "greater than 0"),
        (["loss.positive_weights=[2, -1]"], "greater than 0"),
        (["loss.negative_weights=[2, inf]"], "finite"),
        (["loss.negative_weights=[2, nan]"], "finite|greater than 0"),
    ):
        with pytest.raises(RecipeError, match=message):
            load_recipe("small-cpu", [*two, *settings])


def test_a_head_of_convolutions_has_channels():
    with pytest.raises(RecipeError, match=r"set model.head.hidden=\[256,256,128\]"):
        load_recipe("small-cpu", ["model.head.pool=convolutions"])


def test_attention_has_no_hidden_layer():
    with pytest.raises(RecipeError, match=r"set model.head.hidden=\[\]"):
        load_recipe("small-cpu", ["model.head.pool=attention", "model.head.hidden=[8]"])


def test_wrong_recipes_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'small-cp'; did you mean small-cpu"):
        load_recipe("small-cp")
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(RecipeError, match=f"it is a run: give its recipe, {tmp_path}/recipe.toml"):
        load_recipe(str(tmp_path))
    with pytest.raises(RecipeError, match=r"no recipe 'xyz'; give a file .* or one of chestxpert, chexnet"):
        load_recipe("xyz")
    with pytest.raises(RecipeError, match="cannot be read as a recipe"):
        load_recipe(str(tmp_path / "missing.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(str(broken))
    broken.write_text('name = "x"\nsummary = "y"\n[training]\nepochs = 1\n')
    with pytest.raises(RecipeError, match="model is missing; set it"):
        load_recipe(str(broken))


def test_test_time_settings():
    changed = load_test_time(TestTime(), ["flip=true", "scales=[1.0, 1.1]"])
    assert changed == TestTime(flip=True, scales=(1.0, 1.1))
    assert load_test_time(changed, []) == changed
    with pytest.raises(RecipeError, match=r"there is no setting flipp.*its settings are flip, five"):
        load_test_time(TestTime(), ["flipp=true"])
    with pytest.raises(RecipeError, match=r"scales"):
        load_test_time(TestTime(), ["scales=[9.0]"])


def test_preparation():
    assert load_preparation(None, size=None, fit=None) == Preparation(size=256, fit="pad")
    assert load_preparation(None, size=None, fit="crop").fit == "crop"
    assert load_preparation("small-cpu", size=None, fit=None) == load_recipe("small-cpu").store
    with pytest.raises(RecipeError, match="size = 5000"):
        load_preparation(None, size=5000, fit=None)


def test_a_recipe_is_not_prepared_so_that_it_cannot_be_trained():
    required = load_recipe("small-cpu").store
    larger = load_preparation("small-cpu", size=required.size + 1, fit=required.fit)
    assert larger == Preparation(size=required.size + 1, fit=required.fit)
    for size, fit in ((required.size - 1, None), (None, "stretch")):
        with pytest.raises(RecipeError, match=rf"small-cpu needs images of at least {required.size} pixels"):
            load_preparation("small-cpu", size=size, fit=fit)


def test_an_invalid_setting_is_one_error_without_those_of_its_parser():
    for settings in (["schedule.warmup_epochs=25"], ["training.epochs=none"], ["loss.kind=none"]):
        with pytest.raises(RecipeError) as raised:
            load_recipe("small-cpu", settings)
        assert raised.value.__suppress_context__
        assert raised.value.__cause__ is None
