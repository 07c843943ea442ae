"""A search with Keras on handwritten digits; `SRMCallback` ends the trainings that are not worth continuing.

Needs `pip install 'curvestop[keras]'` and a backend of Keras, such as torch:
    KERAS_BACKEND=torch python examples/keras_digits.py --trials 20 --epochs 15 [--server localhost:7070]
"""

import argparse
import random

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from curvestop import StudySettings, connect
from curvestop.clients.keras import SRMCallback


def model(width: int, learning_rate: float) -> keras.Model:
    """Return a network with one hidden layer."""
    layers = [keras.layers.Input((64,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(10, "softmax")]
    network = keras.Sequential(layers)
    network.compile(keras.optimizers.SGD(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--server", help="HOST:PORT of a server (default: predict in this process)")
    options = parser.parse_args()
    pixels, digits = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(pixels / 16, digits, stratify=digits, random_state=0)
    settings = StudySettings("digits-keras", options.epochs, metric="val_accuracy", log_scaled=("learning_rate", "width"))
    rng, best, n_epochs = random.Random(0), 0.0, 0
    with connect(options.server, settings) as study:
        for number in range(options.trials):
            keras.utils.set_random_seed(number)
            configuration = {"width": rng.randint(4, 64), "learning_rate": 10 ** rng.uniform(-3, 0)}
            callback = SRMCallback(study, configuration=configuration)
            fitted = model(**configuration).fit(
                train_x,
                train_y,
                batch_size=64,
                epochs=options.epochs,
                validation_data=(valid_x, valid_y),
                callbacks=[callback],
                verbose=0,
            )
            accuracies = fitted.history["val_accuracy"]
            best, n_epochs = max(best, *map(float, accuracies)), n_epochs + len(accuracies)
            if callback.decision.stop:
                print(f"trial {number} is stopped after {len(accuracies)} epochs: {callback.decision.reason}")
    print(f"best accuracy {best:.4f}; {n_epochs} of {options.trials * options.epochs} epochs trained")
