"""Makes models with Keras itself (on torch) and saves them, with their predictions; run as a script."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

SIDE = 64


def main(folder):
    keras.utils.set_random_seed(0)
    net = keras.applications.DenseNet121(
        weights=None, input_shape=(SIDE, SIDE, 3), classes=14, classifier_activation="sigmoid"
    )
    draw = np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.set_weights(
                [
                    draw.uniform(0.5, 1.5, size),
                    draw.normal(0, 0.1, size),
                    draw.normal(0, 0.1, size),
                    draw.uniform(0.5, 1.5, size),
                ]
            )
    net.layers[-1].set_weights([draw.normal(0, 0.1, (1024, 14)), draw.normal(0, 1, 14)])
    net.save(folder / "model.h5")
    net.save_weights(folder / "model.weights.h5")
    base = keras.Model(net.input, net.get_layer("avg_pool").output, name="base")
    nested = keras.Sequential([base, keras.layers.Dropout(0.5), keras.layers.Dense(3, activation="sigmoid")])
    nested.layers[-1].set_weights(
        [net.layers[-1].get_weights()[0][:, :3], net.layers[-1].get_weights()[1][:3]]
    )
    nested.save(folder / "nested.h5")
    nested.save_weights(folder / "nested.weights.h5")
    gray = draw.uniform(0, 1, (2, SIDE, SIDE, 1)).astype(np.float32)
    # Pixels from 0 to 255, as Keras loads images, and its own normalization.
    images = keras.applications.densenet.preprocess_input(np.repeat(gray * 255, 3, axis=3))
    np.savez(folder / "predictions.npz", gray=gray, probabilities=net.predict(images, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
