"""What `bench_front` compares."""
