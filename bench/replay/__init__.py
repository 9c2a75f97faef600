"""The standing comparison of all policies by replay; ``bench/bench_replay.py`` runs it."""
