"""Vision transformers of other projects, against their forward pass written out by hand."""

import importlib
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from thorax.checkpoints import ForeignOptions, read_foreign
from thorax.checkpoints.timm_nets import timm_names_of_eva
from thorax.checkpoints.torchvision_names import timm_names
from thorax.errors import BundleError
from thorax.findings import NIH14, Finding
from thorax.models.backbones import timm

# Behind the shim, which makes it importable.
torchvision = importlib.import_module("torchvision")

FIVE = tuple(Finding(name) for name in ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Effusion"))


def save(tensors, path):
    torch.save({"model": tensors, "epoch": 30}, path)
    return path


def gray_images(size=224):
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(1))


def drawn(shapes):
    """Weights that keep the size of what passes through, so that each of them matters to the logits."""
    generator = torch.Generator().manual_seed(5)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in weights.items():
        if tensor.ndim > 1:
            tensor.mul_(tensor[0].numel() ** -0.5)
        else:
            tensor.mul_(0.1).add_(
                1.0 if ("norm" in name or "_ln" in name) and name.endswith("weight") else 0.0
            )
    return weights


def embedding(width, grid=14):
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, grid * grid + 1, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }


def linear(name, into, out):
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def normed(w, name, x):
    return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def applied(w, name, x):
    return functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def tokens(w, images):
    patches = functional.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16)
    x = patches.flatten(2).transpose(1, 2)
    return torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + w["pos_embed"]


def heads(x, count):
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def attention(q, k, v):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


# ---- Medical MAE ------------------------------------------------------------------------------


def mae_weights(*, outputs=14, pooled=True, grid=14):
    width = 192
    shapes = {**embedding(width, grid), **norm("blocks.0.norm1", width), **norm("blocks.0.norm2", width)}
    shapes |= linear("blocks.0.attn.qkv", width, 3 * width) | linear("blocks.0.attn.proj", width, width)
    shapes |= linear("blocks.0.mlp.fc1", width, 4 * width) | linear("blocks.0.mlp.fc2", 4 * width, width)
    shapes |= norm("fc_norm" if pooled else "norm", width) | linear("head", width, outputs)
    return drawn(shapes)


def mae_logits(w, images, *, pooled=True):
    """models_vit.py of lambert-x/medical_mae, one block."""
    x = tokens(w, (images.repeat(1, 3, 1, 1) - 0.5056) / 0.252)
    q, k, v = applied(w, "blocks.0.attn.qkv", normed(w, "blocks.0.norm1", x)).chunk(3, dim=-1)
    x = x + applied(w, "blocks.0.attn.proj", attention(heads(q, 3), heads(k, 3), heads(v, 3)))
    hidden = functional.gelu(applied(w, "blocks.0.mlp.fc1", normed(w, "blocks.0.norm2", x)))
    x = x + applied(w, "blocks.0.mlp.fc2", hidden)
    pooled_x = normed(w, "fc_norm", x[:, 1:].mean(dim=1)) if pooled else normed(w, "norm", x)[:, 0]
    return applied(w, "head", pooled_x)


@pytest.mark.parametrize("pooled", [True, False], ids=["mean", "class token"])
@pytest.mark.parametrize("grid", [14, 8])
def test_a_medical_mae_gives_its_own_logits(pooled, grid, tmp_path):
    weights = mae_weights(pooled=pooled, grid=grid)
    found = read_foreign(save(weights, tmp_path / "vit.pth"), "mae")
    images = gray_images(16 * grid)
    with torch.no_grad():
        expected = mae_logits(weights, images, pooled=pooled)
        torch.testing.assert_close(found.classifier(images), expected, atol=1e-5, rtol=1e-5)
    assert (found.findings, found.model.input_size) == (NIH14, 16 * grid)
    assert found.preparation.size == (256 if grid == 14 else 128)
    assert found.model.backbone == "vit_tiny_patch16_224"
    assert found.source == "a vision transformer of Medical MAE, from vit.pth"


def test_what_only_pretraining_used_is_left_out_by_name(tmp_path):
    weights = mae_weights(outputs=5)
    weights |= {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.bias": torch.ones(8)}
    weights["decoder_pos_embed"] = torch.ones(1, 197, 8)
    options = ForeignOptions(findings=FIVE)
    assert read_foreign(save(weights, tmp_path / "a.pth"), "mae", options).findings == FIVE
    weights["masked"] = torch.ones(1)
    with pytest.raises(BundleError, match=r"1 unknown: backbone\.masked"):
        read_foreign(save(weights, tmp_path / "b.pth"), "mae", options)


@pytest.mark.parametrize("kind", ["mae", "eva-x"])
def test_a_pretrained_backbone_is_for_training(kind, tmp_path):
    weights = {name: tensor for name, tensor in mae_weights().items() if not name.startswith("head")}
    with pytest.raises(
        BundleError, match=r"holds no classifier \(head\.weight\).*with model.weights=file:PATH"
    ):
        read_foreign(save(weights, tmp_path / "w.pth"), kind)


@pytest.mark.parametrize("shape", [(1, 197, 200), (192,), (2, 197, 192)])
def test_another_net_is_no_medical_mae(shape, tmp_path):
    weights = mae_weights() | {"pos_embed": torch.zeros(shape)}
    with pytest.raises(BundleError, match="is not a vision transformer of a known width"):
        read_foreign(save(weights, tmp_path / "w.pth"), "mae")


# ---- EVA-X ------------------------------------------------------------------------------------


def rotary_tables(grid, reference, head_width):
    """VisionRotaryEmbeddingFast of hustvl/EVA-X, with frequencies interpolated."""
    dim = head_width // 2
    frequencies = 1.0 / (10000 ** (torch.arange(0, dim, 2)[: dim // 2].float() / dim))
    places = torch.arange(grid) / grid * reference
    angles = torch.einsum("i,f->if", places, frequencies).repeat_interleave(2, dim=-1)
    pairs = [torch.cat([row, column]) for row in angles for column in angles]
    return torch.stack(pairs).cos(), torch.stack(pairs).sin()


def eva_weights(*, split, reference=14):
    """One block of EVA-X: the base keeps queries, keys and values apart, tiny and small do not."""
    width, hidden = (768, 2048) if split else (192, 512)
    shapes = {**embedding(width), **norm("blocks.0.norm1", width), **norm("blocks.0.norm2", width)}
    shapes |= {"blocks.0.attn.q_bias": (width,), "blocks.0.attn.v_bias": (width,)}
    shapes |= linear("blocks.0.attn.proj", width, width) | linear("blocks.0.mlp.w3", hidden, width)
    if split:
        shapes |= {f"blocks.0.attn.{name}_proj.weight": (width, width) for name in "qkv"}
        shapes |= linear("blocks.0.mlp.w1", width, hidden) | linear("blocks.0.mlp.w2", width, hidden)
        shapes |= norm("blocks.0.mlp.ffn_ln", hidden)
    else:
        shapes |= {"blocks.0.attn.qkv.weight": (3 * width, width)}
        shapes |= linear("blocks.0.mlp.w12", width, 2 * hidden)
    weights = drawn(shapes | norm("fc_norm", width) | linear("head", width, 14))
    cosines, sines = rotary_tables(14, reference, 64)
    for place in ("rope.", "blocks.0.attn.rope."):
        weights |= {f"{place}freqs_cos": cosines, f"{place}freqs_sin": sines}
    return weights


def turned(w, x):
    """Rotate all but the class token."""
    even, odd = x[:, :, 1:].unflatten(-1, (-1, 2)).unbind(dim=-1)
    swapped = torch.stack([-odd, even], dim=-1).flatten(-2)
    return torch.cat([x[:, :, :1], x[:, :, 1:] * w["rope.freqs_cos"] + swapped * w["rope.freqs_sin"]], dim=2)


def eva_logits(w, images, *, split):
    """models_eva.py of hustvl/EVA-X, one block."""
    x = tokens(w, (images.repeat(1, 3, 1, 1) - 0.49185243) / 0.28509309)
    y = normed(w, "blocks.0.norm1", x)
    if split:
        q, k, v = (applied(w, f"blocks.0.attn.{name}_proj", y) for name in "qkv")
    else:
        q, k, v = applied(w, "blocks.0.attn.qkv", y).chunk(3, dim=-1)
    count = q.shape[-1] // 64
    q, v = heads(q + w["blocks.0.attn.q_bias"], count), heads(v + w["blocks.0.attn.v_bias"], count)
    x = x + applied(w, "blocks.0.attn.proj", attention(turned(w, q), turned(w, heads(k, count)), v))
    y = normed(w, "blocks.0.norm2", x)
    if split:
        gate, value = applied(w, "blocks.0.mlp.w1", y), applied(w, "blocks.0.mlp.w2", y)
        hidden = normed(w, "blocks.0.mlp.ffn_ln", functional.silu(gate) * value)
    else:
        gate, value = applied(w, "blocks.0.mlp.w12", y).chunk(2, dim=-1)
        hidden = functional.silu(gate) * value
    x = x + applied(w, "blocks.0.mlp.w3", hidden)
    return applied(w, "head", normed(w, "fc_norm", x[:, 1:].mean(dim=1)))


@pytest.mark.parametrize("split", [False, True], ids=["tiny", "base"])
@pytest.mark.parametrize("reference", [14, 16])
def test_an_eva_x_gives_its_own_logits(split, reference, tmp_path):
    weights = eva_weights(split=split, reference=reference)
    found = read_foreign(save(weights, tmp_path / "eva.pt"), "eva-x")
    images = gray_images()
    with torch.no_grad():
        expected = eva_logits(weights, images, split=split)
        torch.testing.assert_close(found.classifier(images), expected, atol=1e-5, rtol=1e-5)
    assert found.model.arguments["ref_feat_shape"] == (reference, reference)
    assert found.model.backbone == ("eva02_base_patch14_224" if split else "eva02_tiny_patch14_224")
    assert (found.findings, found.preparation.size) == (NIH14, 256)


def test_rotary_positions_of_another_kind_are_refused(tmp_path):
    weights = eva_weights(split=False)
    weights["rope.freqs_sin"] = weights["rope.freqs_sin"] ** 2
    with pytest.raises(
        BundleError, match=r"rotary positions \(rope.freqs_sin\) that are not those of EVA-02"
    ):
        read_foreign(save(weights, tmp_path / "eva.pt"), "eva-x")
    weights["rope.freqs_sin"] = torch.zeros(4, 64)
    with pytest.raises(BundleError, match="so it is not eva-x"):
        read_foreign(save(weights, tmp_path / "eva.pt"), "eva-x")


def test_without_its_tables_an_eva_x_has_the_positions_of_its_grid(tmp_path):
    weights = eva_weights(split=False)
    bare = {name: tensor for name, tensor in weights.items() if "rope" not in name}
    found = read_foreign(save(bare, tmp_path / "eva.pt"), "eva-x")
    with torch.no_grad():
        expected = eva_logits(weights, gray_images(), split=False)
        torch.testing.assert_close(found.classifier(gray_images()), expected, atol=1e-5, rtol=1e-5)
        other = eva_logits(eva_weights(split=False, reference=16), gray_images(), split=False)
        assert float((expected - other).abs().max()) > 1e-3


@pytest.mark.parametrize("split", [False, True], ids=["tiny", "base"])
def test_the_names_are_those_that_timm_finds(split):
    weights = {name: tensor for name, tensor in eva_weights(split=split).items() if "rope" not in name}
    name = "eva02_base_patch14_224" if split else "eva02_tiny_patch14_224"
    net = timm.create_model(name, patch_size=16, depth=1, num_classes=14)
    expected = importlib.import_module("timm.models.eva").checkpoint_filter_fn(dict(weights), net)
    found = timm_names_of_eva(weights)
    assert found.keys() == expected.keys()
    assert all(found[name] is expected[name] for name in expected)


# ---- torchvision ------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["now", "before 0.14"])
def test_a_vit_of_torchvision_is_one_of_timms(old):
    torch.manual_seed(6)
    net = torchvision.models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=5
    ).eval()
    nn.init.normal_(net.heads.head.weight)
    state = net.state_dict()
    if old:
        state = {
            name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): tensor
            for name, tensor in state.items()
        }
    own = timm.create_model(
        "vit_base_patch16_224", img_size=64, depth=2, num_heads=3, embed_dim=48, mlp_ratio=2, num_classes=5
    ).eval()
    renamed = timm_names("vit_b_16", {name: tensor for name, tensor in state.items() if "heads" not in name})
    own.load_state_dict(
        {**renamed, "head.weight": state["heads.head.weight"], "head.bias": state["heads.head.bias"]}
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(own(images), net(images), atol=1e-5, rtol=1e-5)
