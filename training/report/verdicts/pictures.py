"""What the pictures themselves say, before anything is learnt from them."""

from training.report.verdicts.finding import Evidence, Finding, share, total, uneven

FEW = 30  # of a class, to learn from
SMALL_LEAK = 0.01  # of the test pictures


def leak(evidence: Evidence) -> Finding | None:
    """Test pictures that the network has seen."""
    if not evidence.leaked:
        return None
    part = evidence.leaked / total(evidence.test)
    told = (
        f"{evidence.leaked:,} of {total(evidence.test):,} test pictures ({share(part)}) are, byte for byte, also in "
        "the training or validation part. The network may know them by heart, so the test accuracy is flattered."
    )
    advice = ["take the copies out; split.json lists them"]
    level = "bad" if part >= SMALL_LEAK else "warn"
    return Finding(level, "Test pictures have leaked", told, {"leaked": f"{evidence.leaked:,}"}, advice)


def contradictions(evidence: Evidence) -> Finding | None:
    """The same picture under two labels."""
    if not evidence.contradictions:
        return None
    noun = "picture" if evidence.contradictions == 1 else "pictures"
    told = f"{evidence.contradictions:,} {noun} came under more than one label. One of the labels must be wrong."
    return Finding(
        "warn", "Labels contradict each other", told, {}, ["decide for one label; split.json lists the pictures"]
    )


def imbalance(evidence: Evidence) -> Finding | None:
    """One class has many times the pictures of another, and the recipe does not make up for it."""
    pictures = evidence.pictures
    if not uneven(pictures) or evidence.config["class_weights"] != "none":
        return None
    most, least = (evidence.labels[pictures.index(count)] for count in (max(pictures), min(pictures)))
    told = (
        f"There are {max(pictures):,} training pictures of {most} and {min(pictures):,} of {least}: guessing what is "
        "frequent pays, and accuracy hides how the rare one fares. Look at the recall of each class."
    )
    advice = ["let all classes count the same: --set class_weights=balanced", f"more pictures of {least}"]
    figures = {"largest class": f"{max(pictures):,}", "smallest class": f"{min(pictures):,}"}
    return Finding("warn", "The classes are uneven", told, figures, advice)


def few_pictures(evidence: Evidence) -> Finding | None:
    """Classes of which there is hardly anything to learn from."""
    few = [
        f"{label} ({count:,})" for label, count in zip(evidence.labels, evidence.pictures, strict=True) if count < FEW
    ]
    if not few:
        return None
    named = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")  # noqa: PLR2004 - as a line holds
    told = f"Few pictures to learn from: {named}. A network from nothing wants hundreds of each class."
    advice = ["more pictures", "a pretrained network: --preset resnet50 --set weights=imagenet"]
    if evidence.config["augment"] == "none":
        advice.append("augmentation: --set augment=photo")
    if evidence.config["weights"] != "none":
        del advice[1]
    return Finding("warn", "Few training pictures", told, {"classes with few": f"{len(few)}"}, advice)
