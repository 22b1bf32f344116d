"""What an answer must say in words: in which units a loss is, and what was left out."""

from worker.data.encoders import CategoricalCode
from worker.insight.address import Place
from worker.insight.subject import Subject
from worker.networks.task import Task
from worker.specs.network import ResolvedEmbedding

UNITS = {"cross_entropy": "nats", "binary_cross_entropy": "nats"}


def loss_units(task: Task) -> str:
    """Of a loss, in words."""
    if task.standardised:
        return "of the target standardised as in training, (value - mean) / scale"
    return UNITS.get(task.loss, "of the target as it is")


def notes_of(subject: Subject, place: Place, *, many: bool) -> list[str]:
    """What a reader might take for granted, and should not."""
    training, notes = subject.spec.training, []
    types = {inner.type for layer in subject.layers for inner in (layer, *getattr(layer, "layers", ()))}
    if "dropout" in types:
        notes.append("dropout is off, as at prediction; in training a mask multiplies these activations")
    if "batch_norm" in types:
        notes.append("batch_norm uses its running mean and variance, as at prediction; in training a batch's own")
    if subject.spec.weight is not None or getattr(subject.task.loss_spec, "class_weights", None) is not None:
        notes.append("every row counts as 1; in training a row's product is multiplied by its weight")
    if training.l1 or training.l2:
        notes.append("loss and gradient are without the penalties, whose gradient is a term of its own")
    if training.accumulate > 1:
        notes.append(f"in training {training.accumulate} batches make one step")
    stateless = training.optimizer.type == "sgd" and not training.optimizer.momentum
    if subject.moment.kind != "checkpoint" and not stateless:
        notes.append("no optimizer state of this moment is kept: the update is a first step, from moments of zero")
    if training.ensemble > 1:
        notes.append(f"of member {subject.member} of {training.ensemble} alone; each has a loss of its own")
    layer = subject.layers[place.address.layer]
    if isinstance(layer, ResolvedEmbedding):
        notes.append(_category(subject, layer, place))
    if many:
        notes.append("gradient is the mean of the rows' products, the sum of their shares")
    return notes


def _category(subject: Subject, layer: ResolvedEmbedding, place: Place) -> str:
    """Which category a row of an embedding stands for."""
    code = next(code for code in subject.encoders.features if code.name == layer.column)
    assert isinstance(code, CategoricalCode)  # noqa: S101 - so it was resolved
    (number, _) = place.index
    name = repr(code.categories[number]) if number < len(code.categories) else "a missing cell"
    return f"category {number} of column {layer.column!r} is {name}"
