"""Grades a class: submissions in, a gradebook out.

``submissions`` reads what was handed in, ``task`` is the grading of one day of one student,
``local`` and ``cluster`` run many, ``records`` keeps each as soon as it is done, ``book`` adds the
points up, ``formats``, ``page`` and ``similar`` are what a teacher reads or imports.
"""
