"""Settings of ``bench/bench_balance.py``, and the choosers' own time."""
