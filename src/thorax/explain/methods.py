"""Where a net sees findings: one call for every method, NumPy out."""

from collections.abc import Sequence
from typing import assert_never

from thorax.explain.attention import attention_rollout, gradient_rollout
from thorax.explain.cam import eigen_cam, exact_cam, gradient_cam
from thorax.explain.choices import Maps, Method
from thorax.explain.gradients import integrated_gradients, smooth_grad
from thorax.explain.net import MapsTensor
from thorax.explain.perturbation import occlusion, rise
from thorax.models import Classifier
from thorax.models.tensors import Images

__all__ = ["explain"]


def explain(
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: Method, seed: int = 0
) -> Maps:
    """Return maps of some outputs of a net, at its input size.

    The net may be in any mode and on any device; it is left exactly as it was, without hooks or gradients.
    Each image's maps are those that it would get alone. The methods' own settings are the functions' of
    this package.

    Args:
        classifier: The net.
        images: At its input size, on its device.
        columns: Which outputs.
        method: How; those of `NOT_OF_A_FINDING` give one map for all columns.
        seed: Of the methods that draw: smooth-grad and rise.

    Returns:
        Larger speaks more for the finding. Below 0 it speaks against it, in the methods that tell: cam,
        hirescam, integrated-gradients, occlusion, rise; the others have no value below 0.

    Raises:
        RecipeError: The method does not go with the net; the message names one that does.
    """
    maps = _maps(classifier, images, columns, method=method, seed=seed)
    return maps.detach().expand(-1, len(columns), -1, -1).float().cpu().numpy()


def _maps(  # noqa: PLR0911  (one return per method)
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: Method, seed: int
) -> MapsTensor:
    match method:
        case "cam":
            return exact_cam(classifier, images, columns)
        case "grad-cam" | "grad-cam++" | "hirescam" | "layer-cam":
            return gradient_cam(classifier, images, columns, method=method)
        case "eigen-cam":
            return eigen_cam(classifier, images)
        case "rollout":
            return attention_rollout(classifier, images)
        case "gradient-rollout":
            return gradient_rollout(classifier, images, columns)
        case "integrated-gradients":
            return integrated_gradients(classifier, images, columns)
        case "smooth-grad":
            return smooth_grad(classifier, images, columns, seed=seed)
        case "occlusion":
            return occlusion(classifier, images, columns)
        case "rise":
            return rise(classifier, images, columns, seed=seed)
    assert_never(method)
