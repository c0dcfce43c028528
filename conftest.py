"""Makes the grading rules hold however pytest is started: by make, by hand or by an editor."""

pytest_plugins = ["harness.grading.plugin"]
