"""Tests the tests: small automatic changes to the answers and learners' habits must be seen."""
