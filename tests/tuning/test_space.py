"""Search spaces: what is refused before any work, and what a recipe becomes."""

import pytest

from tests.training.conftest import toy_recipe
from thorax.errors import RecipeError
from thorax.recipe.load import changed_recipe, load_recipe, shipped_recipes
from thorax.tuning.space import Choice, FloatRange, IntRange, load_space, shipped_spaces


def space_of(tmp_path, text, **options):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return load_space(toy_recipe(), path, **options)


def test_ranges_and_choices_are_read(tmp_path):
    space = space_of(
        tmp_path,
        """
        [optim]
        lr = { low = 1e-4, high = 1e-2, log = true }
        [augment]
        rotate = { low = 0, high = 15 }
        zoom = { choices = [[1.0, 1.0], [0.9, 1.1]] }
        [training]
        batch_size = { low = 8, high = 32 }
        gradient_clip = { choices = ["none", 1.0] }
        """,
    )
    assert space.dimensions == (
        FloatRange("optim.lr", 1e-4, 1e-2, log=True),
        FloatRange("augment.rotate", 0.0, 15.0),  # whole bounds, but the recipe's setting is a float
        Choice("augment.zoom", ([1.0, 1.0], [0.9, 1.1])),
        IntRange("training.batch_size", 8, 32),
        Choice("training.gradient_clip", ("none", 1.0)),
    )
    parameters = {
        "optim.lr": 2e-3, "augment.rotate": 3.0, "augment.zoom": "[0.9, 1.1]", "training.batch_size": 9,
        "training.gradient_clip": "none",
    }  # fmt: skip
    recipe = changed_recipe(toy_recipe(), space.settings(parameters))
    assert (recipe.optim.lr, recipe.augment.rotate, recipe.augment.zoom) == (2e-3, 3.0, (0.9, 1.1))
    assert (recipe.training.batch_size, recipe.training.gradient_clip) == (9, None)


def test_a_choice_may_be_a_whole_section(tmp_path):
    space = space_of(tmp_path, 'loss = { choices = [{ kind = "bce" }, { kind = "focal", gamma = 3.0 }] }')
    assert space.own_values(toy_recipe()) == {"loss": '{"kind": "bce"}'}
    focal = changed_recipe(toy_recipe(), space.settings({"loss": space.dimensions[0].labels[1]}))
    assert (focal.loss.kind, focal.loss.gamma) == ("focal", 3.0)


def test_the_recipes_own_settings_may_be_outside(tmp_path):
    assert space_of(tmp_path, "optim.lr = { low = 1e-4, high = 1e-2 }").own_values(toy_recipe()) == {
        "optim.lr": 1e-3
    }
    assert space_of(tmp_path, "optim.lr = { low = 2e-3, high = 1e-2 }").own_values(toy_recipe()) is None
    assert (
        space_of(tmp_path, 'loss.kind = { choices = ["focal", "asymmetric"] }').own_values(toy_recipe())
        is None
    )


def test_the_hash_is_that_of_the_values(tmp_path):
    one = space_of(tmp_path, "optim.lr = { low = 1e-4, high = 1e-2 }")
    same = space_of(tmp_path, "[optim]\n# a comment\nlr = { high = 0.01, low = 0.0001, log = false }")
    other = space_of(tmp_path, "optim.lr = { low = 1e-4, high = 2e-2 }")
    assert one.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim.lr = { low = 1e-2, high = 1e-4 }", "range of optim.lr is empty, from 0.01 to 0.0001; make"),
        ("optim.lr = { low = 1e-2, high = 1e-2 }", "is empty"),
        ("optim.lr = { low = 0.0, high = 1e-2, log = true }", "a logarithm needs values above 0; raise low"),
        ("optim.lr = { low = 1e-4 }", "high of optim.lr is None; give a number"),
        ("optim.lr = { low = 1e-4, high = nan }", "high of optim.lr is nan; give a number"),
        (f"optim.lr = {{ low = 1e-4, high = 1{400 * '0'} }}", "high of optim.lr is 10{59}; give a number"),
        ('optim.lr = { low = "a", high = 1 }', "low of optim.lr is 'a'; give a number"),
        ("optim.lr = { low = true, high = 1 }", "low of optim.lr is True"),
        ("optim.lr = { low = 1e-4, high = 1e-2, log = 1 }", "log of optim.lr is 1; give true or false"),
        ("optim.lr = { low = 1e-4, high = 1e-2, lgo = true }", "unknown entry 'lgo'; did you mean log?"),
        ("optim.lr = 1e-3", "optim.lr = 0.001 is a single value"),
        ("optim.lr = { choices = [1e-3] }", "give a list of at least two different values"),
        ("optim.lr = { choices = [1e-3, 1e-3] }", "at least two different"),
        ("optim.lr = { choices = 3 }", "at least two different"),
        ("optim.lr = { choices = [1e-3, -1.0] }", "optim.lr = -1.0: Input should be greater than 0"),
        ("optim.lrate = { low = 1e-4, high = 1e-2 }", "there is no setting optim.*did you mean optim.lr"),
        ("augment.flip = { low = 0.0, high = 1.5 }", "augment.flip = 1.5: Input should be less than"),
        ("training.batch_size = { low = 8.0, high = 32.0 }", "takes whole numbers.*without a decimal point"),
        ("training.batch_size = { low = 8.5, high = 32 }", "training.batch_size = 8.5"),
        ("loss.kind = { low = 1, high = 2 }", "loss.kind"),
        ("augment.zoom = { low = 0.9, high = 1.1 }", "augment.zoom"),
        ("training.seed = { low = 0, high = 9 }", "training.seed cannot be searched.*the luckiest one"),
        ("data.split = { choices = ['a', 'b'] }", "data.split cannot be searched.*the same images"),
        ("store.size = { choices = [32, 64] }", "store.size cannot be searched.*a study uses one store"),
        ("selection.metric = { choices = ['loss', 'macro-auc'] }", "compared by the same metric"),
        ("", "does not vary any setting"),
        ("optim = [", "is not TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message) as refused:
        space_of(tmp_path, text)
    assert "space.toml" in str(refused.value)


def test_a_setting_is_either_fixed_or_searched(tmp_path):
    text = "optim.lr = { low = 1e-4, high = 1e-2 }"
    with pytest.raises(RecipeError, match=r"optim.lr is to be searched, but `settings` also sets optim.lr"):
        space_of(tmp_path, text, fixed=["optim.lr"])
    with pytest.raises(RecipeError, match=r"loss is to be searched, but `settings` also sets loss.gamma"):
        space_of(tmp_path, 'loss = { choices = [{kind = "bce"}, {kind = "focal"}] }', fixed=["loss.gamma"])
    assert space_of(tmp_path, text, fixed=["training.epochs"])


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read as a search space"):
        load_space(toy_recipe(), tmp_path / "none.toml")


def test_a_recipe_without_a_shipped_space_needs_one():
    with pytest.raises(RecipeError, match=r"no search space is shipped for recipe 'toy'.*small-cpu"):
        load_space(toy_recipe())


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_has_a_space_around_its_own_settings(name):
    recipe = load_recipe(name)
    space = load_space(recipe)
    own = space.own_values(recipe)
    assert own is not None
    assert changed_recipe(recipe, space.settings(own)) == recipe
    if recipe.selection.metric == "loss":
        assert not [dimension for dimension in space.dimensions if dimension.key.startswith("loss")]


def test_every_space_is_for_a_recipe():
    assert shipped_spaces().keys() == shipped_recipes().keys()
