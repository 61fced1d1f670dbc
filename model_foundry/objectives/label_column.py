"""`LabelColumn`, what classifications of texts and of images share: one label, or several."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from model_foundry.data.batches.examples import Column
from model_foundry.data.sources.records import Records
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.records import RecordObjective


class LabelColumn(RecordObjective):
    """A task whose records have one label in a column or, under `multi_label`, any number.

    Its section has `label`, the name of the column, and `multi_label`.

    Attributes:
        metrics_of_several: the metrics of each evaluation of several labels, by default.
    """

    metrics_of_several: ClassVar[Sequence[str]]

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of each evaluation; several labels have no accuracy."""
        if self.settings.multi_label and not self.config.training.metrics:
            return tuple(self.metrics_of_several)
        return super().metric_names

    def labels_in(self, records: Records) -> list[list[str]]:
        """Return the labels of each record, a single one unless there may be several.

        Raises:
            DataError: a record has something else than labels.
        """
        label = self.settings.label
        if self.settings.multi_label:
            return records.label_lists(label)
        return [[name] for name in records.labels(label)]

    def targets_in(self, records: Records, labels: Labels) -> Column:
        """Return the numbers of labels, (N,), or of several (N, C) of 0 and 1.

        Raises:
            DataError: as `labels_in`, or a label is not one of the training data.
        """
        rows, where = self.labels_in(records), (self.settings.label, records.where)
        if self.settings.multi_label:
            return labels.encode_sets(rows, *where)
        return labels.encode([name for (name,) in rows], *where)
