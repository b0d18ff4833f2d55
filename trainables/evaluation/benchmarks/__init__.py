"""Public benchmarks on local copies, scored by lmms-eval's own task code."""

from trainables.evaluation.benchmarks.benchmark import BENCHMARKS as BENCHMARKS
from trainables.evaluation.benchmarks.benchmark import Benchmark as Benchmark
