"""Run the benchmarks that need no data: metrics, coreset and search."""

import subprocess
import sys

for name in ("bench_metrics", "bench_coreset"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
print("benchmarks.bench_methods needs MTD and weights: python3 -m benchmarks.bench_methods --help")
