"""Tests of the benchmarks that compare: a wrong engine must be noticed, and a figure must be what was measured."""
