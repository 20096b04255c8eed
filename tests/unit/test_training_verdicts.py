"""Each verdict fires when it must, and is silent on a sound training and just below its limit."""

from dataclasses import replace

import numpy as np
import pytest

from training.config import Recipe
from training.learning.activations import BINS, Activations
from training.report import verdicts
from training.report.verdicts import activations, answers, curves, failure, finding, pictures
from training.report.verdicts.finding import Evidence


def recipe(**changes):
    plain = {"epochs": 20, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.01, "input": (28, 28, 1)}
    return Recipe(**{**plain, **changes}).to_toml()


def metrics(matrix, loss=0.1, confidence=None, ece=0.01):
    matrix = np.array(matrix)
    accuracy = float(np.trace(matrix) / matrix.sum())
    recall = np.diag(matrix) / np.maximum(1, matrix.sum(1))
    return {
        "accuracy": accuracy,
        "loss": loss,
        "confusion_matrix": matrix.tolist(),
        "per_class": {
            f"c{n}": {"precision": 1.0, "recall": float(recall[n]), "f1": 1.0, "support": int(matrix[n].sum())}
            for n in range(len(matrix))
        },
        "calibration": {"ece": ece, "confidence": accuracy if confidence is None else confidence, "bins": []},
    }


def evenly(accuracy, classes=10, each=100):
    """A matrix of which `accuracy` is right, the mistakes spread evenly."""
    wrong = round(each * (1 - accuracy))
    matrix = np.diag([each - wrong] * classes)
    for row in range(classes):
        for mistake in range(wrong):
            matrix[row, (row + 1 + mistake % (classes - 1)) % classes] += 1
    return matrix


def rows(train, validation, losses=None, val_losses=None):
    losses, val_losses = losses or [1 - each for each in train], val_losses or [1 - each for each in validation]
    columns = zip(train, validation, losses, val_losses, strict=True)
    return [
        {
            "epoch": epoch, "loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy,
            "learning_rate": 0.01, "seconds": 1.0,
        }
        for epoch, (accuracy, val_accuracy, loss, val_loss) in enumerate(columns, 1)
    ]  # fmt: skip


def watched(near_zero, means=None, deviations=None):
    """Layers `l0`, `l1`, …, each with a list of moments, 10 batches apart."""
    count, moments = len(near_zero), len(near_zero[0])
    means = means or [[0.3] * moments] * count
    deviations = deviations or [[0.5] * moments] * count
    turned = [list(map(list, zip(*each, strict=True))) for each in (means, deviations, near_zero)]
    histograms = [[[1] * BINS for _ in range(count)] for _ in range(moments)]
    return Activations([f"l{n}" for n in range(count)], [10 * n for n in range(moments)], *turned, histograms)


RISING = [0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.98, 0.98, 0.98, 0.98]
SOUND = Evidence(
    config=recipe(),
    labels=[f"c{n}" for n in range(10)],
    history=rows(RISING, [each - 0.01 for each in RISING]),
    best_epoch=6,
    activations=watched([[0.6] * 8, [0.5] * 8]),
    rates=[0.01] * 1000,
    validation=metrics(evenly(0.97)),
    test=metrics(evenly(0.97)),
    pictures=[500] * 10,
)


def test_a_sound_training_is_told_to_be_one():
    (only,) = verdicts.findings(SOUND)
    assert (only.level, only.title) == ("good", "Nothing is wrong")
    assert "Training (98.0 %) and validation (97.0 %) agree, all 2 watched layers are alive" in only.text
    assert verdicts.judgement(SOUND.test) == "good"


def test_the_worst_stands_first():
    levels = [each.level for each in verdicts.findings(replace(SOUND, leaked=300, contradictions=1, stopped="enough"))]
    assert levels == ["bad", "warn", "note"]


def test_notes_leave_nothing_wrong():
    levels = [each.level for each in verdicts.findings(replace(SOUND, stopped="enough"))]
    assert levels == ["good", "note"]


# Whether it is good


@pytest.mark.parametrize(
    ("matrix", "level"),
    [
        (evenly(0.95), "good"),
        (evenly(0.64), "good"),  # skill 0.6
        (evenly(0.63), "warn"),
        (evenly(0.2), "warn"),
        (evenly(0.18), "bad"),  # skill 0.09
        ([[0, 5], [0, 95]], "bad"),  # 95 % by answering the frequent class only
        ([[100, 0], [50, 850]], "warn"),
        (evenly(0.72, classes=2, each=500), "warn"),
        (evenly(0.82, classes=2, each=500), "good"),
        (evenly(0.6, classes=2, each=10), "bad"),  # 12 of 20: chance does that too
    ],
)
def test_an_accuracy_is_seen_beside_that_of_guessing(matrix, level):
    assert verdicts.judgement(metrics(matrix)) == level


def test_the_interval_is_wilsons():
    """Worked by hand for 8 of 10: (0.8 + 0.19207 ± 0.27712) / 1.38415."""
    assert finding.interval(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert finding.interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert finding.interval(0.0, 10)[0] == 0.0


# Curves

APART = [0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 1.0, 1.0, 1.0, 1.0]
STAYS = [0.6, 0.68, 0.71, 0.72, 0.72, 0.72, 0.72, 0.72, 0.72, 0.72]
OVERFITTED = replace(
    SOUND,
    config=recipe(input=(150, 150, 3)),
    labels=["cat", "dog"],
    history=rows(APART, STAYS, val_losses=[0.7, 0.6, 0.55, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4, 1.5]),
    best_epoch=4,
    validation=metrics(evenly(0.72, 2, 500)),
    test=metrics(evenly(0.72, 2, 500)),
    pictures=[1000, 1000],
)


def test_overfitting_names_its_epoch_its_figures_and_what_is_off():
    told = curves.overfitting(OVERFITTED)
    assert told.level == "bad"
    assert "From epoch 3 on the curves part: in training it came to 100.0 %, in validation to 72.0 %." in told.text
    assert "lowest after epoch 3 (0.55) and ended at 1.5" in told.text
    assert "Off in this recipe: augmentation, dropout, L2, early stopping." in told.text
    assert told.figures["apart"] == "28.0 points"
    advice = "\n".join(told.advice)
    for setting in ("augment=photo", "dropout=0.5", "l2=0.0005", "early_stopping=10"):
        assert f"--set {setting}" in advice
    assert "1,000 of each class" in advice


def test_what_is_on_is_not_called_off():
    against = recipe(augment="photo", l2=0.001, early_stopping=5)
    told = curves.overfitting(replace(OVERFITTED, config=against, dropout=0.5))
    assert "Off in this recipe" not in told.text
    assert "more dropout than 0.5: --set dropout=0.7" in told.advice


def test_small_pictures_are_not_advised_what_suits_photographs():
    told = curves.overfitting(replace(OVERFITTED, config=recipe()))
    assert "--set augment=shift-flip, or shift where" in told.advice[0]


@pytest.mark.parametrize(("gap", "level"), [(0.04, None), (0.06, "warn"), (0.11, "bad")])
def test_how_far_apart_is_overfitting(gap, level):
    history = rows(RISING, [each - gap for each in RISING])
    told = curves.overfitting(replace(SOUND, history=history))
    assert (told and told.level) == level


def test_few_validation_pictures_explain_a_gap():
    part = replace(OVERFITTED, validation=metrics([[4, 1], [2, 3]]))
    history = rows([0.9] * 4, [0.7] * 4)
    assert curves.overfitting(replace(part, history=history)) is None
    assert curves.overfitting(replace(OVERFITTED, history=history)) is not None


def test_one_epoch_says_nothing_about_overfitting():
    assert curves.overfitting(replace(SOUND, history=rows([0.99], [0.8]), best_epoch=1)) is None


@pytest.mark.parametrize(
    ("gaps", "epoch"),
    [
        ([0.0, 0.1, 0.2, 0.3], 2),
        ([0.1, 0.0, 0.0, 0.1, 0.1, 0.1], 4),
        ([0.0, 0.1, 0.1, 0.0, 0.1, 0.1, 0.1], 2),  # a single epoch that goes back
        ([0.2, 0.2, 0.2], 1),
    ],
)
def test_where_the_curves_part(gaps, epoch):
    assert curves.parting(gaps) == epoch


SLOW = [0.2, 0.25, 0.3, 0.34, 0.38, 0.42, 0.45, 0.48]
UNDERFITTED = replace(
    SOUND,
    history=rows(SLOW, SLOW),
    best_epoch=8,
    validation=metrics(evenly(0.48)),
    test=metrics(evenly(0.48)),
)


def test_underfitting_that_still_rises_is_told_to_go_on():
    told = curves.underfitting(UNDERFITTED)
    assert "still getting better" in told.text
    assert told.advice[0] == "more epochs: --set epochs=40"
    assert curves.unfinished(UNDERFITTED) is None  # once is enough


def test_underfitting_that_is_flat_is_told_to_loosen():
    flat = [0.3, 0.45, 0.48, 0.48, 0.48, 0.48, 0.48, 0.48]
    evidence = replace(UNDERFITTED, history=rows(flat, flat), best_epoch=3, config=recipe(l2=0.01), dropout=0.6)
    told = curves.underfitting(evidence)
    assert "no longer get better" in told.text
    assert any("--set l2=0.001" in advice for advice in told.advice)
    assert any("--set dropout=0.3" in advice for advice in told.advice)
    assert not any("epochs" in advice for advice in told.advice)


@pytest.mark.parametrize("evidence", [SOUND, OVERFITTED])
def test_what_has_learnt_does_not_underfit(evidence):
    assert curves.underfitting(evidence) is None


def test_a_skill_of_seven_tenths_is_learnt():
    """Of ten classes, 73 % is a skill of 0.7."""
    for accuracy, fires in ((0.72, True), (0.74, False)):
        history = rows([accuracy] * 4, [accuracy] * 4)
        evidence = replace(UNDERFITTED, history=history, best_epoch=1, validation=metrics(evenly(accuracy)))
        assert (curves.underfitting(evidence) is not None) == fires


STILL_RISING = [0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.93, 0.95]


def test_a_last_epoch_that_is_the_best_could_train_longer():
    evidence = replace(SOUND, history=rows(STILL_RISING, STILL_RISING), best_epoch=8)
    told = curves.unfinished(evidence)
    assert (told.level, told.advice) == ("note", ["more epochs: --set epochs=40"])


def test_under_1cycle_the_last_epoch_is_always_the_best():
    history = rows(STILL_RISING, STILL_RISING)
    assert curves.unfinished(replace(SOUND, history=history, best_epoch=8, config=recipe(schedule="1cycle"))) is None


def test_a_flat_end_is_an_end():
    history = rows(RISING, RISING)
    assert curves.unfinished(replace(SOUND, history=history, best_epoch=10)) is None


def test_a_training_that_jumps_to_the_end_is_unsteady():
    jumping = [0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.75, 0.9, 0.75, 0.9]
    told = curves.unstable(replace(SOUND, history=rows(RISING, jumping)))
    assert "matter of luck" in told.text
    assert any("schedule=1cycle" in advice for advice in told.advice)


def test_an_unsteady_middle_or_chance_is_no_matter():
    middle = [0.8, 0.5, 0.8, 0.5, 0.9, 0.93, 0.94, 0.95, 0.96, 0.96]
    assert curves.unstable(replace(SOUND, history=rows(RISING, middle))) is None
    small = replace(SOUND, validation=metrics(evenly(0.9, 2, 10)), history=rows(RISING, [0.8, 0.9] * 5))
    assert curves.unstable(small) is None
    assert curves.unstable(replace(SOUND, history=rows([0.9] * 5, [0.8, 0.9, 0.7, 0.9, 0.7]))) is None


def test_an_early_stop_is_told():
    told = curves.stopped_early(replace(SOUND, stopped="no epoch was better than epoch 6 for 4 epochs"))
    assert told.text == "It stopped after epoch 10 of 20: no epoch was better than epoch 6 for 4 epochs."
    assert curves.stopped_early(SOUND) is None


# Layers

DYING = watched([[0.6, 0.6, 0.98, 0.98, 0.98, 0.98], [0.5] * 6], means=[[0.3, 0.3, 0.01, 0.01, 0.01, 0.01], [0.3] * 6])


def test_a_dying_layer_is_named_with_its_batch():
    first, second = activations.layers(DYING)
    assert (first.level, first.since) == ("bad", 20)
    assert first.text == "98.0 % of the activations are near zero (up to 0.05) from batch 20 of 50 on."
    assert (second.level, second.since) == ("good", None)


def test_a_small_scale_is_not_death():
    """As measured on photographs: 95 % near zero, spread evenly, in a network that learns."""
    told = activations.layers(watched([[0.95] * 6], means=[[0.009] * 6], deviations=[[0.020] * 6]))
    assert told[0].level == "good"


def test_a_layer_that_comes_back_to_life_lives():
    told = activations.layers(watched([[0.99, 0.99, 0.99, 0.6, 0.6, 0.6]], means=[[0.0, 0.0, 0.0, 0.3, 0.3, 0.3]]))
    assert told[0].level == "good"


def test_a_layer_that_was_dead_from_the_beginning():
    told = activations.layers(watched([[1.0] * 4], means=[[0.0] * 4], deviations=[[0.0] * 4]))
    assert (told[0].since, told[0].level) == (0, "bad")
    assert "from the beginning on" in told[0].text


def test_a_layer_that_explodes_or_is_no_number():
    grown = activations.layers(watched([[0.5] * 4], deviations=[[0.5, 5.0, 50.0, 90.0]]))
    assert grown[0].level == "warn"
    assert "grew to a standard deviation of 90, from 0.5 untrained" in grown[0].text
    nan = float("nan")
    lost = activations.layers(watched([[0.5, 0.5, nan, nan]], deviations=[[0.5, 0.5, nan, nan]]))
    assert lost[0].text == "No numbers any more from batch 20 of 30 on."


def test_dead_layers_in_a_network_that_learns():
    told = activations.dead_layers(replace(SOUND, activations=DYING))
    assert told.level == "warn"
    assert "Hardly anything passes through l0:" in told.text
    assert told.figures == {"dead layers": "1 of the 2 that were watched"}
    assert activations.dead_layers(SOUND) is None


def test_nothing_was_watched():
    assert activations.layers(Activations([])) == []
    assert activations.layers(Activations(["l0"])) == []


@pytest.mark.parametrize(("mean", "deviation", "share"), [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)])
def test_the_share_of_active_ones(mean, deviation, share):
    """Half of them one, the others zero: mean and deviation are both 0.5."""
    assert activations.active(mean, deviation) == share


# Failure

FAILED = replace(
    SOUND,
    config=recipe(epochs=1, learning_rate=0.06),
    history=rows([0.11], [0.1], losses=[2.9], val_losses=[2.303]),
    best_epoch=1,
    activations=DYING,
    rates=[0.06] * 106,
    validation=metrics([[100 if column == 1 else 0 for column in range(10)]] * 10, loss=2.303),
    test=metrics([[100 if column == 1 else 0 for column in range(10)]] * 10, loss=2.303),
)


def test_a_failure_names_its_cause_and_the_way_out():
    (told,) = verdicts.findings(FAILED)
    assert (told.level, told.title) == ("bad", "It failed to train")
    assert "After 1 epoch (106 batches) it is right in 10.0 % of the test pictures" in told.text
    assert "answers 'c1' to 100.0 % of all pictures" in told.text
    assert (
        "The cause: layer l0. 98.0 % of the activations are near zero (up to 0.05) from batch 20 of 50 on." in told.text
    )
    assert "ln 10 = 2.303" in told.text
    assert "the steps were too large" in told.text
    assert told.figures["chance"] == "10.0 %"
    advice = "\n".join(told.advice)
    for way in ("schedule=1cycle", "batch normalisation", "learning_rate=0.006", "--find-rate"):
        assert way in advice


def test_what_was_so_from_the_beginning_need_not_be_the_cause():
    silent = watched([[1.0] * 4], means=[[0.0] * 4], deviations=[[0.0] * 4])
    assert "Layer l0. 100.0 %" in failure.failed_to_train(replace(FAILED, activations=silent)).text
    grown = watched([[0.5] * 4], deviations=[[0.5, 5.0, 50.0, 90.0]])
    assert (
        "The cause: layer l0. The activations grew" in failure.failed_to_train(replace(FAILED, activations=grown)).text
    )


def test_a_recipe_is_not_advised_what_it_has():
    cycled = recipe(schedule="1cycle", learning_rate=0.06)
    told = failure.failed_to_train(replace(FAILED, config=cycled, normalised=True, suggestion=0.002))
    advice = "\n".join(told.advice)
    assert "1cycle" not in advice
    assert "normalisation" not in advice
    assert "--set learning_rate=0.002" in advice


def test_a_failure_of_living_layers_looks_elsewhere():
    told = failure.failed_to_train(replace(FAILED, activations=SOUND.activations))
    assert "the cause lies elsewhere" in told.text
    assert "more than 106 batches: --set epochs=4" in told.advice
    assert "The cause:" not in told.text


def test_all_answers_of_the_frequent_class_are_a_failure():
    told = failure.failed_to_train(replace(FAILED, labels=["a", "b"], test=metrics([[0, 5], [0, 95]])))
    assert "always answering 'b' would be right in 95.0 %" in told.text


@pytest.mark.parametrize("evidence", [SOUND, OVERFITTED, UNDERFITTED])
def test_what_has_learnt_something_has_not_failed(evidence):
    assert failure.failed_to_train(evidence) is None


SPIKED = rows([0.9] * 5, [0.9] * 5, losses=[0.5, 0.3, 0.9, 0.3, 0.2])


def test_a_jump_of_the_loss_is_a_rate_too_high():
    told = failure.rate_too_high(replace(SOUND, history=SPIKED, suggestion=0.001))
    assert told.level == "warn"
    assert "jumped from 0.3 to 0.9 in epoch 3" in told.text
    assert told.figures["the finder suggests"] == "0.001"
    assert "a lower rate: --set learning_rate=0.001 (it was 0.01)" in told.advice


@pytest.mark.parametrize("losses", [[0.5, 0.3, 0.44, 0.3, 0.2], [0.01, 0.005, 0.05, 0.01, 0.01]])
def test_small_jumps_are_none(losses):
    assert failure.rate_too_high(replace(SOUND, history=rows([0.9] * 5, [0.9] * 5, losses=losses))) is None


def test_no_number_is_a_rate_too_high():
    told = failure.rate_too_high(replace(SOUND, stopped="the loss became no number in epoch 11"))
    assert told.level == "bad"
    assert told.text == "The loss became no number in epoch 11. What was kept is epoch 6."
    assert curves.stopped_early(replace(SOUND, stopped="the loss became no number in epoch 11")) is None


# Answers


def test_few_test_pictures_have_a_wide_interval():
    few = replace(SOUND, test=metrics(evenly(0.9, 2, 20)), config=recipe(test_share=0.1))
    told = answers.few_test_pictures(few)
    assert told.figures["95 % interval"] == "76.9 % to 96.0 %"
    assert any("test_share=0.3" in advice for advice in told.advice)
    assert any("folds=5" in advice for advice in told.advice)
    assert answers.few_test_pictures(SOUND) is None


def test_poor_classes_are_named():
    matrix = evenly(0.97)
    matrix[4] = 0
    matrix[4, 4], matrix[4, 5] = 60, 40
    told = answers.poor_classes(replace(SOUND, test=metrics(matrix)))
    assert "c4 (60.0 %)" in told.text
    assert "c5" not in told.text


def test_chance_does_not_make_a_class_poor():
    matrix = evenly(0.97)
    matrix[4] = 0
    matrix[4, 4], matrix[4, 5] = 3, 1
    assert answers.poor_classes(replace(SOUND, test=metrics(matrix))) is None
    assert answers.poor_classes(SOUND) is None


def test_classes_that_are_taken_for_each_other():
    matrix = evenly(0.97)
    matrix[3, 5] += 20
    matrix[5, 3] += 10
    evidence = replace(SOUND, test=metrics(matrix))
    told = answers.confused(evidence)
    assert told.level == "note"
    assert f"c3 and c5, {matrix[3, 5] + matrix[5, 3]} times" in told.text
    assert answers.worst_pairs(evidence)[0][:2] == ("c3", "c5")
    assert answers.confused(SOUND) is None
    assert answers.confused(OVERFITTED) is None  # two classes have no other to be taken for


def test_no_mistakes_make_no_pairs():
    assert answers.worst_pairs(replace(SOUND, test=metrics(evenly(1.0)))) == []


@pytest.mark.parametrize(("confidence", "fires"), [(0.85, False), (0.929, False), (0.931, True)])
def test_surer_than_right_is_overconfident(confidence, fires):
    evidence = replace(SOUND, test=metrics(evenly(0.9, each=1000), confidence=confidence))
    assert (answers.overconfident(evidence) is not None) == fires


def test_few_pictures_explain_some_confidence():
    assert answers.overconfident(replace(SOUND, test=metrics(evenly(0.9, 2, 10), confidence=0.95))) is None


def test_label_smoothing_is_advised_where_it_is_off():
    boasting = replace(SOUND, test=metrics(evenly(0.9), confidence=0.98))
    assert "--set label_smoothing=0.1" in answers.overconfident(boasting).advice[0]
    smoothed = replace(boasting, config=recipe(label_smoothing=0.1))
    assert not any("smoothing" in advice for advice in answers.overconfident(smoothed).advice)


@pytest.mark.parametrize(("confidence", "fires"), [(0.79, True), (0.81, False)])
def test_better_than_it_says(confidence, fires):
    timid = replace(SOUND, test=metrics(evenly(0.9), confidence=confidence), config=recipe(label_smoothing=0.2))
    told = answers.underconfident(timid)
    assert (told is not None) == fires
    assert not fires or "label_smoothing=0" in told.advice[0]


# Pictures


@pytest.mark.parametrize(("leaked", "level"), [(0, None), (9, "warn"), (10, "bad")])
def test_leaks(leaked, level):
    """Of 1,000 test pictures."""
    told = pictures.leak(replace(SOUND, leaked=leaked))
    assert (told and told.level) == level


@pytest.mark.parametrize(("counts", "fires"), [([299, 100], False), ([300, 100], True)])
def test_uneven_classes(counts, fires):
    uneven = replace(SOUND, labels=["often", "seldom"], pictures=counts)
    told = pictures.imbalance(uneven)
    assert (told is not None) == fires
    assert not fires or "300 training pictures of often and 100 of seldom" in told.text
    assert pictures.imbalance(replace(uneven, config=recipe(class_weights="balanced"))) is None


@pytest.mark.parametrize(("least", "fires"), [(29, True), (30, False)])
def test_few_training_pictures(least, fires):
    told = pictures.few_pictures(replace(SOUND, pictures=[least, *[60] * 9]))
    assert (told is not None) == fires
    assert not fires or "c0 (29)" in told.text


def test_contradicting_labels():
    assert "2 pictures" in pictures.contradictions(replace(SOUND, contradictions=2)).text
    assert pictures.contradictions(SOUND) is None
