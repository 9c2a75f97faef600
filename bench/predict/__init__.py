"""Data, latency and tables of bench_predict."""
