"""Training proper: examples and a recipe in, the best weights in the model, the history out."""

from contextlib import ExitStack, closing
from dataclasses import dataclass

import keras
import numpy as np

from artifacts.errors import TintypeError
from artifacts.run import Run
from training.config import Recipe
from training.learning import checkpoint
from training.learning.activations import Activations, Watch, watched
from training.learning.augment import augmented
from training.learning.callbacks import Best, EarlyStopping, History, Order, Plateau, Progress, exhausted
from training.learning.feed import Examples, Feed
from training.learning.loss import class_weights, cross_entropy
from training.learning.optimizers import optimizer
from training.learning.phases import Phase, phases
from training.learning.schedules import paces
from training.learning.state import Row, State
from training.learning.work import steps_per_execution
from training.models.applications import set_trainable

VALIDATION_BATCH = 256


@dataclass(frozen=True)
class Fit:
    """What a training told."""

    history: list[Row]  # of history.csv
    best_epoch: int  # from 1, the one whose weights the model has now
    rates: list[float]  # of every batch, as the schedule has them
    momenta: list[float]  # of every batch; none where it stays the same
    seconds: float
    activations: Activations
    stopped: str = ""  # why it ended before its last epoch


def fit(  # noqa: PLR0913 - what a training needs
    model: keras.Model,
    train: Examples,
    validation: Examples,
    recipe: Recipe,
    *,
    run: Run | None = None,
    title: str = "training",
) -> Fit:
    """Train `model` in place; it ends with the weights of its best epoch.

    The loss in the history contains the penalties and the label smoothing. The model itself is never compiled and holds
    no augmentation: both belong to a wrapper around it, so that what is saved is the network alone.

    Args:
        model: uint8 (N, H, W, C) -> probabilities (N, classes).
        train: to learn from.
        validation: to choose the best epoch by.
        recipe: how.
        run: its checkpoint is gone on from, if there is one, and a new one is written after each epoch.
        title: of the progress bar.

    Raises:
        TintypeError: the loss was no number from the first epoch on.
        BadRun: the checkpoint is damaged, or of another network.
    """
    course = Course(model, train, validation, recipe, run)
    for phase in course.phases:
        if course.state.epoch < phase.end and not course.stopped:
            course.carry_out(phase, title)
    state = course.state
    if not state.best_epoch:
        raise TintypeError(f"the loss became no number; lower learning_rate (it is {recipe.learning_rate})")
    model.set_weights(state.best_weights)
    done = state.epoch * course.batches
    seconds = sum(row["seconds"] for row in state.history)
    rates, momenta = course.rates[:done], course.momenta[:done]
    return Fit(state.history, state.best_epoch, rates, momenta, seconds, state.activations, course.stopped)


class Course:
    """One training on its way through its phases."""

    def __init__(
        self, model: keras.Model, train: Examples, validation: Examples, recipe: Recipe, run: Run | None = None
    ) -> None:
        self.model, self.train, self.validation, self.recipe, self.run = model, train, validation, recipe, run
        self.batches = -(-len(train) // recipe.batch_size)
        self.phases = phases(recipe)
        self.paces = {
            phase: paces(recipe.schedule, phase.rate, phase.end - phase.start, self.batches) for phase in self.phases
        }
        self.wrapper = augmented(model, recipe.augment)
        self.state, self.saved = State(Activations([layer.name for layer in watched(model)])), {}
        if run and run.checkpoint_file.exists():
            self.state, self.saved = checkpoint.read(run.checkpoint_file)
            checkpoint.restore(self.wrapper.variables, self.saved["model"], run.checkpoint_file)
        self.stopped = exhausted(self.state, recipe.early_stopping)

    @property
    def rates(self) -> list[float]:
        """Of every batch of all phases."""
        return np.concatenate([each.rates for each in self.paces.values()]).tolist()

    @property
    def momenta(self) -> list[float]:
        """Of every batch of all phases; none where it stays the same."""
        known = [each.momenta for each in self.paces.values() if each.momenta is not None]
        return np.concatenate(known).tolist() if known else []

    def carry_out(self, phase: Phase, title: str) -> None:
        """Train one phase, or what a resume has left of it."""
        if phase.layers != "all":
            set_trainable(self.model, phase.layers)
        self._compile(phase)
        feed = Feed(self.train, self.recipe.batch_size, self.recipe.seed)
        with ExitStack() as at_the_end:
            self.wrapper.fit(
                feed,
                initial_epoch=self.state.epoch,
                epochs=phase.end,
                shuffle=False,
                validation_data=Feed(self.validation, VALIDATION_BATCH),
                class_weight=class_weights(self.recipe.class_weights, self.train),
                callbacks=self._callbacks(phase, feed, title, at_the_end),
                verbose=0,
            )
        if self.wrapper.stop_training:
            no_number = f"the loss became no number in epoch {self.state.epoch + 1}"
            self.stopped = exhausted(self.state, self.recipe.early_stopping) or no_number

    def _compile(self, phase: Phase) -> None:
        """A new optimizer, or that of the checkpoint when a resume begins inside the phase."""
        chosen = optimizer(self.recipe.optimizer, self.paces[phase])
        self.wrapper.compile(
            chosen,
            cross_entropy(self.recipe.label_smoothing),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            steps_per_execution=steps_per_execution(self.model, self.recipe.batch_size),
        )
        self.wrapper.optimizer.build(self.wrapper.trainable_variables)
        if self.saved and self.state.epoch > phase.start:
            checkpoint.restore(self.wrapper.optimizer.variables, self.saved["optimizer"], self.run.checkpoint_file)

    def _callbacks(self, phase: Phase, feed: Feed, title: str, at_the_end: ExitStack) -> list[keras.callbacks.Callback]:
        """In this order: the epoch enters the state first, and the checkpoint is written last."""
        recipe, state = self.recipe, self.state
        always = [
            Order(feed),
            Best(self.model, state, self.rates, self.batches),
            Watch(self.model, self.train, state.activations, recipe.epochs, self.batches),
            at_the_end.enter_context(closing(Progress(state, recipe.epochs, self.batches, title))),
        ]
        asked = []
        if recipe.plateau:
            asked.append(Plateau(state, recipe.plateau, phase.rate))
        if recipe.early_stopping:
            asked.append(EarlyStopping(state, recipe.early_stopping))
        if self.run:
            history = at_the_end.enter_context(closing(History(self.run.path, state)))
            asked += [history, checkpoint.Keeper(self.run.checkpoint_file, state)]
        return always + asked
