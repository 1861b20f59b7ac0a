"""The items of TRIPOD+AI in Thorax's own words, and what only the author of a study can answer."""

from dataclasses import dataclass
from typing import Final

__all__ = ["CITATION", "ITEMS", "TripodItem"]

CITATION: Final = (
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical "
    "prediction models that use regression or machine learning methods. BMJ 2024;385:e078378. "
    "doi:10.1136/bmj-2023-078378"
)


@dataclass(frozen=True, slots=True)
class TripodItem:
    """One item, or one part of an item, of the checklist.

    Attributes:
        number: Its number, such as "3a".
        topic: What it asks for.
        author: What a bundle and an evaluation cannot say; "" if they can answer all of it.
    """

    number: str
    topic: str
    author: str


ITEMS: Final = (
    # ---- title, abstract, introduction --------------------------------------------------------------------
    TripodItem("1", "Title", "Name the kind of study (development, evaluation or both) and the patients."),
    TripodItem("2", "Abstract", "Write it by the list of TRIPOD+AI for abstracts."),
    TripodItem("3a", "Background: setting and existing models", "Say why another model, and cite others."),
    TripodItem(
        "3b", "Background: for whom and for what", "Name the patients, the users, and the step of care."
    ),
    TripodItem("3c", "Background: known health inequalities", "Name those of these patients."),
    TripodItem("4", "Objectives", "Say what the study develops or evaluates."),
    # ---- methods ------------------------------------------------------------------------------------------
    TripodItem("5a", "Data: sources", "Say how the images were collected, and whom they represent."),
    TripodItem("5b", "Data: dates", "Give the first and the last date of the images."),
    TripodItem("6a", "Participants: setting", "Name the kind, number and place of the hospitals."),
    TripodItem("6b", "Participants: who was eligible", "State who and which images were eligible."),
    TripodItem("6c", "Participants: treatments", "Say which treatments show in the images, such as tubes."),
    TripodItem("7", "Data preparation", "Add what was done to the files before Thorax read them."),
    TripodItem("8a", "Outcome: definition", "Say how and when the findings were determined, and why these."),
    TripodItem("8b", "Outcome: who assessed it", "Describe the readers or the program that set the labels."),
    TripodItem("8c", "Outcome: blinding", "Say what those who set the labels knew."),
    TripodItem("9a", "Predictors: choice", ""),
    TripodItem("9b", "Predictors: definition and measurement", "Name the machines and the way of exposure."),
    TripodItem("9c", "Predictors: who assessed them", ""),
    TripodItem("10", "Sample size", "Say why these numbers are enough for the question."),
    TripodItem("11", "Missing data", "Say which images or labels were left out before, and why."),
    TripodItem("12a", "Analysis: use of the data", "Say why the data were split in this way."),
    TripodItem("12b", "Analysis: handling of predictors", ""),
    TripodItem("12c", "Analysis: type and building of the model", "Say how the settings were found."),
    TripodItem("12d", "Analysis: differences between clusters", "Say how hospitals were treated."),
    TripodItem("12e", "Analysis: measures of performance", "Say why these measures fit the purpose."),
    TripodItem("12f", "Analysis: updating of the model", "Say whether the model was updated, and why."),
    TripodItem("12g", "Analysis: how predictions were calculated", ""),
    TripodItem("13", "Class imbalance", "Say whether it was handled, and why."),
    TripodItem("14", "Fairness", "Say which groups matter for this use, and what was done for them."),
    TripodItem("15", "Output of the model", "Say why decisions are made at these thresholds."),
    TripodItem(
        "16", "Training versus evaluation", "Name differences of setting, eligibility and labels."
    ),
    TripodItem("17", "Ethical approval", "Name the committee, and the consent or its waiver."),
    # ---- open science, and patients -----------------------------------------------------------------------
    TripodItem("18a", "Open science: funding", "Name who paid, and their role."),
    TripodItem("18b", "Open science: conflicts of interest", "Declare those of all authors."),
    TripodItem("18c", "Open science: protocol", "Say where it is, or that none was written."),
    TripodItem("18d", "Open science: registration", "Give its number, or say that it was not registered."),
    TripodItem("18e", "Open science: data sharing", "Say whether and how others get the images and labels."),
    TripodItem("18f", "Open science: code sharing", "Say where your own code, recipes and weights are."),
    TripodItem("19", "Patient and public involvement", "Describe it, or say that they were not involved."),
    # ---- results ------------------------------------------------------------------------------------------
    TripodItem("20a", "Participants: flow", "Draw the flow from all eligible patients to those measured."),
    TripodItem("20b", "Participants: characteristics", "Add dates, treatments, and the training patients."),
    TripodItem("20c", "Participants: compared with training", "Compare sex, age and view with training."),
    TripodItem("21", "Model development: numbers by step", "Add the positives in training and validation."),
    TripodItem("22", "Model specification", "Say where the bundle is, and who may use it."),
    TripodItem("23a", "Model performance: estimates", "Refer to the report for subgroups and plots."),
    TripodItem("23b", "Model performance: differences between clusters", "Report them by hospital."),
    TripodItem("24", "Model updating: results", "Report the updated model, if one was made."),
    # ---- discussion ---------------------------------------------------------------------------------------
    TripodItem("25", "Interpretation", "Interpret the results, also their fairness, beside earlier studies."),
    TripodItem("26", "Limitations", "Discuss what they mean for bias, uncertainty and other hospitals."),
    TripodItem("27a", "Usability: poor or missing input", "Say who checks images, and what they do then."),
    TripodItem("27b", "Usability: users and their expertise", "Say who uses it, and what they must know."),
    TripodItem("27c", "Usability: next steps", "Name the studies that are needed before use."),
)  # fmt: skip
"""All 52 items and parts of items, in order."""
